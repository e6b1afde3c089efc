package launch

import (
	"math"
	"testing"
	"time"

	"procops/internal/unit"
)

func TestBackoffGrowsToItsMax(t *testing.T) {
	b := Backoff{Initial: unit.Duration(100 * time.Millisecond), Factor: 3, Max: unit.Duration(time.Second)}
	for n, want := range map[int]time.Duration{
		1: 100 * time.Millisecond, 2: 300 * time.Millisecond, 3: 900 * time.Millisecond, 4: time.Second, math.MaxInt32: time.Second,
	} {
		if got := b.Delay(n); got != want {
			t.Errorf("restart %d waits %s, want %s", n, got, want)
		}
	}
}

// TestNoBackoff: no delay stays none, however often it is multiplied.
func TestNoBackoff(t *testing.T) {
	b := Backoff{Factor: 2, Max: unit.Duration(time.Minute), Jitter: 0.1}
	for _, n := range []int{1, 10, 5000} {
		if got := b.Delay(n); got != 0 {
			t.Errorf("restart %d waits %s, want none", n, got)
		}
	}
}

func TestBackoffJitter(t *testing.T) {
	b := Backoff{Initial: unit.Duration(time.Second), Factor: 1, Max: unit.Duration(time.Second), Jitter: 0.25}
	shorter, longer := 0, 0
	for range 1000 {
		d := b.Delay(1)
		if d < 750*time.Millisecond || d > 1250*time.Millisecond {
			t.Fatalf("it waits %s, want a second, a quarter more or less", d)
		}
		switch {
		case d < time.Second:
			shorter++
		case d > time.Second:
			longer++
		}
	}
	if shorter == 0 || longer == 0 {
		t.Errorf("of 1000 delays %d are shorter and %d longer", shorter, longer)
	}
}
