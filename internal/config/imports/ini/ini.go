package ini

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"procops/internal/config/source"
)

// defaultSection is the section whose keys all others have, too.
const defaultSection = "DEFAULT"

// Document is what one or several files hold.
type Document struct {
	Sections []*Section // in the order in which they first came

	defaults *Section
}

// Section is a section of a document.
type Section struct {
	Name string
	At   source.Position // where it first came
	Keys []*Key          // in the order in which they first came

	defaults *Section
}

// Key is a key of a section with its value.
type Key struct {
	Name  string // in lower case
	Value string // lines are parted by "\n"
	At    source.Position

	lines []string
}

// Section returns the section of a name, nil if there is none.
func (d *Document) Section(name string) *Section {
	return find(d.Sections, func(s *Section) bool { return s.Name == name })
}

// Get returns a key, which may come from the section DEFAULT, or nil. A nil
// section has no keys.
func (s *Section) Get(name string) *Key {
	if s == nil {
		return nil
	}
	named := func(k *Key) bool { return k.Name == name }
	if k := find(s.Keys, named); k != nil || s.defaults == nil {
		return k
	}
	return find(s.defaults.Keys, named)
}

func find[T any](list []*T, wanted func(*T) bool) *T {
	if i := slices.IndexFunc(list, wanted); i >= 0 {
		return list[i]
	}
	return nil
}

// Read adds the text of a file to the document; file is its name in positions.
// It returns all that is wrong with the text.
func (d *Document) Read(file, text string) []*source.Error {
	if d.defaults == nil {
		d.defaults = &Section{Name: defaultSection}
	}
	r := reader{document: d, file: file}
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	number := 0
	for line := range strings.Lines(text) {
		number++
		if r.section == nil && len(r.problems) > 0 {
			break // not an INI file at all: one problem says it
		}
		r.line(number, strings.TrimSuffix(line, "\n"))
	}
	for _, s := range append(slices.Clone(d.Sections), d.defaults) {
		for _, k := range s.Keys {
			k.Value = strings.TrimRightFunc(strings.Join(k.lines, "\n"), unicode.IsSpace)
		}
	}
	return r.problems
}

// reader reads one file.
type reader struct {
	document *Document
	file     string
	section  *Section
	key      *Key // whose value may go on
	indent   int  // of the line that began the last key or section
	problems []*source.Error
}

func (r *reader) line(number int, line string) {
	text, commented := uncomment(line)
	value := strings.TrimSpace(text)
	if value == "" {
		// An empty line may be part of a value; a comment is not.
		if !commented && r.key != nil {
			r.key.lines = append(r.key.lines, "")
		}
		return
	}
	indent := utf8.RuneCountInString(line[:strings.IndexFunc(line, isVisible)])
	at := source.Position{File: r.file, Line: number, Column: indent + 1}
	if r.key != nil && indent > r.indent {
		r.key.lines = append(r.key.lines, value)
		return
	}
	r.indent = indent
	if name, ok := header(value); ok {
		r.begin(name, at)
		return
	}
	r.set(value, at)
}

func isVisible(r rune) bool { return !unicode.IsSpace(r) }

// begin begins a section or goes on with it.
func (r *reader) begin(name string, at source.Position) {
	r.key = nil
	if name == defaultSection {
		r.section = r.document.defaults
		return
	}
	r.section = r.document.Section(name)
	if r.section == nil {
		r.section = &Section{Name: name, At: at, defaults: r.document.defaults}
		r.document.Sections = append(r.document.Sections, r.section)
	}
}

// set reads a line with a key.
func (r *reader) set(line string, at source.Position) {
	end := strings.IndexAny(line, "=:")
	switch {
	case r.section == nil:
		r.fail(at, "%q stands before the first [section]", line)
		return
	case end < 0:
		r.fail(at, "want KEY = VALUE or [SECTION], have %q", line)
		return
	}
	name := strings.ToLower(strings.TrimSpace(line[:end]))
	if name == "" {
		r.fail(at, "there is no key before %q", line[end:end+1])
		return
	}
	r.key = find(r.section.Keys, func(k *Key) bool { return k.Name == name })
	if r.key == nil {
		r.key = &Key{Name: name}
		r.section.Keys = append(r.section.Keys, r.key)
	}
	r.key.At, r.key.lines = at, []string{strings.TrimSpace(line[end+1:])}
}

func (r *reader) fail(at source.Position, format string, args ...any) {
	r.problems = append(r.problems, source.Errorf(at, format, args...))
}

// header returns the name of the section that a line begins. What follows the
// last bracket does not count.
func header(line string) (string, bool) {
	end := strings.LastIndexByte(line, ']')
	if line[0] != '[' || end < 2 {
		return "", false
	}
	return line[1:end], true
}

// commentMarks begin a comment.
const commentMarks = ";#"

// uncomment returns line without its comment, and whether it had one. Of the
// marks in a line it looks at the first of each kind, then at the second of
// each, and so on, until one follows a blank: so in "a;b ;c #d" the comment is
// "#d". That is how Python does it.
func uncomment(line string) (text string, commented bool) {
	if trimmed := strings.TrimSpace(line); trimmed != "" && strings.ContainsRune(commentMarks, rune(trimmed[0])) {
		return "", true
	}
	from := map[rune]int{';': 0, '#': 0}
	for len(from) > 0 {
		start := -1
		for mark, offset := range from {
			i := strings.IndexRune(line[offset:], mark)
			if i < 0 {
				delete(from, mark)
				continue
			}
			i += offset
			from[mark] = i + 1
			before, _ := utf8.DecodeLastRuneInString(line[:i])
			if unicode.IsSpace(before) && (start < 0 || i < start) {
				start = i
			}
		}
		if start >= 0 {
			return line[:start], true
		}
	}
	return line, false
}
