package unit_test

import (
	"testing"
	"time"

	"procops/internal/unit"
)

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "0d": 0, "-0": 0,
		"10": 10 * time.Second, "1.5": 1500 * time.Millisecond, "1.5s": 1500 * time.Millisecond,
		"100ms": 100 * time.Millisecond, "3us": 3 * time.Microsecond, "7ns": 7,
		"2h30m": 150 * time.Minute, "1d": day, "1.5d": 36 * time.Hour, "7d": 7 * day, "1w": 7 * day,
		"1w2d3h": 9*day + 3*time.Hour, "0w1s": time.Second, "15250w": 15250 * 7 * day,
	} {
		if got, err := unit.ParseDuration(text); got != want || err != nil {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestParseDurationRefuses(t *testing.T) {
	for _, text := range []string{
		"", " ", "s", "d", "w", "ten", "-1", "-1s", "-1d", "1d-1h", "1d+1h", "1w-1d", "1d1w", "1d1d", "1dd", "1 d", "10 s",
		"nan", "inf", "nand", "infd", "1e400d", "99999999w", "9223372036.854775807", "9223372037", "106751d24h", "1m+5s", "1,5s",
	} {
		if got, err := unit.ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %v", text, got)
		}
	}
	_, err := unit.ParseDuration("soon")
	if want := `invalid duration "soon": want something like "1.5s", "10m", "2h30m" or "7d"`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestDurationString(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 10 * time.Second: "10s", 10 * time.Minute: "10m", time.Hour: "1h", 90 * time.Minute: "1h30m",
		24 * time.Hour: "24h", time.Hour + time.Second: "1h0m1s", 100 * time.Millisecond: "100ms", 20 * time.Minute: "20m",
	} {
		if got := unit.Duration(d).String(); got != want {
			t.Errorf("%d is written %q, want %q", d, got, want)
		}
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]unit.Size{
		"0": 0, "1": 1, "512": 512, "512B": 512, "1K": 1 << 10, "1k": 1 << 10, "10 kB": 10 << 10, "256M": 256 << 20,
		"256MiB": 256 << 20, "1.5G": 3 << 29, "2T": 2 << 40, " 1M ": 1 << 20, "0.5K": 512,
	} {
		if got, err := unit.ParseSize(text); got != want || err != nil {
			t.Errorf("ParseSize(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestParseSizeRefuses(t *testing.T) {
	for _, text := range []string{"", "K", "-1", "-1K", "1X", "1KK", "1BB", "1I", "1MI", "1iB", "nanK", "inf", "9999999T", "1e30", "1,5M", "M1", "1 0K"} {
		if got, err := unit.ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %v", text, got)
		}
	}
	_, err := unit.ParseSize("big")
	if want := `invalid size "big": want something like "512K", "256M" or "1.5G"`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestSizeString(t *testing.T) {
	for size, want := range map[unit.Size]string{
		0: "0", 1: "1", 1023: "1023", 1 << 10: "1K", 1<<10 + 1: "1025", 10 << 20: "10M", 3 << 29: "1536M", 1 << 40: "1T", 1 << 50: "1024T",
	} {
		if got := size.String(); got != want {
			t.Errorf("%d is written %q, want %q", int64(size), got, want)
		}
	}
}

// FuzzDuration checks that what is read is written so that it reads the same,
// and never negative.
func FuzzDuration(f *testing.F) {
	for _, text := range []string{"1.5s", "1w2d3h4m5s", "10", "1d", "-1", "nand"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := unit.ParseDuration(text)
		if err != nil {
			return
		}
		again, err := unit.ParseDuration(unit.Duration(d).String())
		if d < 0 || again != d || err != nil {
			t.Fatalf("%q is %d, which is written %q and read as %d, %v", text, d, unit.Duration(d), again, err)
		}
	})
}

// FuzzSize is FuzzDuration for sizes.
func FuzzSize(f *testing.F) {
	for _, text := range []string{"1.5G", "10 kB", "0", "1023", "-1", "infT"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		size, err := unit.ParseSize(text)
		if err != nil {
			return
		}
		again, err := unit.ParseSize(size.String())
		if size < 0 || again != size || err != nil {
			t.Fatalf("%q is %d, which is written %q and read as %d, %v", text, size, size, again, err)
		}
	})
}
