package tasks

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"procops/internal/launch"
	"procops/internal/unit"
)

// RetryPolicy says how the time between attempts grows.
type RetryPolicy string

// The policies.
const (
	RetryExponential RetryPolicy = "exponential" // it grows by a factor
	RetryFixed       RetryPolicy = "fixed"       // it is always the same
	RetryList        RetryPolicy = "list"        // it is in a list
)

// Retry says how long a task that has failed waits for the next attempt.
type Retry struct {
	Policy  RetryPolicy     `toml:"policy" enum:"exponential,fixed,list" default:"exponential" doc:"exponential (initial, and factor times as long with each further failure, at most max), fixed (always initial) or list (as delays says)"`
	Initial unit.Duration   `toml:"initial" default:"10s" doc:"after the first failure"`
	Factor  float64         `toml:"factor" min:"1" max:"1000" default:"2" doc:"each further delay is this many times the last"`
	Max     unit.Duration   `toml:"max" default:"1h" doc:"the longest"`
	Delays  []unit.Duration `toml:"delays" doc:"after the first, the second failure and so on; after more failures the last"`
	Jitter  float64         `toml:"jitter" min:"0" max:"1" default:"0.1" doc:"share of the delay by which it is longer or shorter, by chance, so that tasks that failed together do not come back together"`
}

// UnmarshalString reads the short form, the policy alone.
func (r *Retry) UnmarshalString(text string) error {
	r.Policy = RetryPolicy(text)
	if policies := []RetryPolicy{RetryExponential, RetryFixed}; !slices.Contains(policies, r.Policy) {
		return fmt.Errorf("invalid policy %q: want one of %q, or a list of delays", text, policies)
	}
	return nil
}

// UnmarshalList reads the short form of a list: its delays.
func (r *Retry) UnmarshalList(list []any) error {
	r.Policy = RetryList
	for _, raw := range list {
		d, err := unit.ParseDuration(fmt.Sprint(raw))
		if err != nil {
			return err
		}
		r.Delays = append(r.Delays, unit.Duration(d))
	}
	return nil
}

// check reports what is wrong with it.
func (r Retry) check(report func(err error, path ...string)) {
	if r.Policy == RetryExponential && r.Initial > r.Max {
		report(fmt.Errorf("initial (%s) is longer than max (%s)", r.Initial, r.Max), "initial")
	}
	if r.Policy == RetryList && len(r.Delays) == 0 {
		report(errors.New("the list has no delays"), "delays")
	}
	if r.Policy != RetryList && len(r.Delays) > 0 {
		report(fmt.Errorf("they mean nothing with policy %q", r.Policy), "delays")
	}
}

// delay returns the time to wait after so many failures, from 1.
func (r Retry) delay(failures int) time.Duration {
	b := launch.Backoff{Initial: r.Initial, Factor: r.Factor, Max: r.Max, Jitter: r.Jitter}
	switch {
	case r.Policy == RetryFixed:
		b.Factor, b.Max = 1, b.Initial
	case len(r.Delays) > 0:
		b.Initial = r.Delays[min(failures, len(r.Delays))-1]
		b.Factor, b.Max = 1, b.Initial
	}
	return b.Delay(failures)
}

// retry returns how long a task of type t waits after a failure.
func (c Config) retry(t Type) Retry {
	if t.Retry != nil {
		return *t.Retry
	}
	return c.Retry
}

// maxAttempts returns how often a task of type t may fail: once more than its list has
// delays, unless it says otherwise.
func (c Config) maxAttempts(t Type) int {
	switch {
	case t.MaxAttempts > 0:
		return t.MaxAttempts
	case t.Retry != nil && t.Retry.Policy == RetryList:
		return len(t.Retry.Delays) + 1
	default:
		return max(1, c.MaxAttempts)
	}
}
