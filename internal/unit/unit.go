// Package unit reads and writes quantities as people write them in a config or
// on a command line. The package imports nothing internal.
package unit

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration that is written "1.5s", "2h30m", "1d" or "1w",
// and as a plain number of seconds. It is never negative.
type Duration time.Duration

// Std returns the duration as the standard library has it.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String writes the duration as UnmarshalText reads it.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes the duration as UnmarshalText reads it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := ParseDuration(string(text))
	if err != nil {
		return err
	}
	*d = Duration(parsed)
	return nil
}

// ParseDuration reads a duration: what time.ParseDuration reads, the units "d"
// (24 hours) and "w" (7 days) as well, and a plain number of seconds. Negative
// ones are refused.
func ParseDuration(text string) (time.Duration, error) {
	bad := fmt.Errorf("invalid duration %q: want something like \"1.5s\", \"10m\", \"2h30m\" or \"7d\"", text)
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		if seconds < 0 || math.IsNaN(seconds) || seconds > math.MaxInt64/float64(time.Second) {
			return 0, bad
		}
		return time.Duration(seconds * float64(time.Second)), nil
	}
	var total time.Duration
	rest := text
	for _, u := range []struct {
		name string
		size time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		number, after, ok := strings.Cut(rest, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(number, 64)
		if err != nil || n < 0 || n*float64(u.size) > math.MaxInt64/2 {
			return 0, bad
		}
		total += time.Duration(n * float64(u.size))
		rest = after
	}
	if rest == "" && total > 0 {
		return total, nil
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || total+d < 0 {
		return 0, bad
	}
	return total + d, nil
}

// Size is a number of bytes, written "256M", "1.5G", "10 kB" or as a plain
// number. The units are powers of 1024, as in PHP's memory_limit and in
// systemd. It is never negative.
type Size int64

// Bytes returns the size in bytes.
func (s Size) Bytes() int64 { return int64(s) }

// String writes the size as UnmarshalText reads it, in the largest unit that
// divides it.
func (s Size) String() string {
	for i := len(sizeUnits) - 1; i > 0; i-- {
		if one := int64(1) << (10 * i); int64(s) != 0 && int64(s)%one == 0 {
			return strconv.FormatInt(int64(s)/one, 10) + sizeUnits[i:i+1]
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText writes the size as UnmarshalText reads it.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(text []byte) error {
	parsed, err := ParseSize(string(text))
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}

// sizeUnits are the letters of 1024^0, 1024^1 and so on.
const sizeUnits = "BKMGT"

// ParseSize reads a size: a number, which may have a fraction, and a unit B, K,
// M, G or T, which may be followed by "B" or "iB" and may be in lower case.
func ParseSize(text string) (Size, error) {
	bad := fmt.Errorf("invalid size %q: want something like \"512K\", \"256M\" or \"1.5G\"", text)
	letters := strings.ToUpper(strings.TrimSpace(text))
	number := strings.TrimRight(letters, "BKMGTI")
	power := 0
	switch suffix := letters[len(number):]; suffix {
	case "", "B":
	default:
		power = strings.IndexByte(sizeUnits, suffix[0])
		if rest := suffix[1:]; power < 1 || (rest != "" && rest != "B" && rest != "IB") {
			return 0, bad
		}
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	bytes := n * float64(int64(1)<<(10*power))
	if err != nil || n < 0 || math.IsNaN(bytes) || bytes >= math.MaxInt64 {
		return 0, bad
	}
	return Size(bytes), nil
}
