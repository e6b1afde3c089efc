package launch

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"procops/internal/unit"
)

// Backoff is a table of delays: the n-th restart in a row waits
// initial × factor^(n-1), at most max, more or less the share jitter of it.
type Backoff struct {
	Initial unit.Duration `toml:"initial" default:"1s" doc:"delay before the first restart"`
	Factor  float64       `toml:"factor" min:"1" max:"1000" default:"2" doc:"each further delay is this many times the last"`
	Max     unit.Duration `toml:"max" default:"1m" doc:"longest delay"`
	Jitter  float64       `toml:"jitter" min:"0" max:"1" default:"0.1" doc:"share of the delay that is random"`
}

// Check says what is wrong with it.
func (b Backoff) Check() error {
	if b.Max < b.Initial {
		return fmt.Errorf("initial (%s) is longer than max (%s)", b.Initial, b.Max)
	}
	return nil
}

// Delay returns how long to wait before the n-th restart in a row, n from 1:
// initial × factor^(n-1), at most max, spread by the share jitter to both sides.
func (b Backoff) Delay(n int) time.Duration {
	if b.Initial == 0 {
		return 0 // zero times a power that has become infinite would be no number
	}
	d := min(float64(b.Initial)*math.Pow(b.Factor, float64(n-1)), float64(b.Max))
	d *= 1 + b.Jitter*(2*rand.Float64()-1)
	return time.Duration(d)
}
