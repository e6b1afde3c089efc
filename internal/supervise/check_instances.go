package supervise

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"procops/internal/name"
)

// checkInstances checks what concerns instances as such: their names, their
// templates, and that they do not all write to one file.
func (c *Config) checkInstances(counts map[string]int, report report) {
	for _, n := range slices.Sorted(maps.Keys(c.Process)) {
		p := c.Process[n]
		below := func(err error, path ...string) { report(err, slices.Concat([]string{"process", n}, path)...) }
		p.checkTemplates(n, below)
		if p.Instances == nil {
			continue
		}
		c.checkInstanceNames(n, c.count(n, counts), report)
		first, second := p.instance(n, 1).Output, p.instance(n, 2).Output
		if path := logPath("", first, c.LogDir); first.File != "" && path != "" && !isDevice(path) && first.File == second.File {
			below(fmt.Errorf("all instances would write to %q: put {{instance}} or {{name}} into it", first.File), "output", "file")
		}
	}
}

// checkInstanceNames checks that the names of the instances are valid and free.
func (c *Config) checkInstanceNames(of string, count int, report report) {
	if err := name.Check(instanceName(of, max(1, count))); err != nil && name.Check(of) == nil {
		report(fmt.Errorf("the names of its instances are too long: %w", err), "process", of, "instances")
	}
	for i := range count {
		n := instanceName(of, i+1)
		err := fmt.Errorf("an instance of the process %q has this name", of)
		if _, taken := c.Process[n]; taken {
			report(err, "process", n)
		}
		if _, taken := c.Group[n]; taken {
			report(err, "group", n)
		}
	}
}

// checkTemplates reports templates of c that cannot be filled in.
func (c ProcessConfig) checkTemplates(n string, report report) {
	if !anyText(reflect.ValueOf(c), func(text string) bool { return strings.Contains(text, "{{") }) {
		return // most have none, and finding that out is cheap
	}
	rewrite(reflect.ValueOf(c), nil, func(path []string, text string) string {
		if err := c.checkTemplate(n, text); err != nil {
			report(err, path...)
		}
		return text
	})
}

func (c ProcessConfig) checkTemplate(n, text string) error {
	if c.Instances != nil {
		_, err := instance{of: n, number: 1}.tryFill(text)
		return err
	}
	_, err := fillIn(text, func(expr string) (string, bool, error) {
		if word, _ := splitWord(expr); word == "instance" {
			return "", false, errors.New("{{instance}} is filled in only where the process has instances = N")
		}
		return "", false, nil
	})
	return err
}

// isDevice reports whether a log file is none of procops' own.
func isDevice(path string) bool { return strings.HasPrefix(filepath.Clean(path), "/dev/") }

// blame leads what is wrong with instances, in a config that was expanded, back
// to the process that the config declares. What is wrong with all instances is
// said once.
func (c *Config) blame(report report) report {
	said := map[string]int{} // by path, the instance that it was said of
	return func(err error, path ...string) {
		if len(path) < 2 {
			report(err, path...)
			return
		}
		p, number := c.Process[path[1]], 0
		switch {
		case path[0] == "group" && c.Group[path[1]].instances:
			path = []string{"process", path[1], "instances"}
		case path[0] == "process" && p.which.of != "":
			path = slices.Concat([]string{"process", p.which.of}, path[2:])
			number = p.which.number
		default:
			report(err, path...)
			return
		}
		key := strings.Join(path, "\x00")
		if first, before := said[key]; before && first != number {
			return
		}
		said[key] = number
		report(err, path...)
	}
}

// problem returns the first thing that is wrong with the config under other
// numbers of instances.
func (c *Config) problem(counts map[string]int) (first error) {
	c.check(counts, func(err error, path ...string) {
		if first == nil {
			first = fmt.Errorf("%q in [supervise.%s]: %w", path[len(path)-1], strings.Join(path[:len(path)-1], "."), err)
		}
	})
	return first
}
