package supervisord

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"procops/internal/config/imports"
	"procops/internal/config/imports/ini"
	"procops/internal/config/source"
	"procops/internal/proc"
)

// The defaults of supervisord.
const (
	defaultPriority  = 999
	defaultRetries   = 3
	defaultStartSecs = 1
	defaultStopSecs  = 10
	defaultBackups   = 10
	defaultMaxBytes  = 50 << 20
)

// group is a group of supervisord: one that a section [group:x] names, or that
// of a program by itself.
type group struct {
	name      string
	label     string // its name in procops; "" if it needs no group there
	priority  int
	section   *ini.Section
	processes []*process
	notes     []imports.Note
}

// process is a process as supervisord would run it. Texts may hold references.
type process struct {
	section  *ini.Section
	group    *group
	name     string // supervisord's, in the group
	label    string // its name in procops
	priority int

	command []string
	setting setting
	life    lifecycle
	stop    stopping
	output  output
	notes   []imports.Note
}

// setting is what a process finds around itself.
type setting struct {
	dir   string
	user  string
	umask *proc.Umask
	files int // least limit of open files; 0: as it is
	env   []variable
}

// lifecycle says when a process is started.
type lifecycle struct {
	autostart bool
	restart   restart
	seconds   int // it has started once it has run as long
	retries   int // of a start
	codes     []int
}

// stopping says how a process is stopped.
type stopping struct {
	signal  proc.Signal
	seconds int
}

// output says where the streams of a process go.
type output struct {
	stdout, stderr stream
	redirect       bool   // stderr goes where stdout goes
	shared         string // the path that several processes would have; "" if none
}

// stream is where one stream goes.
type stream struct {
	kind     logKind
	path     string
	maxBytes int
	backups  int
	given    bool // one of the sizes is set by the file
}

// programKeys are the keys of a program that supervisord knows.
func programKeys() []string {
	return []string{
		"command", "process_name", "numprocs", "numprocs_start", "directory", "umask", "priority", "autostart",
		"autorestart", "startsecs", "startretries", "exitcodes", "stopsignal", "stopwaitsecs", "stopasgroup",
		"killasgroup", "user", "redirect_stderr", "environment", "serverurl",
		"stdout_logfile", "stdout_logfile_maxbytes", "stdout_logfile_backups", "stdout_capture_maxbytes",
		"stdout_events_enabled", "stdout_syslog",
		"stderr_logfile", "stderr_logfile_maxbytes", "stderr_logfile_backups", "stderr_capture_maxbytes",
		"stderr_events_enabled", "stderr_syslog",
	}
}

// evaluate fills in the server and the groups.
func (c *converter) evaluate() {
	c.evaluateServer()
	grouped := map[string]bool{} // programs
	for _, s := range c.document.Sections {
		if name, ok := strings.CutPrefix(s.Name, prefixGroup); ok {
			c.evaluateGroup(s, name, grouped)
		}
	}
	for _, s := range c.document.Sections {
		if name, ok := strings.CutPrefix(s.Name, prefixProgram); ok && !grouped[name] {
			c.evaluateProgram(s, name)
		}
	}
	slices.SortStableFunc(c.groups, func(a, b *group) int {
		return cmp.Or(cmp.Compare(a.priority, b.priority), strings.Compare(a.name, b.name))
	})
	c.place()
}

// evaluateGroup evaluates a section [group:x] and its programs.
func (c *converter) evaluateGroup(s *ini.Section, name string, grouped map[string]bool) {
	g := &group{section: s}
	k := keys{converter: c, section: s, scope: c.server.scope(), notes: &g.notes}
	k.unknown([]string{"programs", "priority"})
	name, err := checkName(name)
	if err != nil {
		c.fail(source.Errorf(s.At, "[%s]: %w", s.Name, err))
		return
	}
	g.name, g.priority = name, get(k, "priority", defaultPriority, parseInteger)
	programs, _ := k.literal("programs")
	for _, program := range parseList(programs) {
		section := c.document.Section(prefixProgram + program)
		switch {
		case section != nil:
			grouped[program] = true
			g.processes = append(g.processes, c.processes(section, g)...)
		case c.document.Section(prefixFastCGI+program) != nil:
			k.note("programs", "%s is a [fcgi-program:x], which is not carried over", program)
		default:
			k.fail("programs", fmt.Errorf("there is no program %q", program))
		}
	}
	slices.SortStableFunc(g.processes, byPriority)
	c.groups = append(c.groups, g)
}

// evaluateProgram evaluates a program that is in no group: it is one itself.
func (c *converter) evaluateProgram(s *ini.Section, name string) {
	g := &group{name: strings.TrimSpace(name), section: s, priority: defaultPriority}
	g.processes = c.processes(s, g)
	slices.SortStableFunc(g.processes, byPriority)
	if len(g.processes) > 0 {
		g.priority = g.processes[0].priority // all have the same
	}
	c.groups = append(c.groups, g)
}

func byPriority(a, b *process) int {
	return cmp.Or(cmp.Compare(a.priority, b.priority), strings.Compare(a.name, b.name))
}

// processes evaluates a section [program:x] into its processes.
func (c *converter) processes(s *ini.Section, g *group) []*process {
	name, err := checkName(strings.TrimPrefix(s.Name, prefixProgram))
	if err != nil {
		c.fail(source.Errorf(s.At, "[%s]: %w", s.Name, err))
		return nil
	}
	var notes []imports.Note
	k := keys{converter: c, section: s, scope: c.server.scope(), notes: &notes}
	k.scope["program_name"] = textValue(name)
	k.scope["group_name"] = textValue(g.name)
	if !k.has("command") {
		c.fail(source.Errorf(s.At, `[%s] has no key "command"`, s.Name))
	}
	p := process{
		section: s, group: g,
		priority: get(k, "priority", defaultPriority, parseInteger),
		life:     k.lifecycle(),
		stop:     k.stopping(),
	}
	k.unknown(programKeys())
	k.unsupported()
	p.setting.files, p.setting.umask, p.setting.user = c.server.files, k.umask(c.server.umask), k.user(c.server.user)
	var list []*process
	first, count := get(k, "numprocs_start", 0, parseInteger), k.copies()
	for n := first; n < first+count; n++ {
		k.scope["process_num"], k.scope["numprocs"] = numberValue(n), numberValue(count)
		one := p
		k.copy(&one, name)
		one.notes = notes
		list = append(list, &one)
	}
	return list
}

// maxCopies is how many processes of a program are imported; supervisord's own
// limit of file descriptors is lower.
const maxCopies = 10_000

// copies reads numprocs.
func (k keys) copies() int {
	n := k.number("numprocs", 1)
	name := k.section.Get("process_name")
	switch {
	case n > maxCopies:
		k.fail("numprocs", fmt.Errorf("%d processes are more than %d", n, maxCopies))
		return 0
	case n > 1 && (name == nil || !strings.Contains(name.Value, "%(process_num)")):
		k.fail("process_name", errors.New("with numprocs above 1 it needs %(process_num)"))
		return 0
	case n == 0:
		k.note("numprocs", "it is 0: there is nothing to run")
	}
	return n
}

// copy evaluates what may be different for each process of a program.
func (k keys) copy(p *process, program string) {
	env := k.environment()
	k.scope.setenv(env)
	p.setting.env = slices.Clone(k.server.env)
	for _, v := range env {
		p.setting.env = setVariable(p.setting.env, v)
	}
	p.name = program
	if k.has("process_name") {
		p.name = k.processName()
	}
	p.setting.dir = k.dir()
	p.output = k.output()
	p.command = k.command()
}

// processName reads the name of a process, which is checked before names are
// filled in.
func (k keys) processName() string {
	if _, err := checkName(k.section.Get("process_name").Value); err != nil {
		k.fail("process_name", err)
		return ""
	}
	name, _ := k.literal("process_name")
	return strings.TrimSpace(name)
}

// dir reads the working directory.
func (k keys) dir() string {
	dir, ok := k.text("directory")
	if !ok || dir == "" {
		return k.server.dir
	}
	joined, absolute := within(k.server.dir, dir)
	if !absolute {
		k.note("directory", "it begins at the directory of procops.toml here, and with supervisord where that was started")
	}
	return joined
}

// within returns path in dir if it is relative, and whether the result is
// absolute. What begins with a reference counts as absolute.
func within(dir, path string) (joined string, absolute bool) {
	isAbsolute := func(p string) bool { return strings.HasPrefix(p, "/") || strings.HasPrefix(p, mark) }
	switch {
	case isAbsolute(path):
		return path, true
	case isAbsolute(dir):
		return strings.TrimSuffix(dir, "/") + "/" + strings.TrimPrefix(path, "./"), true
	}
	return path, false
}

func (k keys) lifecycle() lifecycle {
	l := lifecycle{
		autostart: get(k, "autostart", true, parseBoolean),
		restart:   get(k, "autorestart", restartUnexpected, parseRestart),
		seconds:   k.number("startsecs", defaultStartSecs),
		retries:   k.number("startretries", defaultRetries),
		codes:     get(k, "exitcodes", []int{0}, parseExitCodes),
	}
	switch {
	case l.restart == restartNever && k.has("startretries") && l.retries > 0:
		k.note("startretries", "a start that fails is not tried again, because autorestart is false")
	case l.restart != restartNever && l.retries == 0 && l.seconds > 0:
		k.note("startretries", "it becomes 1, because 0 is no limit for max_restarts")
	}
	return l
}

func (k keys) stopping() stopping {
	s := stopping{
		signal:  get(k, "stopsignal", proc.Signal(15), parseSignal),
		seconds: k.number("stopwaitsecs", defaultStopSecs),
	}
	stopGroup := get(k, "stopasgroup", false, parseBoolean)
	killGroup := get(k, "killasgroup", stopGroup, parseBoolean)
	if stopGroup && !killGroup {
		k.fail("killasgroup", errors.New("it cannot be false when stopasgroup is true"))
		return s
	}
	const whole = "procops signals the whole process group"
	if k.has("stopasgroup") && !stopGroup {
		k.note("stopasgroup", whole)
	}
	if k.has("killasgroup") && !killGroup {
		k.note("killasgroup", whole)
	}
	return s
}

func (k keys) umask(server *proc.Umask) *proc.Umask {
	if !k.has("umask") {
		return server
	}
	mask := get(k, "umask", 0, parseUmask)
	return &mask
}

func (k keys) user(server string) string {
	user, ok := k.text("user")
	if !ok {
		return server
	}
	return strings.TrimSpace(user)
}

// unsupported notes what procops does not have.
func (k keys) unsupported() {
	for _, stream := range []string{"stdout", "stderr"} {
		if key := stream + "_events_enabled"; get(k, key, false, parseBoolean) {
			k.note(key, "there are no events for output")
		}
		if key := stream + "_capture_maxbytes"; get(k, key, 0, parseBytes) > 0 {
			k.note(key, "there is no capture mode")
		}
		if key := stream + "_syslog"; get(k, key, false, parseBoolean) {
			k.note(key, "output does not go to syslog, but to the log file")
		}
	}
	if url, ok := k.text("serverurl"); ok && !strings.EqualFold(strings.TrimSpace(url), "AUTO") {
		k.note("serverurl", "SUPERVISOR_SERVER_URL is not set")
	}
}
