package proc

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
)

// Signal is a signal that is written "TERM", "SIGTERM" or "15".
type Signal syscall.Signal

// signalNames are the signals of Linux by number, without "SIG".
var signalNames = [...]string{
	1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 5: "TRAP", 6: "ABRT", 7: "BUS", 8: "FPE", 9: "KILL", 10: "USR1",
	11: "SEGV", 12: "USR2", 13: "PIPE", 14: "ALRM", 15: "TERM", 16: "STKFLT", 17: "CHLD", 18: "CONT", 19: "STOP",
	20: "TSTP", 21: "TTIN", 22: "TTOU", 23: "URG", 24: "XCPU", 25: "XFSZ", 26: "VTALRM", 27: "PROF", 28: "WINCH",
	29: "IO", 30: "PWR", 31: "SYS",
}

// maxSignal is the last real-time signal of Linux.
const maxSignal = 64

// ParseSignal reads the name of a signal, with or without "SIG", in upper or
// lower case, or its number (1 to 64). The error for an unknown name proposes
// the nearest valid one.
func ParseSignal(text string) (Signal, error) {
	if n, err := strconv.Atoi(text); err == nil {
		if n < 1 || n > maxSignal {
			return 0, fmt.Errorf("invalid signal %q: numbers go from 1 to %d", text, maxSignal)
		}
		return Signal(n), nil
	}
	name := strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(text)), "SIG")
	for n, known := range &signalNames {
		if known != "" && known == name {
			return Signal(n), nil
		}
	}
	if name == "POLL" {
		return Signal(syscall.SIGIO), nil
	}
	near := nearestSignal(name)
	if near == "" {
		return 0, fmt.Errorf("invalid signal %q: want a name such as \"HUP\", or a number", text)
	}
	return 0, fmt.Errorf("invalid signal %q: did you mean %q?", text, near)
}

// nearestSignal returns the valid name with the smallest edit distance, or nothing
// if that is more than a slip or two.
func nearestSignal(name string) string {
	best, distance := "", min(3, len(name))
	for _, known := range &signalNames {
		if known == "" {
			continue
		}
		if d := editDistance(name, known); d < distance {
			best, distance = known, d
		}
	}
	return best
}

// editDistance is the number of letters to insert, remove, change or swap with
// their neighbour (optimal string alignment).
func editDistance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			rows[i][j] = min(change, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

// String returns the name without "SIG", or the number of a signal that has no
// name.
func (s Signal) String() string {
	if s > 0 && int(s) < len(signalNames) {
		return signalNames[s]
	}
	return strconv.Itoa(int(s))
}

// MarshalText writes the signal as UnmarshalText reads it.
func (s Signal) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a signal.
func (s *Signal) UnmarshalText(text []byte) error {
	parsed, err := ParseSignal(string(text))
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}
