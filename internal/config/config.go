package config

import (
	"procops/internal/config/bind"
	"procops/internal/config/source"
	"procops/internal/daemon"
	"procops/internal/fault"
	"procops/internal/gearman"
	"procops/internal/heartbeat"
	"procops/internal/hook"
	"procops/internal/store"
	"procops/internal/supervise"
	"procops/internal/tasks"
	"procops/internal/unit"
	"procops/internal/web"
)

// Config is a procops.toml with all that it includes.
type Config struct {
	StateDir   string           `toml:"state_dir" path:"true" doc:"directory of the database, the control socket and the logs; default: $XDG_STATE_HOME/procops (~/.local/state/procops), for root /var/lib/procops"`
	Durability store.Durability `toml:"durability" default:"process" enum:"process,power" doc:"what recorded state survives: process (a crash of procops) or power (a power cut as well; every write then waits for the disk)"`
	Include    []string         `toml:"include" doc:"further files, relative to this one; wildcards are allowed; each file may include others"`
	Log        LogConfig        `toml:"log" doc:"procops' own log"`
	Events     EventsConfig     `toml:"events" doc:"the log of events"`
	Supervise  supervise.Config `toml:"supervise" doc:"the tree of processes to keep running"`
	Heartbeat  heartbeat.Config `toml:"heartbeat" doc:"heartbeats and what is expected of them"`
	Daemon     daemon.Config    `toml:"daemon" doc:"programs that run again and again"`
	Worker     gearman.Config   `toml:"worker" doc:"Gearman: the job servers, and the functions of a worker"`
	Tasks      tasks.Config     `toml:"tasks" doc:"queued tasks and what runs them"`
	Hook       hook.Rules       `toml:"hook" doc:"what is done about events"`
	Serve      web.Config       `toml:"serve" doc:"pings, metrics and badges by HTTP: what procops serve does"`

	path    string
	root    *source.Node
	files   []string // all that were read, in that order
	secrets []string // values from the environment that are not shown
}

// LogConfig is the section [log].
type LogConfig struct {
	Level    string        `toml:"level" default:"info" enum:"debug,info,warn,error" doc:"least level that is logged: debug, info, warn or error"`
	Format   string        `toml:"format" default:"console" enum:"console,json" doc:"console (for people) or json (one object a line)"`
	File     string        `toml:"file" path:"true" doc:"log file; default: standard error"`
	MaxSize  unit.Size     `toml:"max_size" default:"10M" doc:"the file is rotated at this size; 0: never"`
	MaxFiles int           `toml:"max_files" default:"5" min:"0" doc:"rotated files that are kept"`
	MaxAge   unit.Duration `toml:"max_age" default:"0" doc:"rotated files older than this are removed; 0: keep them"`
	Compress bool          `toml:"compress" default:"false" doc:"compress rotated files"`
}

// EventsConfig is the section [events].
type EventsConfig struct {
	Keep int `toml:"keep" default:"100000" min:"1" doc:"how many events the log keeps"`
}

// Load reads the configuration at path and all that it includes, with variables
// looked up in env. An empty path stands for an empty configuration: every
// default. The error is an *Error, which has every problem.
func Load(path string, env Environ) (*Config, error) {
	l := newLoader(env)
	var doc document
	if path != "" {
		var err error
		if doc, err = l.load(path, nil); err != nil {
			l.problems.report(&source.Error{Err: fault.Wrap(fault.Usage, err, "cannot read configuration %q", path)})
		}
	}
	return l.config(path, doc)
}

// Parse is Load for a text that is in no file; name stands for the file in
// errors, and relative paths begin at the directory that it would be in.
func Parse(name, text string, env Environ) (*Config, error) {
	l := newLoader(env)
	return l.config("", l.document(&link{path: name}, text))
}

// config binds and checks what was loaded.
func (l *loader) config(path string, doc document) (*Config, error) {
	problems := l.problems
	problems.nextStage()
	cfg := &Config{path: path, root: doc.root, files: problems.files, secrets: l.secrets}
	bind.Table(doc.values, doc.root, cfg, func(p *source.Error) {
		if !l.broken || !isMissing(p) {
			problems.report(p)
		}
	})
	cfg.Supervise.Hosted = cfg.hosted()
	problems.nextStage()
	if !l.broken {
		bind.Check(cfg, doc.root, problems.report)
		cfg.checkLinks(problems.report)
	}
	if err := problems.err(); err != nil {
		return nil, err
	}
	return cfg, nil
}

// Path returns the path that the configuration was loaded from, or "".
func (c *Config) Path() string { return c.path }

// Position returns where the value at a path of keys, and of indices in
// decimal, stands; false if it is in no file.
func (c *Config) Position(keys ...string) (Position, bool) {
	n := c.root.Get(keys...)
	if n == nil {
		return Position{}, false
	}
	return n.Value, true
}
