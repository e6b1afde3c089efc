package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"procops/internal/config/bind"
	"procops/internal/config/source"
)

// loader reads a file and all that it includes.
type loader struct {
	env      Environ
	problems *collector
	secrets  []string // values that were filled in and must not be shown
	seen     map[fileID]bool
	broken   bool // a file could not be read, so anything may be missing
}

func newLoader(env Environ) *loader {
	l := &loader{problems: &collector{}, seen: map[fileID]bool{}}
	l.env = func(name string) (string, bool) {
		value, ok := env(name)
		if isSecret(name) && len(value) >= shortSecret {
			l.secrets = append(l.secrets, value)
		}
		return value, ok
	}
	return l
}

// link is a file that is being read, and the one that included it.
type link struct {
	path string
	id   fileID
	from *link
}

// load reads the file at path, which from includes (nil: nobody), and merges
// into it what it includes. It returns false if there is nothing to use.
func (l *loader) load(path string, from *link) (document, error) {
	text, id, err := readFile(path)
	if err != nil {
		l.broken = true
		return document{}, err
	}
	here := &link{path, id, from}
	if from.includes(id) {
		return document{}, fmt.Errorf("it includes itself: %s", here.chain())
	}
	if l.seen[id] {
		return document{}, nil // loaded already by way of another pattern
	}
	l.seen[id] = true
	return l.document(here, text), nil
}

// document parses the text of a file and merges into it what it includes.
func (l *loader) document(here *link, text string) document {
	l.problems.files = append(l.problems.files, here.path)
	doc, problems := parse(here.path, text)
	for _, p := range problems {
		l.problems.report(p)
	}
	if doc.root == nil {
		l.broken = true
		return document{}
	}
	expander{l.env, l.problems.report}.value(doc.values, doc.root)
	l.include(&doc, here)
	return doc
}

// include merges into doc the files that its key include names.
func (l *loader) include(doc *document, here *link) {
	var own struct {
		Include []string `toml:"include" required:"true"`
	}
	raw, ok := doc.values["include"]
	if !ok {
		return
	}
	delete(doc.values, "include")
	bind.Table(map[string]any{"include": raw}, doc.root, &own, l.problems.report)
	for i, pattern := range own.Include {
		if pattern == "" {
			continue // reported already
		}
		at := doc.root.Near("include", strconv.Itoa(i))
		paths, err := match(filepath.Dir(here.path), pattern)
		if err != nil {
			l.problems.report(source.Errorf(at, "cannot include %q: %w", pattern, err))
		}
		for _, path := range paths {
			other, err := l.load(path, here)
			if err != nil {
				l.problems.report(source.Errorf(at, "cannot include %q: %w", path, err))
				continue
			}
			doc.merge(other, l.problems.report)
		}
	}
}

// match returns the files that a pattern means in a file of directory dir,
// sorted. A pattern without wildcards is the path of a file whether that is
// there or not. Wildcards do not match hidden files.
func match(dir, pattern string) ([]string, error) {
	if !strings.ContainsAny(pattern, `*?[\`) {
		return []string{inDir(dir, pattern)}, nil
	}
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(literal(dir), pattern)
	}
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return nil, errors.New("the pattern is malformed")
	}
	visible := paths[:0]
	for _, path := range paths {
		if !strings.HasPrefix(filepath.Base(path), ".") {
			visible = append(visible, path)
		}
	}
	return visible, nil
}

// inDir returns path as seen from where dir is.
func inDir(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// literal writes a path so that none of its characters is a wildcard.
func literal(path string) string {
	return strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`).Replace(path)
}

// includes reports whether the file is k's or that of one on the way to k.
func (k *link) includes(id fileID) bool {
	for ; k != nil; k = k.from {
		if k.id == id {
			return true
		}
	}
	return false
}

// chain lists the files on the way to k.
func (k *link) chain() string {
	if k.from == nil {
		return strconv.Quote(k.path)
	}
	return k.from.chain() + " -> " + strconv.Quote(k.path)
}
