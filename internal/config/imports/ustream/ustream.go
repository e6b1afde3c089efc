package ustream

import (
	"cmp"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"procops/internal/config"
	"procops/internal/config/imports"
	"procops/internal/config/source"
	"procops/internal/fault"
	"procops/internal/name"
)

// ending is that of the files; what stands before it is the id of the daemon.
const ending = ".ini"

// Options are what the library takes as arguments of the entry point.
type Options struct {
	Bootstrap string // path of the PHP file that loads the classes; "" to be filled in
	RunDir    string // directory of the pidfiles; "" for that of procops
	Context   string // such as "production"; "" for that of procops
}

// Convert converts the files NAME.ini of a directory, or a single file. If they are
// not in order the error is a *config.Error with every problem.
func Convert(path string, opt Options) (imports.Result, error) {
	files, err := find(path)
	if err != nil {
		return imports.Result{}, err
	}
	c := &converter{path: path, opt: opt}
	for _, file := range files {
		if err := c.read(file); err != nil {
			return imports.Result{}, err
		}
	}
	c.checkNames()
	if len(c.problems) > 0 {
		return imports.Result{}, &config.Error{Problems: c.problems}
	}
	return c.write(), nil
}

// find returns the files that a path means, in the order of their names.
func find(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fault.Wrap(fault.Usage, errors.Unwrap(err), "cannot read %q", path)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fault.Wrap(fault.Usage, errors.Unwrap(err), "cannot read %q", path)
	}
	var files []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ending) {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fault.New(fault.Usage, "there is no file *%s in %q", ending, path).
			WithHint("each daemon of ustream/daemon has a file ID%s; DIR is the third argument of runDaemon in its entry point", ending)
	}
	return files, nil
}

type converter struct {
	path     string
	opt      Options
	daemons  []*daemon
	problems []*source.Error
}

// daemon is what a file holds.
type daemon struct {
	file     string
	id       string // as ustream/daemon knows it
	name     string // as procops does
	settings []setting
}

// start returns the place of what concerns the file as a whole.
func (d *daemon) start() source.Position { return source.Position{File: d.file, Line: 1, Column: 1} }

// get returns the setting of a key that counts, or nil.
func (d *daemon) get(key string) *setting {
	for i := range slices.Backward(d.settings) {
		if d.settings[i].key == key {
			return &d.settings[i]
		}
	}
	return nil
}

func (c *converter) read(file string) error {
	text, err := config.ReadText(file)
	if bad, ok := errors.AsType[*config.Error](err); ok {
		c.problems = append(c.problems, bad.Problems...)
		return nil
	}
	if err != nil {
		return err
	}
	settings, problems := parse(file, text)
	c.problems = append(c.problems, problems...)
	id := strings.TrimSuffix(filepath.Base(file), ending)
	c.daemons = append(c.daemons, &daemon{file: file, id: id, name: nameFor(id), settings: settings})
	return nil
}

// nameFor returns the valid name that is most like id.
func nameFor(id string) string {
	if name.Check(id) == nil {
		return id
	}
	valid := strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || name.Check(string(r)) == nil {
			return r
		}
		return '_'
	}, id)
	if valid == "" || valid[0] == '.' || valid[0] == '-' {
		valid = "_" + valid
	}
	return valid[:min(len(valid), name.MaxLength)]
}

func (c *converter) checkNames() {
	seen := map[string]*daemon{}
	for _, d := range c.daemons {
		if other := seen[d.name]; other != nil {
			c.problems = append(c.problems, source.Errorf(d.start(), "%q and %q would both be called %q: rename one of them", other.file, d.file, d.name))
		}
		seen[d.name] = d
	}
}

// write writes the configuration.
func (c *converter) write() imports.Result {
	w := writer{converter: c}
	w.head()
	w.common()
	for _, d := range c.daemons {
		w.daemon(d)
	}
	return w.draft.Result()
}

// writer writes what a converter has read.
type writer struct {
	*converter
	draft imports.Draft
}

func (w *writer) head() {
	w.draft.Comment("Imported by `procops config import ustream` from %s.", w.path)
	w.draft.Comment("What is different or was left out is marked NOTE. Each turn is a PHP process of its own, so nothing grows " +
		"from turn to turn. A turn that fails, such as by an exception, does not end the daemon: `on_failure = \"stop\"` does that. " +
		"Listeners of the library's events become hooks.")
}

// common writes the section [daemon]: what the library wants in each file and procops
// has once.
func (w *writer) common() {
	logDir, commonLog := w.commonest("log-dir"), w.commonest("common-log")
	values := []struct {
		key   string
		value imports.Filled
	}{
		{"context", imports.Filled(imports.Literal(w.opt.Context))},
		{"run_dir", imports.Filled(imports.Literal(w.opt.RunDir))},
		{"log_dir", logDir},
		{"common_log", commonLog},
	}
	begun := false
	for _, v := range values {
		if v.value == "" {
			continue
		}
		if !begun {
			w.draft.Gap()
			w.draft.Table("daemon")
			begun = true
		}
		w.draft.Set(v.value, v.key)
	}
}

// commonest returns the value that a key has most often, of several the one that comes
// first.
func (w *writer) commonest(key string) (value imports.Filled) {
	count := map[imports.Filled]int{}
	for _, d := range w.daemons {
		if s := d.get(key); s != nil && s.value != "" {
			count[s.value]++
		}
	}
	if len(count) == 0 {
		return ""
	}
	return slices.MaxFunc(slices.Sorted(maps.Keys(count)), func(a, b imports.Filled) int {
		return cmp.Or(cmp.Compare(count[a], count[b]), cmp.Compare(b, a))
	})
}
