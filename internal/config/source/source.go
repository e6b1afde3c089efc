// Package source knows where in a TOML file each key and each value stands,
// which the TOML library does not say once it has accepted a file.
package source

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Position is a place in a file.
type Position struct {
	File   string
	Line   int // from 1; 0 if only the file is known
	Column int // from 1, in characters
}

// String returns "file:line:column", or what of it is known.
func (p Position) String() string {
	switch {
	case p.File == "":
		return "default"
	case p.Line == 0:
		return p.File
	}
	return p.File + ":" + strconv.Itoa(p.Line) + ":" + strconv.Itoa(p.Column)
}

// At returns the position of the byte at offset in text.
func At(file, text string, offset int) Position {
	before := text[:min(max(offset, 0), len(text))]
	start := strings.LastIndexByte(before, '\n') + 1
	return Position{
		File:   file,
		Line:   strings.Count(before, "\n") + 1,
		Column: utf8.RuneCountInString(before[start:]) + 1,
	}
}

// Error is an error at a place in a file.
type Error struct {
	Position Position
	Err      error
}

// Errorf returns an Error with the text that format and args make.
func Errorf(at Position, format string, args ...any) *Error {
	return &Error{Position: at, Err: fmt.Errorf(format, args...)}
}

// Error returns the position, if there is one, and the error, on one line and
// without control characters: some errors of libraries quote what they found.
func (p *Error) Error() string {
	text := p.Err.Error()
	if strings.ContainsFunc(text, unicode.IsControl) {
		text = strconv.Quote(text)
		text = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(text[1 : len(text)-1])
	}
	if p.Position.File == "" {
		return text
	}
	return p.Position.String() + ": " + text
}

// Unwrap returns the error without the position.
func (p *Error) Unwrap() error { return p.Err }

// Node is a value in a file: a table has Keys, a list has Elements, and other
// values have neither. A nil *Node is a value that is in no file; its methods
// work.
type Node struct {
	Key      Position // where it is first named; of the last part of the value's key; for a list's element, Value
	Value    Position // of the value; for a table with a header, Key
	Keys     map[string]*Node
	Elements []*Node
	Repeated bool // a list of tables, each with a header [[...]]

	set bool // by its own header or assignment, not only as part of others
}

// Get returns the value at a path of keys and of indices in decimal, or nil.
func (n *Node) Get(path ...string) *Node {
	for _, key := range path {
		if n = n.step(key); n == nil {
			return nil
		}
	}
	return n
}

// Place returns the position of the value's key, or none for a nil node.
func (n *Node) Place() Position {
	if n == nil {
		return Position{}
	}
	return n.Key
}

// Set makes child the value of a key of n. It does nothing to a nil node.
func (n *Node) Set(key string, child *Node) {
	if n == nil || child == nil {
		return
	}
	if n.Keys == nil {
		n.Keys = map[string]*Node{}
	}
	n.Keys[key] = child
}

// Near returns the position of the value at path, or of the innermost table or
// list on the way there that is in a file.
func (n *Node) Near(path ...string) Position {
	var at Position
	if n != nil {
		at = n.Value
	}
	for _, key := range path {
		if n = n.step(key); n == nil {
			break
		}
		at = n.Value
	}
	return at
}

func (n *Node) step(key string) *Node {
	if n == nil {
		return nil
	}
	if n.Elements == nil {
		return n.Keys[key]
	}
	if i, err := strconv.Atoi(key); err == nil && i >= 0 && i < len(n.Elements) {
		return n.Elements[i]
	}
	return nil
}

// Label names the value at path as people write it: `"tcp" in
// [supervise.process.web.ready]`, `"depends_on[0]" in [supervise.process.web]`.
func (n *Node) Label(path ...string) string {
	table, key := n.split(path)
	switch {
	case key == "" && len(table) == 0:
		return "the file"
	case len(table) == 0:
		return strconv.Quote(key)
	}
	return strconv.Quote(key) + " in " + header(table)
}

// split divides path into that of the innermost table that is not in a list,
// and the rest, which is a key and perhaps indices and keys below.
func (n *Node) split(path []string) (table []string, key string) {
	if len(path) == 0 {
		return nil, ""
	}
	for i := range path {
		list := n != nil && n.Elements != nil
		if list && i > 0 {
			return path[:i-1], path[i-1] + n.below(path[i:])
		}
		n = n.step(path[i])
	}
	last := len(path) - 1
	return path[:last], path[last]
}

// below writes a path as what follows a list's name: "[0].name".
func (n *Node) below(path []string) string {
	var b strings.Builder
	for _, key := range path {
		if n != nil && n.Elements != nil {
			b.WriteString("[" + key + "]")
		} else {
			b.WriteString("." + key)
		}
		n = n.step(key)
	}
	return b.String()
}

// header writes a path as the header of a table.
func header(path []string) string {
	keys := make([]string, len(path))
	for i, key := range path {
		keys[i] = Quote(key)
	}
	return "[" + strings.Join(keys, ".") + "]"
}

// Quote writes a key as TOML does, in quotes only if they are needed.
func Quote(key string) string {
	if key != "" && strings.IndexFunc(key, func(r rune) bool { return r > utf8.RuneSelf || !bare(byte(r)) }) < 0 {
		return key
	}
	return QuoteString(key)
}

// QuoteString writes s as a basic TOML string.
func QuoteString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
