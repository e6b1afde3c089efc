package supervisord

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"procops/internal/config"
	"procops/internal/config/imports"
	"procops/internal/config/imports/ini"
	"procops/internal/config/source"
)

// The sections that this package knows.
const (
	sectionInclude = "include"
	sectionServer  = "supervisord"
	prefixProgram  = "program:"
	prefixGroup    = "group:"
	prefixFastCGI  = "fcgi-program:"
	prefixListener = "eventlistener:"
)

// Options say what of the world around the file counts.
type Options struct {
	Environ  config.Environ // for %(ENV_NAME)s where a number or a name is wanted
	Hostname string         // for %(host_node_name)s
}

// Convert converts the file at path and those that it includes. If they are not
// in order the error is a *config.Error with every problem.
func Convert(path string, opt Options) (imports.Result, error) {
	c := &converter{opt: opt, path: path}
	if err := c.read(); err != nil {
		return imports.Result{}, err
	}
	c.evaluate()
	if len(c.problems) > 0 {
		return imports.Result{}, &config.Error{Problems: c.problems}
	}
	return c.write(), nil
}

// converter converts one file with its includes.
type converter struct {
	opt      Options
	path     string
	document ini.Document
	notes    []imports.Note // about the files as a whole
	problems []*source.Error
	server   server
	groups   []*group // in the order in which supervisord starts them
}

// fail keeps a problem. Those of a program come once for each of its processes.
func (c *converter) fail(p *source.Error) {
	known := slices.ContainsFunc(c.problems, func(q *source.Error) bool { return q.Error() == p.Error() })
	if !known {
		c.problems = append(c.problems, p)
	}
}

// note keeps a note that belongs at the top.
func (c *converter) note(at source.Position, text string) {
	c.notes = append(c.notes, imports.Note{At: at, Text: text})
}

// read reads all files. The error says that the first is not even readable.
func (c *converter) read() error {
	if err := c.readFile(c.path); err != nil {
		return err
	}
	s := c.document.Section(sectionInclude)
	if s == nil {
		return nil
	}
	k := c.keys(s, c.hostScope())
	files, ok := k.text("files")
	if !ok {
		c.fail(source.Errorf(s.At, `[include] has no key "files"`))
		return nil
	}
	files, err := k.known(files)
	if err != nil {
		k.fail("files", err)
		return nil
	}
	for pattern := range strings.FieldsSeq(files) {
		c.include(pattern, s.Get("files").At)
	}
	return nil
}

// hostScope returns the names that have a meaning everywhere.
func (c *converter) hostScope() scope { return scope{"host_node_name": textValue(c.opt.Hostname)} }

// include reads the files that a pattern means, relative to the first file. An
// [include] in them is without effect, as it is for supervisord.
func (c *converter) include(pattern string, at source.Position) {
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(filepath.Dir(c.path), pattern)
	}
	paths, err := filepath.Glob(pattern)
	if err != nil {
		c.fail(source.Errorf(at, "cannot include %q: the pattern is malformed", pattern))
		return
	}
	wild := strings.HasPrefix(filepath.Base(pattern), "*") || strings.HasPrefix(filepath.Base(pattern), "?")
	paths = slices.DeleteFunc(paths, func(path string) bool { return wild && strings.HasPrefix(filepath.Base(path), ".") })
	if len(paths) == 0 {
		c.note(at, "no file matches "+pattern)
	}
	slices.Sort(paths)
	for _, path := range paths {
		if err := c.readFile(path); err != nil {
			c.fail(source.Errorf(at, "cannot include %q: %w", path, errors.Unwrap(err)))
		}
	}
}

// readFile adds a file to the document.
func (c *converter) readFile(path string) error {
	text, err := config.ReadText(path)
	if bad, ok := errors.AsType[*config.Error](err); ok {
		c.problems = append(c.problems, bad.Problems...)
		return nil
	}
	if err != nil {
		return err
	}
	c.problems = append(c.problems, c.document.Read(path, text)...)
	return nil
}

// dirOf returns the absolute directory of a file, which is what %(here)s means.
func dirOf(file string) string {
	dir := filepath.Dir(file)
	if absolute, err := filepath.Abs(dir); err == nil {
		return absolute
	}
	return dir // the working directory is gone
}

// homeOf returns path with "~" replaced by the variable HOME.
func homeOf(path string) string {
	if rest, ok := strings.CutPrefix(path, "~"); ok && (rest == "" || rest[0] == os.PathSeparator) {
		return reference("HOME") + rest
	}
	return path
}
