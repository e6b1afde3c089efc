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

// String writes the duration as UnmarshalText reads it, without the zeros that
// time.Duration ends with: "10m" and not "10m0s".
func (d Duration) String() string {
	text := time.Duration(d).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

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
	d, ok := parseDuration(text)
	if !ok {
		return 0, fmt.Errorf("invalid duration %q: want something like \"1.5s\", \"10m\", \"2h30m\" or \"7d\"", text)
	}
	return d, nil
}

func parseDuration(text string) (time.Duration, bool) {
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		return multiply(seconds, time.Second)
	}
	weeks, rest, okWeeks := leading(text, "w", 7*24*time.Hour)
	days, rest, okDays := leading(rest, "d", 24*time.Hour)
	if !okWeeks || !okDays {
		return 0, false
	}
	total := weeks + days
	if total < 0 || rest == "" && text != "" {
		return total, total >= 0
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || strings.ContainsAny(rest, "+-") || total+d < 0 {
		return 0, false
	}
	return total + d, true
}

// leading reads the number before the first name of a unit, and returns what
// follows. If text has no such unit the duration is 0.
func leading(text, name string, size time.Duration) (d time.Duration, rest string, ok bool) {
	number, after, found := strings.Cut(text, name)
	if !found {
		return 0, text, true
	}
	if strings.Trim(number, "0123456789.") != "" {
		return 0, "", false
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0, "", false
	}
	d, ok = multiply(n, size)
	return d, after, ok
}

// multiply returns n units, or false if that is negative or out of range.
func multiply(n float64, unit time.Duration) (time.Duration, bool) {
	product := n * float64(unit)
	if !(product >= 0 && product < math.MaxInt64) {
		return 0, false
	}
	return time.Duration(product), true
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
	number = strings.TrimSpace(number)
	if n, err := strconv.ParseInt(number, 10, 64); err == nil && 0 <= n && n <= math.MaxInt64>>(10*power) {
		return Size(n << (10 * power)), nil
	}
	n, err := strconv.ParseFloat(number, 64)
	bytes := n * float64(int64(1)<<(10*power))
	if err != nil || n < 0 || math.IsNaN(bytes) || bytes >= math.MaxInt64 {
		return 0, bad
	}
	return Size(bytes), nil
}
