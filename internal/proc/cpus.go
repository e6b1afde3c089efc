package proc

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// maxCPU is the highest number of a CPU that a list may have: no kernel is built
// for more of them.
const maxCPU = 8191

// CPUs is a list of the CPUs that a program may run on, numbered as in
// /proc/cpuinfo and written as the kernel writes it: "0-3,6". Empty means all that
// procops may run on.
type CPUs string

// UnmarshalText reads a list.
func (c *CPUs) UnmarshalText(text []byte) error {
	parsed := CPUs(strings.ReplaceAll(string(text), " ", ""))
	if _, err := parsed.numbers(); err != nil {
		return fmt.Errorf("invalid list of CPUs %q: %w", text, err)
	}
	*c = parsed
	return nil
}

// MarshalText writes the list.
func (c CPUs) MarshalText() ([]byte, error) { return []byte(c), nil }

// numbers returns the CPUs in the list.
func (c CPUs) numbers() (list []int, err error) {
	for part := range strings.SplitSeq(string(c), ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, bad := strconv.ParseUint(first, 10, 32)
		to, worse := strconv.ParseUint(last, 10, 32)
		if bad != nil || worse != nil {
			return nil, errors.New(`want something like "0-3,6"`)
		}
		if from > to {
			return nil, fmt.Errorf("the range %s is empty", part)
		}
		if to > maxCPU {
			return nil, fmt.Errorf("the highest number of a CPU is %d", maxCPU)
		}
		for n := from; n <= to; n++ {
			list = append(list, int(n))
		}
	}
	return list, nil
}

// Check returns an error if the list names none of the CPUs that this machine runs
// with. Others in it do no harm.
func (c CPUs) Check() error {
	if c == "" {
		return nil
	}
	text, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return nil //nolint:nilerr // without /sys the start will tell
	}
	return c.checkAgainst(CPUs(strings.TrimSpace(string(text))))
}

func (c CPUs) checkAgainst(online CPUs) error {
	wanted, err := c.numbers()
	if err != nil {
		return err
	}
	there, err := online.numbers()
	if err != nil {
		return nil //nolint:nilerr // it is the kernel's list that cannot be read: the start will tell
	}
	if !slices.ContainsFunc(wanted, func(n int) bool { return slices.Contains(there, n) }) {
		return fmt.Errorf("this machine has none of the CPUs %s: it runs with %s", c, online)
	}
	return nil
}

// mask returns the list as the kernel wants it: a bit for each CPU, in 64-bit
// words. nil is the empty list.
func (c CPUs) mask() ([]uint64, error) {
	if c == "" {
		return nil, nil
	}
	list, err := c.numbers()
	if err != nil {
		return nil, fmt.Errorf("invalid list of CPUs %q: %w", string(c), err)
	}
	mask := make([]uint64, slices.Max(list)/64+1)
	for _, n := range list {
		mask[n/64] |= 1 << (n % 64)
	}
	return mask, nil
}
