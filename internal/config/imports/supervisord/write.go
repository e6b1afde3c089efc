package supervisord

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"procops/internal/config/imports"
	"procops/internal/config/imports/ini"
	"procops/internal/unit"
)

// write writes the configuration, section by section in the order of the files.
func (c *converter) write() imports.Result {
	w := &writer{converter: c}
	w.head()
	w.top()
	for _, s := range c.document.Sections {
		w.section(s)
	}
	return w.draft.Result()
}

// writer writes what a converter has read.
type writer struct {
	*converter
	draft imports.Draft
}

func (w *writer) head() {
	w.draft.Comment("Imported by `procops config import supervisord` from %s.", w.path)
	w.draft.Comment("What is different or was left out is marked NOTE. As with supervisord, a process that is given up " +
		"leaves the others alone: that is what `settle` does.")
	for _, n := range w.notes {
		w.draft.Note(n)
	}
}

// top writes what concerns procops as a whole.
func (w *writer) top() {
	order := w.order()
	if order != nil || w.server.logDir != "" {
		w.draft.Gap()
		w.draft.Table("supervise")
	}
	if order != nil {
		w.draft.Comment("In the order of their priorities. They start in this order and do not wait for each other; " +
			"depends_on makes one wait for another.")
		w.draft.Set(order, "children")
	}
	if w.server.logDir != "" {
		w.draft.Set(filled(w.server.logDir), "log_dir")
	}
	w.log()
}

// order returns the names at the top of the tree by priority, or nil if all
// have the same.
func (w *writer) order() []string {
	var names []string
	for _, g := range w.groups {
		switch {
		case g.label != "":
			names = append(names, g.label)
		case len(g.processes) > 0:
			names = append(names, g.processes[0].label)
		}
	}
	differs := func(g *group) bool { return g.priority != w.groups[0].priority }
	if !slices.ContainsFunc(w.groups, differs) {
		return nil
	}
	return names
}

// log writes the section [log], for what supervisord logged itself.
func (w *writer) log() {
	file := w.server.log.kind == logFile
	if !file && w.server.level == "" {
		return
	}
	w.draft.Gap()
	w.draft.Table("log")
	if w.server.level != "" {
		w.draft.Set(w.server.level, "level")
	}
	if file {
		w.draft.Set(filled(w.server.log.path), "file")
		w.draft.Set(size(w.server.log.maxBytes), "max_size")
		w.draft.Set(w.server.log.backups, "max_files")
	}
}

// section writes what comes of a section.
func (w *writer) section(s *ini.Section) {
	switch {
	case s.Name == sectionServer || s.Name == sectionInclude:
		return // told at the top
	case strings.HasPrefix(s.Name, prefixProgram):
		w.program(s)
	case strings.HasPrefix(s.Name, prefixGroup):
		w.group(w.groupOf(s))
	case strings.HasPrefix(s.Name, prefixListener):
		w.leftOut(s, "procops runs no event listeners; `procops events --follow --json` prints events for a program to read")
	case strings.HasPrefix(s.Name, prefixFastCGI):
		w.leftOut(s, "procops opens no sockets for programs; let the program open its own")
	case strings.HasPrefix(s.Name, "inet_http_server"):
		w.leftOut(s, "there is no page; `procops supervise status` shows the processes")
	case slices.Contains([]string{"unix_http_server", "supervisorctl"}, s.Name), strings.HasPrefix(s.Name, "rpcinterface:"),
		strings.HasPrefix(s.Name, "unix_http_server:"):
		w.draft.Gap()
		w.draft.Comment("[%s] is not needed: every supervisor has a control socket, supervise.sock in its state directory.", s.Name)
	default:
		w.leftOut(s, "procops has nothing like it")
	}
}

func (w *writer) leftOut(s *ini.Section, why string) {
	w.draft.Gap()
	w.draft.Note(imports.Note{At: s.At, Text: fmt.Sprintf("[%s] is left out: %s", s.Name, why)})
}

// groupOf returns the group that a section makes, or nil.
func (w *writer) groupOf(s *ini.Section) *group {
	i := slices.IndexFunc(w.groups, func(g *group) bool { return g.section == s })
	if i < 0 {
		return nil
	}
	return w.groups[i]
}

// program writes the processes of a section [program:x], in whatever groups
// they are, and the group that they make if they are in no other.
func (w *writer) program(s *ini.Section) {
	for _, g := range w.groups {
		for _, p := range g.processes {
			if p.section == s {
				w.process(p)
			}
		}
	}
	if own := w.groupOf(s); own != nil && own.label != "" {
		w.group(own)
	}
}

// group writes a group.
func (w *writer) group(g *group) {
	switch {
	case g == nil:
		return
	case g.label == "":
		w.leftOut(g.section, "there is nothing in it")
		for _, n := range g.notes {
			w.draft.Note(n)
		}
		return
	}
	w.draft.Gap()
	w.origin(g.section, g.name, g.label)
	for _, n := range g.notes {
		w.draft.Note(n)
	}
	w.draft.Table("supervise", "group", g.label)
	names := make([]string, len(g.processes))
	for i, p := range g.processes {
		names[i] = p.label
	}
	w.draft.Set(names, "children")
}

// origin says where a table comes from and, if it had another name, which.
func (w *writer) origin(s *ini.Section, name, label string) {
	w.draft.Comment("[%s], %s:%d", s.Name, s.At.File, s.At.Line)
	if name != label {
		w.draft.Note(imports.Note{At: s.At, Text: fmt.Sprintf("%q is called %q here", name, label)})
	}
}

// process writes a process.
func (w *writer) process(p *process) {
	w.draft.Gap()
	name := p.name
	if p.group.name != p.name && p.label != p.name {
		name = p.group.name + ":" + p.name
	}
	w.origin(p.section, name, p.label)
	for _, n := range p.notes {
		w.draft.Note(n)
	}
	if p.output.shared != "" {
		w.draft.Note(imports.Note{At: p.section.At, Text: sharedNote(string(filled(p.output.shared)))})
	}
	w.draft.Table("supervise", "process", p.label)
	words := make([]imports.Filled, len(p.command))
	for i, word := range p.command {
		words[i] = filled(word)
	}
	w.draft.Set(words, "command")
	w.setting(&p.setting)
	w.life(&p.life)
	w.stop(&p.stop)
	w.output(&p.output)
	w.environment(p)
}

func (w *writer) setting(s *setting) {
	if s.dir != "" {
		w.draft.Set(filled(s.dir), "dir")
	}
	if s.user != "" {
		w.draft.Set(filled(s.user), "user")
	}
	if s.umask != nil {
		w.draft.Set(fmt.Sprintf("%03o", int(*s.umask)), "umask")
	}
	if s.files > 0 {
		w.draft.Set(s.files, "limits", "files")
	}
}

func (w *writer) life(l *lifecycle) {
	if !l.autostart {
		w.draft.Set(false, "autostart")
	}
	policy := map[restart]string{restartAlways: "always", restartUnexpected: "on-failure", restartNever: "never"}
	w.draft.Set(policy[l.restart], "restart")
	if !slices.Equal(l.codes, []int{0}) {
		w.draft.Set(l.codes, "success_codes")
	}
	if l.restart != restartNever {
		w.draft.Set(seconds(l.seconds), "healthy_after")
		// Whoever has started at once cannot fail to start.
		if l.seconds > 0 {
			w.draft.Set(max(1, l.retries), "max_restarts")
		}
	}
	w.draft.Set([]imports.Inline{{"settle", true}}, "on_fail")
}

func (w *writer) stop(s *stopping) {
	if s.signal.String() != "TERM" {
		w.draft.Set(s.signal.String(), "stop", "signal")
	}
	if s.seconds != defaultStopSecs {
		w.draft.Set(seconds(s.seconds), "stop", "grace")
	}
}

func (w *writer) output(o *output) {
	s := o.chosen()
	switch s.kind {
	case logNone, logStream:
		w.draft.Set("none", "output", "file")
		return
	case logFile:
		w.draft.Set(filled(s.path), "output", "file")
	case logAuto, logSyslog:
		if !s.given {
			return
		}
	}
	w.draft.Set(size(s.maxBytes), "output", "max_size")
	w.draft.Set(s.backups, "output", "max_files")
}

func (w *writer) environment(p *process) {
	if len(p.setting.env) == 0 {
		return
	}
	w.draft.Gap()
	w.draft.Table("supervise", "process", p.label, "env")
	for _, v := range p.setting.env {
		w.draft.Set(filled(v.value), v.name)
	}
}

// seconds writes a time; more than a century is as good as for ever.
func seconds(n int) string {
	const century = 100 * 365 * 24 * 60 * 60
	return unit.Duration(time.Duration(min(n, century)) * time.Second).String()
}

func size(bytes int) string { return unit.Size(bytes).String() }

// filled writes a text for a configuration: its references as ${NAME}, and
// everything else as it stands.
func filled(text string) imports.Filled {
	parts := strings.Split(text, mark)
	for i := range parts {
		if i%2 == 1 {
			parts[i] = "${" + parts[i] + "}"
		} else {
			parts[i] = imports.Literal(parts[i])
		}
	}
	return imports.Filled(strings.Join(parts, ""))
}
