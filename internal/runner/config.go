package runner

import (
	"fmt"
	"time"

	"procops/internal/unit"
)

// Mode says how units of work are run.
type Mode string

// The two modes.
const (
	ModeCommand   Mode = "command"   // each is a fresh process
	ModeCoprocess Mode = "coprocess" // long-lived processes do one after the other
)

// Config is the table "coprocess" of a section that has a mode.
type Config struct {
	Size            int           `toml:"size" min:"1" max:"1000" default:"1" doc:"how many co-processes there may be; each does one unit of work at a time, and they are started when they are needed"`
	MaxUnits        int           `toml:"max_units" min:"0" default:"0" doc:"a co-process that has done this many units is replaced by a fresh one; 0: no limit"`
	MemoryThreshold unit.Size     `toml:"memory_threshold" default:"0" doc:"a co-process that has more resident memory than this after a unit is replaced by a fresh one; 0: no limit"`
	StartTimeout    unit.Duration `toml:"start_timeout" min:"10ms" default:"30s" doc:"how long a co-process may take to say hello"`
	MaxLine         unit.Size     `toml:"max_line" min:"1K" default:"128M" doc:"the longest line that a co-process may write"`
	RestartDelay    unit.Duration `toml:"restart_delay" min:"1ms" default:"100ms" doc:"least time to the next start after a co-process has ended without having done a unit; doubles with each further one in a row"`
	MaxRestartDelay unit.Duration `toml:"max_restart_delay" min:"1ms" default:"30s" doc:"the longest restart_delay becomes"`
}

// Check reports what is wrong with the table; path is relative to it.
func (c Config) Check(report func(err error, path ...string)) {
	if c.RestartDelay > c.MaxRestartDelay {
		report(fmt.Errorf("restart_delay (%s) is longer than max_restart_delay (%s)", c.RestartDelay, c.MaxRestartDelay), "restart_delay")
	}
}

// filled returns the config with the defaults in place of what is zero and cannot be.
func (c Config) filled() Config {
	if c.Size == 0 {
		c.Size = 1
	}
	if c.StartTimeout == 0 {
		c.StartTimeout = unit.Duration(30 * time.Second)
	}
	if c.MaxLine == 0 {
		c.MaxLine = 128 << 20
	}
	if c.RestartDelay == 0 {
		c.RestartDelay = unit.Duration(100 * time.Millisecond)
	}
	if c.MaxRestartDelay == 0 {
		c.MaxRestartDelay = unit.Duration(30 * time.Second)
	}
	return c
}

// pause returns the least time to the next start after n co-processes in a row, from
// 1, that have ended without having done anything.
func (c Config) pause(n int) time.Duration {
	d, longest := c.RestartDelay.Std(), c.MaxRestartDelay.Std()
	for ; n > 1 && d < longest; n-- {
		d *= 2
	}
	return min(d, longest)
}
