package config

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"procops/internal/config/source"
	"procops/internal/gearman"
	"procops/internal/launch"
	"procops/internal/proc"
	"procops/internal/supervise"
	"procops/internal/tasks"
)

// CheckPrograms checks that what the configuration names is on this machine:
// the programs of commands, found in the way in which they will be, the users to run
// them as, the CPUs to run them on and the files that they are given. The error is
// an *Error.
func (c *Config) CheckPrograms() error {
	return c.check((*machine).tree, (*machine).daemons, (*machine).functions, (*machine).tasks)
}

// CheckDaemonPrograms is CheckPrograms for one daemon alone.
func (c *Config) CheckDaemonPrograms(name string) error {
	return c.check(func(m *machine) { m.daemon(name) })
}

// CheckTreePrograms is CheckPrograms for the supervised tree alone.
func (c *Config) CheckTreePrograms() error { return c.check((*machine).tree) }

// CheckFunctionPrograms is CheckPrograms for some functions of the worker alone.
func (c *Config) CheckFunctionPrograms(names ...string) error {
	return c.check(func(m *machine) {
		for _, name := range names {
			m.function(name)
		}
	})
}

// CheckTaskPrograms is CheckPrograms for the types of tasks alone.
func (c *Config) CheckTaskPrograms() error { return c.check((*machine).tasks) }

func (c *Config) check(parts ...func(*machine)) error {
	m := machine{cfg: c, environ: os.Environ(), problems: collector{files: c.files}, said: map[string]bool{}}
	for _, part := range parts {
		part(&m)
	}
	return m.problems.err()
}

// machine compares a configuration with the machine.
type machine struct {
	cfg      *Config
	environ  []string // of procops
	problems collector
	said     map[string]bool // places: instances of one process share them
}

func (m *machine) tree() {
	c := m.cfg
	expanded := c.Supervise.Expanded()
	for _, name := range slices.Sorted(maps.Keys(expanded.Process)) {
		p := expanded.Process[name]
		if p.IsService() {
			m.service(name)
			continue
		}
		m.process(p.Origin(name), p)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Supervise.Group)) {
		g := c.Supervise.Group[name]
		m.links(g.OnFail, "supervise", "group", name, "on_fail")
		m.links(g.OnPass, "supervise", "group", name, "on_pass")
	}
}

// service checks a service of the tree, or an instance of one.
func (m *machine) service(name string) {
	switch name {
	case ServiceWorker:
		m.functions()
		if len(m.cfg.Worker.Functions) == 0 {
			m.report([]string{"worker"}, "%w", gearman.ErrNoFunction)
		}
	case ServiceServer:
	case ServiceTasks:
		m.tasks()
		if len(m.cfg.Tasks.Runnable()) == 0 {
			m.report([]string{"tasks"}, "%w", tasks.ErrNoType)
		}
	default:
		m.daemon(m.cfg.daemonOf(name))
	}
}

func (m *machine) daemons() {
	for _, name := range m.cfg.Daemon.Names() {
		m.daemon(name)
	}
}

// daemon checks a daemon. What has to be filled in for its place is looked for when it
// runs.
func (m *machine) daemon(name string) {
	d := m.cfg.Daemon.Daemons[name]
	at := []string{"daemon", name}
	if !strings.Contains(strings.Join(d.Command[:min(1, len(d.Command))], "")+d.Dir, "{{") {
		m.command(d.Command, d.Dir, m.environment(nil, d.Env), append(at, "command")...)
	}
	m.settings(d.Settings, at)
}

func (m *machine) functions() {
	for _, name := range m.cfg.Worker.FunctionNames() {
		m.function(name)
	}
}

func (m *machine) function(name string) {
	f := m.cfg.Worker.Functions[name]
	at := []string{"worker", "function", name}
	m.command(f.Command, f.Dir, m.environment(nil, f.Env), append(at, "command")...)
	m.settings(f.Settings, at)
}

func (m *machine) tasks() {
	for _, name := range slices.Sorted(maps.Keys(m.cfg.Tasks.Types)) {
		t := m.cfg.Tasks.Types[name]
		at := []string{"tasks", "type", name}
		env := m.environment(nil, t.Env)
		m.command(t.Command, t.Dir, env, append(at, "command")...)
		m.command(t.Before, t.Dir, env, append(at, "before")...)
		m.command(t.After, t.Dir, env, append(at, "after")...)
		m.settings(t.Settings, at)
	}
}

// settings checks the user and the CPUs of a program.
func (m *machine) settings(s launch.Settings, at []string) {
	m.user(s.User, s.Group, s.Groups, at)
	if err := s.CPUs.Check(); err != nil {
		m.report(append(at, "cpus"), "%w", err)
	}
}

// environment returns that of procops with the variables from files and then those of
// a command.
func (m *machine) environment(fromFiles []string, own map[string]string) []string {
	env := slices.Concat(m.environ, fromFiles)
	for key, value := range own {
		env = append(env, key+"="+value)
	}
	return env
}

// process checks a process, or an instance, that the config declares as name.
func (m *machine) process(name string, p supervise.ProcessConfig) {
	at := []string{"supervise", "process", name}
	fromFiles, err := p.EnvFile.Env()
	if err != nil {
		m.report(append(at, "env_file"), "%w", err)
	}
	env := m.environment(fromFiles, p.Env)
	m.command(p.Command, p.Dir, env, append(at, "command")...)
	m.command(p.Stop.Command, "", m.environ, append(at, "stop", "command")...)
	m.command(p.Ready.Exec, p.Dir, env, append(at, "ready", "exec")...)
	if p.Alive != nil {
		m.command(p.Alive.Exec, p.Dir, env, append(at, "alive", "exec")...)
	}
	m.links(p.OnFail, append(at, "on_fail")...)
	m.links(p.OnPass, append(at, "on_pass")...)
	m.settings(p.Settings, at)
	if err := launch.CheckStdin(p.Stdin); err != nil {
		m.report(append(at, "stdin"), "%w", err)
	}
}

func (m *machine) links(links []supervise.LinkConfig, at ...string) {
	for i, link := range links {
		m.command(link.Exec, "", m.environ, append(slices.Clip(at), strconv.Itoa(i), "exec")...)
	}
}

// command checks a command, which may be empty.
func (m *machine) command(command proc.Command, dir string, env []string, at ...string) {
	if len(command) == 0 {
		return
	}
	if _, err := proc.FindProgram(command[0], dir, env); err != nil {
		m.report(at, "cannot run %q: %w", command[0], err)
	}
}

func (m *machine) user(user, group string, groups, at []string) {
	if user != "" || group != "" {
		key := "user"
		if user == "" {
			key = "group"
		}
		if _, err := proc.LookupUser(user, group); err != nil {
			m.report(append(at, key), "%w", err)
		}
	}
	for i, group := range groups {
		if _, err := proc.LookupGroup(group); err != nil {
			m.report(append(at, "groups", strconv.Itoa(i)), "%w", err)
		}
	}
}

func (m *machine) report(at []string, format string, args ...any) {
	place := strings.Join(at, "\x00")
	if m.said[place] {
		return
	}
	m.said[place] = true
	p := source.Errorf(m.cfg.root.Near(at...), "%s: "+format, append([]any{m.cfg.root.Label(at...)}, args...)...)
	m.problems.report(p)
}
