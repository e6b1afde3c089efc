package heartbeat

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"procops/internal/cron"
	"procops/internal/unit"
)

// Config is the section [heartbeat].
type Config struct {
	DefaultPeriod unit.Duration     `toml:"default_period" default:"1d" doc:"period of every heartbeat that has none of its own"`
	HistoryKeep   int               `toml:"history_keep" default:"1000" doc:"how many knocks the history keeps for each heartbeat"`
	HistoryMaxAge unit.Duration     `toml:"history_max_age" default:"30d" doc:"knocks older than this leave the history; 0: no limit of age"`
	OnAttack      []Reaction        `toml:"on_attack" doc:"reactions for every heartbeat that has none of its own; see on_attack of a heartbeat"`
	OnRecovery    []Reaction        `toml:"on_recovery" doc:"reactions for every heartbeat that has none of its own; see on_recovery of a heartbeat"`
	Storage       string            `toml:"storage" path:"true" doc:"storage of every heartbeat that has none of its own; default: none"`
	Heartbeats    map[string]Target `toml:"*" doc:"the heartbeats, by name"`
}

// Target is a section [heartbeat.NAME]: what is expected of a heartbeat.
type Target struct {
	Description   string           `toml:"description" json:"description,omitempty" doc:"what beats, for people"`
	Tags          []string         `toml:"tags" json:"tags,omitempty" doc:"labels that list and knock can select by"`
	Period        unit.Duration    `toml:"period" json:"period,omitempty" doc:"expected time between two beats; default: default_period of [heartbeat]"`
	Schedule      *cron.Expression `toml:"schedule" json:"schedule,omitempty" doc:"cron expression: a beat is expected at those times, instead of once a period"`
	Timezone      string           `toml:"timezone" json:"timezone,omitempty" doc:"time zone of schedule and of maintenance, such as Europe/Berlin; default: that of the machine"`
	Grace         unit.Duration    `toml:"grace" json:"grace,omitempty" doc:"a beat that is overdue for longer means that the heartbeat is down: a shorter way to say warn_after = period and critical_after = period + grace; with schedule 1h by default"`
	MaxRuntime    unit.Duration    `toml:"max_runtime" json:"max_runtime,omitempty" doc:"a run that has not ended this long after its start is a failure; default: grace, or else critical_after"`
	AlertAfter    int              `toml:"alert_after" json:"alert_after,omitempty" min:"1" default:"1" doc:"failures or missed beats in a row after which somebody is told"`
	RepeatEvery   unit.Duration    `toml:"repeat_every" json:"repeat_every,omitempty" doc:"tell again this often while it is down; 0: tell once"`
	Maintenance   []Maintenance    `toml:"maintenance" json:"maintenance,omitempty" doc:"times in which no beat is expected and nobody is told of failures"`
	Pulse         unit.Duration    `toml:"pulse" json:"pulse,omitempty" doc:"how often the monitor knocks; default: once a period. A deadline is seen when it passes, whatever the pulse"`
	UUID          string           `toml:"uuid" json:"uuid,omitempty" doc:"address in the ping API; whoever knows it can beat"`
	OnAttack      []Reaction       `toml:"on_attack" json:"-" doc:"what the monitor does when the heartbeat is down: all of these, in order"`
	OnRecovery    []Reaction       `toml:"on_recovery" json:"-" doc:"what the monitor does when it is up again"`
	DetachDown    bool             `toml:"detach_on_critical" json:"detach_on_critical,omitempty" doc:"take an attached heartbeat off the list when it is down, after on_attack"`
	WarnAfter     unit.Duration    `toml:"warn_after" json:"warn_after,omitempty" doc:"a last beat older than this is a warning; default: 1.5 times the period"`
	CriticalAfter unit.Duration    `toml:"critical_after" json:"critical_after,omitempty" doc:"a last beat older than this is critical; default: 3 times the period"`
	MinInterval   unit.Duration    `toml:"min_interval" json:"min_interval,omitempty" doc:"beats that follow the last one sooner than this are too fast; 0: no beat is"`
	OnFast        OnFast           `toml:"on_fast" json:"on_fast,omitempty" default:"coalesce" doc:"what becomes of a beat that is too fast: coalesce (accepted and counted, but the last beat stays) or refuse"`
	Storage       string           `toml:"storage" path:"true" json:"storage,omitempty" doc:"directory whose file NAME.json holds the last beat for clients and monitors other than procops, each of which may write and read it; default: storage of [heartbeat]"`
}

// Maintenance is a time in which no beat is expected.
type Maintenance struct {
	Schedule *cron.Expression `toml:"schedule" json:"schedule" required:"true" doc:"cron expression of the begins"`
	Duration unit.Duration    `toml:"duration" json:"duration" required:"true" min:"1s" max:"30d" doc:"how long each lasts"`
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
	period := t.period(fallback)
	own := Thresholds{Warning: t.WarnAfter.Std(), Critical: t.CriticalAfter.Std()}
	switch {
	case t.Grace > 0:
		return Thresholds{Warning: period, Critical: period + min(t.Grace.Std(), longest)}
	case own.Warning == 0 && own.Critical == 0:
		return Thresholds{Warning: period * 3 / 2, Critical: period * 3}
	case own.Warning == 0:
		own.Warning = min(period*3/2, own.Critical)
	case own.Critical == 0:
		own.Critical = max(period*3, own.Warning)
	}
	return own
}

// period returns the expected time between two beats.
func (t Target) period(fallback time.Duration) time.Duration {
	period := t.Period.Std()
	if period == 0 {
		period = fallback
	}
	if period == 0 {
		period = DefaultPeriod
	}
	return min(period, longest)
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
	t.checkPlan(report)
	checkReactions(t.OnAttack, "on_attack", report)
	checkReactions(t.OnRecovery, "on_recovery", report)
}

// checkPlan checks when beats are expected.
func (t Target) checkPlan(report func(err error, path ...string)) {
	if t.Grace > 0 && (t.WarnAfter > 0 || t.CriticalAfter > 0) {
		report(errors.New("grace says the same as warn_after and critical_after: want one or the other"), "grace")
	}
	if t.Schedule != nil {
		for key, value := range map[string]unit.Duration{"period": t.Period, "warn_after": t.WarnAfter, "critical_after": t.CriticalAfter} {
			if value > 0 {
				report(fmt.Errorf("%s has no meaning beside schedule", key), key)
			}
		}
	}
	if _, err := t.zone(); err != nil {
		report(fmt.Errorf("unknown time zone %q: want a name such as \"Europe/Berlin\" or \"UTC\"", t.Timezone), "timezone")
	}
	if t.UUID != "" && !IsUUID(t.UUID) {
		report(errors.New("invalid uuid: want 32 hexadecimal digits in the form 8-4-4-4-12"), "uuid")
	}
}

// zone returns the time zone of the schedules.
func (t Target) zone() (*time.Location, error) {
	if t.Timezone == "" {
		return time.Local, nil //nolint:gosmopolitan // cron jobs run by the machine's zone
	}
	return time.LoadLocation(t.Timezone)
}

// Check reports what is wrong with the section; path is relative to it.
func (c Config) Check(report func(err error, path ...string)) {
	if c.DefaultPeriod <= 0 {
		report(errors.New("default_period must be longer than 0"), "default_period")
	}
	if c.HistoryKeep < 1 {
		report(errors.New("history_keep must be at least 1"), "history_keep")
	}
	checkReactions(c.OnAttack, "on_attack", report)
	checkReactions(c.OnRecovery, "on_recovery", report)
	owners := map[string]string{} // of UUIDs
	for _, name := range slices.Sorted(maps.Keys(c.Heartbeats)) {
		target := c.Heartbeats[name]
		target.Check(func(err error, path ...string) { report(err, append([]string{name}, path...)...) })
		id := strings.ToLower(target.UUID)
		if owner, taken := owners[id]; taken && id != "" {
			report(fmt.Errorf("heartbeat %q has the same uuid: a ping would be for either", owner), name, "uuid")
		}
		owners[id] = name
	}
}
