package supervisord

import (
	"path"
	"strconv"
	"strings"

	"procops/internal/name"
)

// place gives each group and process a name of its own, and each process a log
// file of its own.
func (c *converter) place() {
	l := labels{}
	for _, g := range c.groups {
		if g.needed() {
			g.label = l.take(g.name)
		}
	}
	users := map[string]int{} // of log files
	for _, g := range c.groups {
		for _, p := range g.processes {
			p.label = l.take(p.name, g.name+"."+p.name)
			if s := p.output.chosen(); s.kind == logFile {
				users[s.path]++
			}
		}
	}
	for _, g := range c.groups {
		for _, p := range g.processes {
			if s := p.output.chosen(); s.kind == logFile && users[s.path] > 1 {
				p.output.shared = s.path
				s.path = ownFile(s.path, p.label)
			}
		}
	}
}

// needed reports whether a group is more than its only process.
func (g *group) needed() bool {
	alone := len(g.processes) == 1 && g.processes[0].name == g.name
	return len(g.processes) > 0 && (!alone || strings.HasPrefix(g.section.Name, prefixGroup))
}

// labels are the names that are taken.
type labels map[string]bool

// take returns the first of the names that is free, made fit for procops, or
// else the last with a number.
func (l labels) take(names ...string) string {
	var label string
	for _, n := range names {
		label = fit(n)
		if !l[label] {
			l[label] = true
			return label
		}
	}
	for n := 2; ; n++ {
		suffix := "-" + strconv.Itoa(n)
		numbered := label[:min(len(label), name.MaxLength-len(suffix))] + suffix
		if !l[numbered] {
			l[numbered] = true
			return numbered
		}
	}
}

// fit makes a valid name of s.
func fit(s string) string {
	fitted := strings.Map(func(r rune) rune {
		if name.Check("x"+string(r)) != nil {
			return '_'
		}
		return r
	}, s)
	if fitted == "" || fitted[0] == '.' || fitted[0] == '-' {
		fitted = "_" + fitted
	}
	return fitted[:min(len(fitted), name.MaxLength)]
}

// ownFile puts the name of a process into the path of a log file, before what
// the path ends with.
func ownFile(file, process string) string {
	extension := path.Ext(file)
	if strings.Contains(extension, mark) || extension == path.Base(file) {
		extension = ""
	}
	return strings.TrimSuffix(file, extension) + "." + process + extension
}
