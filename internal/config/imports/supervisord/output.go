package supervisord

import "fmt"

// output reads where the streams of a process go.
func (k keys) output() output {
	o := output{
		stdout:   k.stream("stdout"),
		stderr:   k.stream("stderr"),
		redirect: get(k, "redirect_stderr", false, parseBoolean),
	}
	if o.stdout.kind == logSyslog {
		k.note("stdout_logfile", "output does not go to syslog, but to the log file")
	}
	if o.stderr.kind == logSyslog && !o.redirect {
		k.note("stderr_logfile", "output does not go to syslog, but to the log file")
	}
	k.noteMerged(o)
	return o
}

// noteMerged says where streams that supervisord keeps apart come together:
// procops has one log file for a process, in which each line has its stream.
func (k keys) noteMerged(o output) {
	const merged = "stdout and stderr go to one file here, each line with its stream: "
	out, err := o.stdout, o.stderr
	switch {
	case o.redirect:
		return
	case out.kind == logFile && err.kind == logFile && out.path != err.path:
		k.note("stderr_logfile", merged+"that of stdout_logfile")
	case out.kind == logFile && err.kind == logNone:
		k.note("stderr_logfile", merged+"stderr is logged, too")
	case out.kind != logFile && err.kind == logFile:
		k.note("stdout_logfile", merged+"that of stderr_logfile")
	case out.kind == logNone && err.kind != logNone && err.kind != logStream:
		k.note("stdout_logfile", merged+"stdout is logged, too")
	}
}

// chosen returns the stream whose file is the process's log file in procops.
func (o *output) chosen() *stream {
	quiet := func(s stream) bool { return s.kind == logNone || s.kind == logStream }
	switch {
	case o.redirect || o.stdout.kind == logFile || o.stderr.kind == logStream:
		return &o.stdout
	case o.stderr.kind == logFile:
		return &o.stderr
	case quiet(o.stdout) && !quiet(o.stderr) && o.stdout.kind == logNone:
		return &o.stderr
	}
	return &o.stdout
}

// stream reads where stdout or stderr goes.
func (k keys) stream(name string) stream {
	key := name + "_logfile"
	s := stream{
		kind:     logAuto,
		maxBytes: get(k, key+"_maxbytes", defaultMaxBytes, parseBytes),
		backups:  k.number(key+"_backups", defaultBackups),
		given:    k.has(key+"_maxbytes") || k.has(key+"_backups"),
	}
	path, ok := k.text(key)
	if ok {
		// supervisord fills in names twice here.
		path, ok = k.expand(key, path)
	}
	if !ok {
		return s
	}
	s.kind = kindOfLog(path)
	if s.kind != logFile {
		return s
	}
	joined, absolute := within(k.server.dir, homeOf(path))
	if !absolute {
		k.note(key, "it begins at log_dir here, and with supervisord where that was started")
	}
	s.path = joined
	return s
}

// sharedNote says that several processes had one log file.
func sharedNote(path string) string {
	return fmt.Sprintf("several processes write to %q; each has its own file here, with its name in it", path)
}
