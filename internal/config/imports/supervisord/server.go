package supervisord

import (
	"maps"
	"strings"

	"procops/internal/proc"
)

// server is the section [supervisord] as far as it reaches the processes and
// procops itself.
type server struct {
	dir    string
	user   string
	umask  *proc.Umask
	files  int // minfds if it is set
	env    []variable
	logDir string
	log    stream
	level  string // of procops' own log; "" for the default
	names  scope
}

// scope returns a new scope with what every section can refer to.
func (s *server) scope() scope { return maps.Clone(s.names) }

// idleKeys are the keys of [supervisord] that say how supervisord itself runs,
// for which procops has other ways or no need.
func idleKeys() []string {
	return []string{"nodaemon", "pidfile", "identifier", "nocleanup", "silent"}
}

// evaluateServer reads the section [supervisord], which may be absent in the
// files that others include.
func (c *converter) evaluateServer() {
	c.server.names = c.hostScope()
	s := c.document.Section(sectionServer)
	if s == nil {
		return
	}
	k := c.keys(s, c.server.scope())
	k.unknown(append(idleKeys(), "minfds", "minprocs", "directory", "user", "umask", "logfile", "logfile_maxbytes",
		"logfile_backups", "loglevel", "childlogdir", "strip_ansi", "environment"))
	c.server.env = k.environment()
	c.server.names.setenv(c.server.env)
	k.scope.setenv(c.server.env)
	c.server.dir = k.dir()
	c.server.umask = k.umask(nil)
	c.server.user = k.serverUser()
	if k.has("minfds") {
		c.server.files = k.number("minfds", 0)
	}
	if k.has("minprocs") {
		k.note("minprocs", "limits of processes are left as they are; see limits.procs")
	}
	if get(k, "strip_ansi", false, parseBoolean) {
		k.note("strip_ansi", "escape sequences stay in the log files")
	}
	if dir, ok := k.text("childlogdir"); ok {
		c.server.logDir = homeOf(dir)
	}
	if k.has("logfile") {
		c.server.log = k.serverLog()
	}
	c.server.level = k.level()
}

// serverUser returns the user that supervisord changes to, and with it the
// programs that have none of their own. For root there is nothing to change.
func (k keys) serverUser() string {
	user := k.user("")
	if user == "root" || user == "0" {
		k.note("user", "start procops as root")
		return ""
	}
	return user
}

// serverLog reads where the log of supervisord goes.
func (k keys) serverLog() stream {
	s := stream{
		maxBytes: get(k, "logfile_maxbytes", defaultMaxBytes, parseBytes),
		backups:  k.number("logfile_backups", defaultBackups),
	}
	path, _ := k.text("logfile")
	if s.kind = kindOfLog(path); s.kind == logFile {
		s.path, _ = within(k.server.dir, homeOf(path))
	}
	return s
}

// level reads the level of the log.
func (k keys) level() string {
	text, _ := k.literal("loglevel")
	switch strings.ToLower(text) {
	case "critical", "critic", "error", "erro":
		return "error"
	case "warn", "warning":
		return "warn"
	case "debug", "debg", "trace", "trac", "blather", "blat":
		return "debug"
	}
	return ""
}
