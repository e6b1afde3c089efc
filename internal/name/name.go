// Package name says which names procops accepts for processes, groups and
// heartbeats, and finds the valid name nearest to a wrong one. The package
// imports nothing internal.
package name

import (
	"errors"
	"fmt"
	"strings"
)

// MaxLength is the length of the longest valid name.
const MaxLength = 64

// Pattern is a regular expression for valid names, for those who cannot call
// Check.
const Pattern = `^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$`

// Check returns an error if s is not a valid name: ASCII letters, digits, ".",
// "_" and "-", at most MaxLength of them, and neither "." nor "-" first. Names
// become parts of file paths and arguments of commands, so nothing else may
// pass.
func Check(s string) error {
	switch {
	case s == "":
		return errors.New("a name cannot be empty")
	case len(s) > MaxLength:
		return fmt.Errorf("the name %q is longer than %d characters", s[:16]+"...", MaxLength)
	case s[0] == '.' || s[0] == '-':
		return fmt.Errorf("the name %q cannot begin with %q", s, s[:1])
	case strings.IndexFunc(s, foreign) >= 0:
		return fmt.Errorf("the name %q may only have letters, digits, \".\", \"_\" and \"-\"", s)
	}
	return nil
}

// foreign reports whether r has no place in a name.
func foreign(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '.', r == '_', r == '-':
		return false
	}
	return true
}

// DidYouMean returns `; did you mean "x"?` for the candidate nearest to s, to
// be put at the end of an error's text, or nothing if none is near.
func DidYouMean(s string, candidates []string) string {
	near, ok := Nearest(s, candidates)
	if !ok {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", near)
}

// Nearest returns the candidate that takes the fewest edits to get from s, if
// that is a third of the letters or less; the first of several. Upper and
// lower case, and "-" and "_", count as the same letter.
func Nearest(s string, candidates []string) (string, bool) {
	if len(s) > MaxLength {
		return "", false
	}
	var (
		best  string
		least = -1
		want  = fold(s)
	)
	for _, c := range candidates {
		if len(c) > MaxLength || c == s {
			continue
		}
		d := distance(want, fold(c))
		if d > (max(len(s), len(c))+2)/3 || d >= len(c) {
			continue
		}
		if least < 0 || d < least {
			best, least = c, d
		}
	}
	return best, least >= 0
}

func fold(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }

// distance is the number of letters to insert, delete, replace or exchange with
// their neighbour to make b from a (optimal string alignment).
func distance(a, b string) int {
	before := make([]int, len(b)+1) // the row before the last
	last := make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(replace, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
