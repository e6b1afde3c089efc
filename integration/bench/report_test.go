//go:build bench

package bench

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// median returns the middle value, the upper one of two.
func median[T ~int64 | ~float64](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// atMost prints whether a figure keeps its target and fails the test if not.
func atMost(t *testing.T, what string, got, limit float64, unit string) {
	t.Helper()
	verdict(t, got <= limit, fmt.Sprintf("%s: %.4g %s, at most %.4g", what, got, unit, limit))
}

// atLeast is atMost the other way round.
func atLeast(t *testing.T, what string, got, limit float64, unit string) {
	t.Helper()
	verdict(t, got >= limit, fmt.Sprintf("%s: %.4g %s, at least %.4g", what, got, unit, limit))
}

func verdict(t *testing.T, kept bool, line string) {
	t.Helper()
	if kept {
		fmt.Println("PASS  " + line)
		return
	}
	fmt.Println("FAIL  " + line)
	t.Errorf("target missed: %s", line)
}

// heading sets a table apart from what the go command prints.
func heading(title string) { fmt.Printf("\n%s\n%s\n", title, strings.Repeat("-", len(title))) }
