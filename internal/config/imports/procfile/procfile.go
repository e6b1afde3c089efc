package procfile

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"procops/internal/config"
	"procops/internal/config/imports"
	"procops/internal/config/source"
	"procops/internal/name"
	"procops/internal/supervise"
)

// What foreman has where nothing is said.
const (
	FirstPort = 5000 // PORT of the first process

	portStep = 100  // from one process to the next
	grace    = "5s" // between TERM and KILL
	lastPort = 65535
)

// Options say what of the world around a Procfile counts.
type Options struct {
	Dir      string   // working directory of the processes, as procops.toml shall have it; "" for none
	EnvFiles []string // paths of files with variables; what a later one sets holds
	Port     string   // PORT of the first process unless a file sets PORT; "" means FirstPort

	// Formation has numbers of instances by the name of the process, and under
	// All that of those that are not named, which otherwise is 0. nil means one
	// plain process each.
	Formation map[string]int
}

// All stands in Options.Formation for all that is not named.
const All = "all"

// Convert converts the Procfile at path. If it or a file with variables is not
// in order the error is a *config.Error with every problem.
func Convert(path string, opt Options) (imports.Result, error) {
	text, err := config.ReadText(path)
	if err != nil {
		return imports.Result{}, err
	}
	c := converter{path: path}
	for _, file := range opt.EnvFiles {
		text, err := config.ReadText(file)
		if err != nil {
			return imports.Result{}, err
		}
		c.addEnv(file, text)
	}
	c.addLines(text)
	port := c.port(opt.Port)
	c.checkFormation(opt.Formation)
	if len(c.problems) > 0 {
		return imports.Result{}, &config.Error{Problems: c.problems}
	}
	return c.write(port, opt), nil
}

// entry is a line of a Procfile.
type entry struct {
	name    string
	command string
	at      source.Position
}

type converter struct {
	path     string
	env      []variable
	entries  []entry
	problems []*source.Error
}

func (c *converter) fail(at source.Position, format string, args ...any) {
	c.problems = append(c.problems, source.Errorf(at, format, args...))
}

// addLines reads the lines of the Procfile.
func (c *converter) addLines(text string) {
	for number, line := range lines(text) {
		at := source.Position{File: c.path, Line: number, Column: 1}
		if isIdle(line) {
			continue
		}
		e, err := parseLine(line)
		if err != nil {
			c.fail(at, "%w", err)
			continue
		}
		e.at = at
		for _, other := range c.entries {
			if other.name == e.name {
				c.fail(at, "there is a process %q already, in line %d", e.name, other.at.Line)
			}
		}
		c.entries = append(c.entries, e)
	}
	if len(c.entries) == 0 && len(c.problems) == 0 {
		c.fail(source.Position{File: c.path}, "there is no process in it; want lines such as %q", "web: ./serve")
	}
}

// parseLine reads "NAME: COMMAND".
func parseLine(line string) (entry, error) {
	label, command, found := strings.Cut(line, ":")
	command = strings.TrimSpace(command)
	if !found || command == "" {
		return entry{}, fmt.Errorf("want NAME: COMMAND, have %q", line)
	}
	if err := name.Check(label); err != nil {
		return entry{}, err
	}
	return entry{name: label, command: command}, nil
}

// isIdle reports whether a line says nothing.
func isIdle(line string) bool {
	line = strings.TrimSpace(line)
	return line == "" || line[0] == '#'
}

// lines returns the lines of a text, numbered from 1.
func lines(text string) func(yield func(int, string) bool) {
	return func(yield func(int, string) bool) {
		number := 0
		for line := range strings.Lines(text) {
			number++
			if !yield(number, strings.TrimRight(line, "\r\n")) {
				return
			}
		}
	}
}

// port returns PORT of the first process.
func (c *converter) port(fallback string) int {
	at := source.Position{File: c.path}
	text := fallback
	for _, v := range c.env {
		if v.name == "PORT" {
			text, at = v.value, v.at
		}
	}
	if text == "" {
		return FirstPort
	}
	port, err := strconv.Atoi(text)
	if last := port + portStep*(len(c.entries)-1); err != nil || port < 0 || last > lastPort {
		c.fail(at, "cannot give each process a port from PORT %q on: want a number of at most %d", text, lastPort-portStep*max(0, len(c.entries)-1))
	}
	return port
}

// checkFormation checks that the names in a formation are there.
func (c *converter) checkFormation(formation map[string]int) {
	var names []string
	for _, e := range c.entries {
		names = append(names, e.name)
	}
	for _, n := range slices.Sorted(maps.Keys(formation)) {
		if formation[n] < 0 || formation[n] > supervise.MaxInstances {
			c.fail(source.Position{File: c.path}, "the formation wants %d of %q: want a number from 0 to %d", formation[n], n, supervise.MaxInstances)
		}
		if n != All && !slices.Contains(names, n) {
			c.fail(source.Position{File: c.path}, "there is no process %q, of which the formation wants %d%s", n, formation[n], name.DidYouMean(n, names))
		}
	}
}

// instances returns how many instances of a process there are to be; false for
// one plain process.
func (o Options) instances(process string) (int, bool) {
	n, named := o.Formation[process]
	if !named {
		n = o.Formation[All]
	}
	return n, o.Formation != nil
}

// write writes the configuration.
func (c *converter) write(port int, opt Options) imports.Result {
	var d imports.Draft
	d.Comment("Imported by `procops config import procfile` from %s.", strings.Join(append([]string{c.path}, opt.EnvFiles...), ", "))
	d.Comment("As with foreman, when one process ends all are ended, and its exit code is that of procops.")
	if len(c.env) > 0 {
		d.Note(imports.Note{At: c.env[0].at, Text: "the variables were copied; a change of the file does not change them here"})
	}
	for i, e := range c.entries {
		d.Gap()
		d.Table("supervise", "process", e.name)
		d.Set(e.command, "command")
		if opt.Dir != "" {
			d.Set(opt.Dir, "dir")
		}
		port, number := strconv.Itoa(port+portStep*i), "1"
		if n, several := opt.instances(e.name); several {
			d.Set(n, "instances")
			port, number = "{{index+"+port+"}}", "{{instance}}"
		}
		d.Set(grace, "stop", "grace")
		d.Set([]imports.Inline{{"raise", true}}, "on_pass")
		d.Gap()
		d.Table("supervise", "process", e.name, "env")
		own := []variable{{name: "PORT", value: port}, {name: "PS", value: e.name + "." + number}}
		for _, v := range merge(c.env, own) {
			d.Set(v.value, v.name)
		}
	}
	return d.Result()
}
