package heartbeat

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"procops/internal/unit"
)

// Config is the section [heartbeat].
type Config struct {
	DefaultPeriod unit.Duration     `toml:"default_period" default:"1d" doc:"period of every heartbeat that has none of its own"`
	HistoryKeep   int               `toml:"history_keep" default:"1000" doc:"how many knocks the history keeps for each heartbeat"`
	HistoryMaxAge unit.Duration     `toml:"history_max_age" default:"30d" doc:"knocks older than this leave the history; 0: no limit of age"`
	Storage       string            `toml:"storage" path:"true" doc:"storage of every heartbeat that has none of its own; default: none"`
	Heartbeats    map[string]Target `toml:"*" doc:"the heartbeats, by name"`
}

// Target is a section [heartbeat.NAME]: what is expected of a heartbeat.
type Target struct {
	Description   string        `toml:"description" json:"description,omitempty" doc:"what beats, for people"`
	Tags          []string      `toml:"tags" json:"tags,omitempty" doc:"labels that list and knock can select by"`
	Period        unit.Duration `toml:"period" json:"period,omitempty" doc:"expected time between two beats; default: default_period of [heartbeat]"`
	WarnAfter     unit.Duration `toml:"warn_after" json:"warn_after,omitempty" doc:"a last beat older than this is a warning; default: 1.5 times the period"`
	CriticalAfter unit.Duration `toml:"critical_after" json:"critical_after,omitempty" doc:"a last beat older than this is critical; default: 3 times the period"`
	MinInterval   unit.Duration `toml:"min_interval" json:"min_interval,omitempty" doc:"beats that follow the last one sooner than this are too fast; 0: no beat is"`
	OnFast        OnFast        `toml:"on_fast" json:"on_fast,omitempty" default:"coalesce" doc:"what becomes of a beat that is too fast: coalesce (accepted and counted, but the last beat stays) or refuse"`
	Storage       string        `toml:"storage" path:"true" json:"storage,omitempty" doc:"directory whose file NAME.json holds the last beat for clients and monitors other than procops, each of which may write and read it; default: storage of [heartbeat]"`
}

// OnFast says what becomes of a beat that follows the last one too soon.
type OnFast string

// The two ways to treat a beat that is too fast.
const (
	Coalesce OnFast = "coalesce" // accepted and counted; the last beat stays as it is
	Refuse   OnFast = "refuse"   // an error
)

// UnmarshalText reads "coalesce" or "refuse".
func (f *OnFast) UnmarshalText(text []byte) error {
	read := OnFast(text)
	if read != Coalesce && read != Refuse {
		return fmt.Errorf("invalid value %q: want %q or %q", text, Coalesce, Refuse)
	}
	*f = read
	return nil
}

// Thresholds are the ages of a last beat from which on it is too old.
type Thresholds struct {
	Warning  time.Duration
	Critical time.Duration
}

// What holds where neither the heartbeat nor the configuration says otherwise.
const (
	DefaultPeriod      = 24 * time.Hour
	DefaultHistoryKeep = 1000
)

// longest bounds periods, so that three of them are still a time.Duration.
const longest = math.MaxInt64 / 4

// Thresholds returns the thresholds of a heartbeat: its own where it has them,
// else 1.5 and 3 times its period. fallback is the period of a heartbeat that
// has none; 0 means DefaultPeriod.
func (t Target) Thresholds(fallback time.Duration) Thresholds {
	period := t.Period.Std()
	if period == 0 {
		period = fallback
	}
	if period == 0 {
		period = DefaultPeriod
	}
	period = min(period, longest)
	own := Thresholds{Warning: t.WarnAfter.Std(), Critical: t.CriticalAfter.Std()}
	switch {
	case own.Warning == 0 && own.Critical == 0:
		return Thresholds{Warning: period * 3 / 2, Critical: period * 3}
	case own.Warning == 0:
		own.Warning = min(period*3/2, own.Critical)
	case own.Critical == 0:
		own.Critical = max(period*3, own.Warning)
	}
	return own
}

// Check reports what is wrong with a heartbeat's expectations; path names the
// key that is to blame.
func (t Target) Check(report func(err error, path ...string)) {
	if t.CriticalAfter > 0 && t.WarnAfter > t.CriticalAfter {
		report(fmt.Errorf("warn_after (%s) is later than critical_after (%s)", t.WarnAfter, t.CriticalAfter), "warn_after")
	}
	if limit := t.Thresholds(0).Warning; (t.Period > 0 || t.WarnAfter > 0) && t.MinInterval.Std() >= limit {
		report(fmt.Errorf("min_interval (%s) must be shorter than warn_after (%s)", t.MinInterval, unit.Duration(limit)), "min_interval")
	}
	if slices.Contains(t.Tags, "") {
		report(errors.New("a tag must not be empty"), "tags")
	}
}

// Check reports what is wrong with the section; path is relative to it.
func (c Config) Check(report func(err error, path ...string)) {
	if c.DefaultPeriod <= 0 {
		report(errors.New("default_period must be longer than 0"), "default_period")
	}
	if c.HistoryKeep < 1 {
		report(errors.New("history_keep must be at least 1"), "history_keep")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Heartbeats)) {
		c.Heartbeats[name].Check(func(err error, path ...string) { report(err, append([]string{name}, path...)...) })
	}
}
