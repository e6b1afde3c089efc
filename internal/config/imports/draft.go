package imports

import (
	"fmt"
	"strconv"
	"strings"

	"procops/internal/config/source"
)

// Note says what is different in procops or was left out.
type Note struct {
	At   source.Position // in the imported file
	Text string
}

// String returns the position and the text, on one line.
func (n Note) String() string { return source.Errorf(n.At, "%s", n.Text).Error() }

// Result is a converted file.
type Result struct {
	TOML  string // a procops.toml
	Notes []Note // each is a comment in TOML, too
}

// width is the longest line that is written where a value can be broken.
const width = 100

// Filled is a string in which ${NAME} is filled in when the configuration is
// read. In a plain string it stands for itself.
type Filled string

// Inline is a table that is written on one line: keys, each with its value.
type Inline []any

// Draft is a procops.toml in the making. Its zero value is empty.
type Draft struct {
	text  strings.Builder
	notes []Note
	said  map[Note]bool
}

// Result returns what was written.
func (d *Draft) Result() Result { return Result{TOML: d.text.String(), Notes: d.notes} }

// Comment writes a comment, in several lines if it is long.
func (d *Draft) Comment(format string, args ...any) {
	line := "#"
	for word := range strings.FieldsSeq(printable(fmt.Sprintf(format, args...))) {
		if len(line) > 1 && len(line)+1+len(word) > width {
			d.text.WriteString(line + "\n")
			line = "#"
		}
		line += " " + word
	}
	d.text.WriteString(line + "\n")
}

// Note writes a comment about what is different and adds it to the list. What
// was said before is not said again.
func (d *Draft) Note(n Note) {
	if d.said[n] {
		return
	}
	if d.said == nil {
		d.said = map[Note]bool{}
	}
	d.said[n] = true
	d.notes = append(d.notes, n)
	d.Comment("NOTE %s:%d: %s", n.At.File, n.At.Line, n.Text)
}

// Gap writes an empty line.
func (d *Draft) Gap() { d.text.WriteByte('\n') }

// Table writes the header of a table.
func (d *Draft) Table(path ...string) {
	keys := make([]string, len(path))
	for i, key := range path {
		keys[i] = source.Quote(key)
	}
	d.text.WriteString("[" + strings.Join(keys, ".") + "]\n")
}

// Set writes a key, of several parts if it is that of a table within, and its
// value: a string, Filled, int, float64, bool, Inline or a list of one of these.
func (d *Draft) Set(value any, key ...string) {
	parts := make([]string, len(key))
	for i, part := range key {
		parts[i] = source.Quote(part)
	}
	name := strings.Join(parts, ".")
	line := name + " = " + literal(value)
	if items := list(value); len(line) > width && len(items) > 1 {
		line = name + " = [\n    " + strings.Join(items, ",\n    ") + ",\n]"
	}
	d.text.WriteString(line + "\n")
}

// literal writes a value on one line.
func literal(value any) string {
	switch v := value.(type) {
	case string:
		return source.QuoteString(Literal(v))
	case Filled:
		return source.QuoteString(string(v))
	case bool:
		return strconv.FormatBool(v)
	case int:
		return strconv.Itoa(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case Inline:
		var items []string
		for i := 0; i+1 < len(v); i += 2 {
			items = append(items, fmt.Sprint(v[i])+" = "+literal(v[i+1]))
		}
		return "{ " + strings.Join(items, ", ") + " }"
	}
	return "[" + strings.Join(list(value), ", ") + "]"
}

// list writes the items of a list; it returns nil for other values.
func list(value any) []string {
	switch v := value.(type) {
	case []string:
		return each(v)
	case []Filled:
		return each(v)
	case []int:
		return each(v)
	case []Inline:
		return each(v)
	}
	return nil
}

func each[T any](values []T) []string {
	items := make([]string, len(values))
	for i, v := range values {
		items[i] = literal(v)
	}
	return items
}

// Literal writes s so that nothing in it is filled in.
func Literal(s string) string { return strings.ReplaceAll(s, "${", "$${") }

// printable replaces what a comment cannot hold.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}
