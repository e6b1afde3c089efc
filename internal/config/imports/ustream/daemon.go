package ustream

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"procops/internal/config/imports"
	"procops/internal/unit"
)

// stopCode ends a daemon of procops in good order, as a StopException does one of the
// library.
const stopCode = 100

// unknownBootstrap stands where the file that loads the classes is to be filled in.
const unknownBootstrap = "bootstrap.php"

// daemon writes the section of a daemon.
func (w *writer) daemon(d *daemon) {
	w.draft.Gap()
	w.draft.Table("daemon", d.name)
	if d.name != d.id {
		w.note(d, nil, "%q is not a valid name here; it is %q", d.id, d.name)
	}
	w.command(d)
	w.draft.Set(w.seconds(d, "sleep"), "sleep")
	if least := w.seconds(d, "min-sleep"); least != "0s" {
		w.draft.Set(least, "min_sleep")
	}
	w.memory(d)
	w.directories(d)
	w.others(d)
}

// note tells of something at a key, or at the beginning of the file.
func (w *writer) note(d *daemon, s *setting, format string, args ...any) {
	at, text := d.start(), fmt.Sprintf(format, args...)
	if s != nil {
		at, text = s.at, s.key+": "+text
	}
	w.draft.Note(imports.Note{At: at, Text: text})
}

// command writes what a turn runs: PHP code that has the factory make the task, as the
// library does at its start, and does it once.
func (w *writer) command(d *daemon) {
	factory := d.get("factory")
	callable := regexp.MustCompile(`^\\?[A-Za-z_][\w\\]*(::[A-Za-z_]\w*)?$`)
	switch {
	case factory == nil || factory.value == "":
		w.note(d, nil, "there is no factory; fill in the command that a turn runs")
		w.draft.Set([]string{"php", "turn.php"}, "command")
		return
	case !callable.MatchString(string(factory.value)):
		w.note(d, factory, "%q is not the name of a function or of a static method; fill in the command that a turn runs", factory.value)
		w.draft.Set([]string{"php", "turn.php"}, "command")
		return
	}
	bootstrap := w.opt.Bootstrap
	if bootstrap == "" {
		bootstrap = unknownBootstrap
		w.note(d, factory, "fill in, for bootstrap.php, the file that loads the classes, as the entry point does; each turn calls the factory anew")
	} else {
		w.note(d, factory, "each turn calls it anew")
	}
	code := fmt.Sprintf("require %s; try { %s()->doTask(); } catch (Ustream_Daemon_StopException $e) { exit(%d); }",
		quotePHP(bootstrap), string(factory.value), stopCode)
	w.draft.Set([]string{"php", "-r", code}, "command")
}

// quotePHP writes a PHP string.
func quotePHP(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// seconds returns a time, "0s" if there is none: that is the library's default.
func (w *writer) seconds(d *daemon, key string) string {
	s := d.get(key)
	if s == nil || s.value == "" {
		return "0s"
	}
	number, err := strconv.ParseFloat(string(s.value), 64)
	if err != nil {
		w.note(d, s, "%q is not a number of seconds; 0 stands for it", s.value)
		return "0s"
	}
	if number < 0 {
		return "0s" // as for the library
	}
	value, err := unit.ParseDuration(string(s.value))
	if err != nil {
		w.note(d, s, "%s seconds are too many; 0 stands for it", s.value)
		return "0s"
	}
	return unit.Duration(value).String()
}

// memory writes the limit and the threshold.
func (w *writer) memory(d *daemon) {
	if s := d.get("memory-limit"); s != nil && s.value != "" {
		w.memoryLimit(d, s)
	}
	s := d.get("memory-threshold")
	if s == nil || s.value == "" {
		return
	}
	percent, err := strconv.ParseFloat(string(s.value), 64)
	switch {
	case err != nil || percent < 0 || percent > 100:
		w.note(d, s, "%q is not a percentage; it is left out, so it is 70", s.value)
	case percent < 1:
		w.note(d, s, "a daemon with %s ends after each turn there; it is left out, so it is 70", s.value)
	default:
		w.draft.Set(percent, "memory_threshold")
	}
}

// memoryLimit writes the limit, which has the units of PHP. -1 means none.
func (w *writer) memoryLimit(d *daemon, s *setting) {
	if s.value == "-1" {
		return
	}
	if !regexp.MustCompile(`^[0-9]+[KkMmGg]?$`).MatchString(string(s.value)) {
		w.note(d, s, "%q is not a size such as 128M; it is left out, so there is no limit", s.value)
		return
	}
	w.note(d, s, "it counts the memory of the whole PHP process here, not only what PHP scripts have")
	w.draft.Set(strings.ToUpper(string(s.value)), "memory_limit")
}

// directories tells of what procops has once for all daemons.
func (w *writer) directories(d *daemon) {
	for _, c := range []struct{ key, here, fallback string }{
		{"log-dir", "log_dir", "/var/log/custom_php"},
		{"common-log", "common_log", "/var/log/custom_php/daemon_util.log"},
	} {
		s := d.get(c.key)
		switch common := w.commonest(c.key); {
		case s == nil || s.value == "":
			w.note(d, nil, "there is no %s, so it was %s there; here it is %s of [daemon]", c.key, c.fallback, c.here)
		case s.value != common:
			w.note(d, s, "%q is left out: here all daemons have the %s of [daemon], %q", s.value, c.here, common)
		case !filepath.IsAbs(string(s.value)) && !strings.HasPrefix(string(s.value), "${"):
			w.note(d, s, "it is relative to this file here, to the working directory there")
		}
	}
}

// others tells of keys that are not carried over.
func (w *writer) others(d *daemon) {
	known := []string{"factory", "sleep", "min-sleep", "memory-limit", "memory-threshold", "log-dir", "common-log"}
	told := map[string]bool{}
	for i := range d.settings {
		s := &d.settings[i]
		if slices.Contains(known, s.key) || told[s.key] {
			continue
		}
		told[s.key] = true
		switch s.key {
		case "instance":
			w.note(d, s, "it is left out: say how many there are with `instances`, and in the task which one it is with PROCOPS_INSTANCE, from 1")
		case "id", "config", "defaults":
			w.note(d, s, "it is left out: it means nothing in a file")
		case "context", "run-dir", "pid-dir":
			w.note(d, s, "it is left out: it is an argument of the entry point, and --context or --run-dir of this command")
		default:
			w.note(d, s, "it is left out: ustream/daemon does not know it")
		}
	}
}
