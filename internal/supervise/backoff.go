package supervise

import (
	"math"
	"math/rand/v2"
	"time"
)

// delay returns how long to wait before the n-th restart in a row, n from 1:
// initial × factor^(n-1), at most max, spread by the share jitter to both sides.
func (b BackoffConfig) delay(n int) time.Duration {
	if b.Initial == 0 {
		return 0 // zero times a power that has become infinite would be no number
	}
	d := min(float64(b.Initial)*math.Pow(b.Factor, float64(n-1)), float64(b.Max))
	d *= 1 + b.Jitter*(2*rand.Float64()-1)
	return time.Duration(d)
}
