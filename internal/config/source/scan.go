package source

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits on what a file may hold, so that the TOML library, which recurses and
// keeps a string per key with all of its path, comes to no harm.
const (
	MaxDepth = 64  // tables and lists within each other
	MaxPath  = 512 // bytes in the names of a key and of all tables around it
)

var (
	errDepth = errors.New("tables or lists are nested more than " + strconv.Itoa(MaxDepth) + " deep")
	errPath  = errors.New("a key with its tables is longer than " + strconv.Itoa(MaxPath) + " bytes")
)

// Scan finds the positions in text, the contents of a TOML file. It does not
// check what it reads: of a text that is not TOML it finds what comes before
// the first error, and perhaps nonsense after. The exceptions are keys that are
// set a second time, because the library overlooks some of them: those are in
// problems. Where a limit is exceeded there is no root, and one problem.
func Scan(file, text string) (root *Node, problems []*Error) {
	s := &scanner{text: text, at: Position{File: file, Line: 1, Column: 1}}
	root = &Node{Key: s.at, Value: s.at}
	s.document(root)
	if s.err != nil {
		return nil, []*Error{s.err}
	}
	return root, s.twice
}

type scanner struct {
	text    string
	pos     int
	at      Position // of text[counted]
	counted int
	twice   []*Error
	err     *Error
}

// trail is how deep a value is, and how long its path.
type trail struct{ depth, bytes int }

// part is one part of a dotted key.
type part struct {
	name string
	at   Position
}

func (s *scanner) document(root *Node) {
	table, above := root, trail{}
	for {
		s.blank()
		switch s.peek() {
		case end:
			return
		case '[':
			table, above = s.header(root)
		default:
			s.assignment(table, above)
		}
	}
}

// header reads [a.b] or [[a.b]] and returns its table.
func (s *scanner) header(root *Node) (*Node, trail) {
	s.pos++
	repeated := s.accept('[')
	parts := s.key()
	s.accept(']')
	if repeated {
		s.accept(']')
	}
	below := s.deeper(trail{}, parts)
	n := root
	for i, p := range parts {
		child := n.child(p)
		if i == len(parts)-1 {
			s.open(child, p, repeated)
		}
		n = child.current()
	}
	return n, below
}

// open begins the table, or a further one of the list of tables, that the
// header's last part p names.
func (s *scanner) open(n *Node, p part, repeated bool) {
	if n.set && (!repeated || !n.Repeated) {
		s.again(n, p)
	}
	n.set = true
	if repeated {
		n.Repeated = true
		n.Elements = append(n.Elements, &Node{Key: p.at, Value: p.at})
	}
}

func (s *scanner) again(n *Node, p part) {
	s.twice = append(s.twice, Errorf(p.at, "key %q is set already at %s", p.name, n.Key))
}

// assignment reads key = value.
func (s *scanner) assignment(table *Node, above trail) {
	parts := s.key()
	if len(parts) == 0 {
		s.pos++
		return
	}
	below := s.deeper(above, parts)
	for i, p := range parts {
		known := table.current().Keys[p.name]
		if known != nil && i == len(parts)-1 {
			s.again(known, p)
		}
		table = table.current().child(p)
	}
	table.set = true
	s.space()
	if s.accept('=') {
		s.space()
		s.value(table, below)
	}
}

func (s *scanner) value(n *Node, above trail) {
	n.Value = s.here()
	switch s.peek() {
	case '"', '\'':
		s.quoted()
	case '[':
		s.list(n, s.deeper(above, nil))
	case '{':
		s.inline(n, above)
	default:
		s.until(",]}#\n")
	}
}

func (s *scanner) list(n *Node, above trail) {
	s.pos++
	n.Elements = []*Node{}
	for {
		s.blank()
		switch s.peek() {
		case end:
			return
		case ']':
			s.pos++
			return
		case ',', '}':
			s.pos++
		default:
			element := &Node{}
			n.Elements = append(n.Elements, element)
			s.value(element, above)
			element.Key = element.Value
		}
	}
}

func (s *scanner) inline(n *Node, above trail) {
	s.pos++
	for {
		s.blank()
		switch s.peek() {
		case end:
			return
		case '}':
			s.pos++
			return
		case ',':
			s.pos++
		default:
			s.assignment(n, above)
		}
	}
}

// key reads a dotted key and the space after it.
func (s *scanner) key() []part {
	var parts []part
	for {
		s.space()
		at := s.here()
		name, ok := s.name()
		if !ok {
			return parts
		}
		parts = append(parts, part{name, at})
		s.space()
		if !s.accept('.') {
			return parts
		}
	}
}

func (s *scanner) name() (string, bool) {
	start := s.pos
	switch s.peek() {
	case '\'':
		s.line('\'')
		return strings.Trim(s.text[start:s.pos], "'"), true
	case '"':
		s.line('"')
		return unescape(strings.TrimSuffix(s.text[start+1:s.pos], `"`)), true
	}
	for s.pos < len(s.text) && bare(s.text[s.pos]) {
		s.pos++
	}
	return s.text[start:s.pos], s.pos > start
}

// quoted reads past a string of any of the four kinds.
func (s *scanner) quoted() {
	quote := s.text[s.pos]
	fence := strings.Repeat(string(quote), 3)
	if !strings.HasPrefix(s.text[s.pos:], fence) {
		s.line(quote)
		return
	}
	for s.pos += 3; s.pos < len(s.text); s.pos++ {
		if s.text[s.pos] == '\\' && quote == '"' {
			s.pos++
			continue
		}
		if !strings.HasPrefix(s.text[s.pos:], fence) {
			continue
		}
		s.pos += 3
		// One or two quotes may stand before the closing three.
		for range 2 {
			s.accept(quote)
		}
		return
	}
	s.pos = len(s.text)
}

// line reads past a string on one line.
func (s *scanner) line(quote byte) {
	for s.pos++; s.pos < len(s.text); s.pos++ {
		switch s.text[s.pos] {
		case quote:
			s.pos++
			return
		case '\n':
			return
		case '\\':
			if quote == '"' {
				s.pos++
			}
		}
	}
	s.pos = len(s.text)
}

// end is what peek returns at the end of the text or after an error. It is not
// a character of TOML.
const end = 0xff

func (s *scanner) peek() byte {
	if s.err != nil || s.pos >= len(s.text) {
		return end
	}
	return s.text[s.pos]
}

func (s *scanner) accept(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.pos++
	return true
}

// space reads past spaces and tabs.
func (s *scanner) space() {
	for s.pos < len(s.text) && (s.text[s.pos] == ' ' || s.text[s.pos] == '\t') {
		s.pos++
	}
}

// blank reads past spaces, ends of lines and comments.
func (s *scanner) blank() {
	for s.pos < len(s.text) {
		switch s.text[s.pos] {
		case ' ', '\t', '\r', '\n':
			s.pos++
		case '#':
			s.until("\n")
		default:
			return
		}
	}
}

func (s *scanner) until(stop string) {
	for s.pos < len(s.text) && strings.IndexByte(stop, s.text[s.pos]) < 0 {
		s.pos++
	}
}

// here returns the position of the next character. It counts on from where it
// was asked last, so that a file of one long line takes no longer than another.
func (s *scanner) here() Position {
	passed := s.text[s.counted:min(s.pos, len(s.text))]
	s.counted += len(passed)
	if i := strings.LastIndexByte(passed, '\n'); i >= 0 {
		s.at.Line += strings.Count(passed, "\n")
		s.at.Column = 1
		passed = passed[i+1:]
	}
	s.at.Column += utf8.RuneCountInString(passed)
	return s.at
}

// deeper returns the trail below parts, or below a list if there are none, and
// stops the scanner where a limit is exceeded.
func (s *scanner) deeper(t trail, parts []part) trail {
	t.depth += max(len(parts), 1)
	for _, p := range parts {
		t.bytes += len(p.name) + 1
	}
	if s.err == nil && t.depth > MaxDepth {
		s.err = &Error{s.here(), errDepth}
	}
	if s.err == nil && t.bytes > MaxPath {
		s.err = &Error{s.here(), errPath}
	}
	return t
}

// child returns the value of a key, which it makes if there is none.
func (n *Node) child(p part) *Node {
	child := n.Keys[p.name]
	if child == nil {
		child = &Node{Key: p.at, Value: p.at}
		n.Set(p.name, child)
	}
	return child
}

// current returns the table that further keys go to: the last of a list of
// tables, else the value itself.
func (n *Node) current() *Node {
	if n.Repeated {
		return n.Elements[len(n.Elements)-1]
	}
	return n
}

// bare reports whether c may stand in a key without quotes.
func bare(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

// unescape resolves the escapes of a basic string.
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, `\`)
		b.WriteString(before)
		if !found || after == "" {
			return b.String()
		}
		if digits := hexDigits(after[0]); digits > 0 && len(after) > digits {
			if n, err := strconv.ParseUint(after[1:1+digits], 16, 32); err == nil {
				b.WriteRune(rune(n))
			}
			s = after[1+digits:]
			continue
		}
		if i := strings.IndexByte(`b"t"n"f"r"e"`, after[0]); i >= 0 && after[0] != '"' {
			b.WriteByte("\b\t\n\f\r\x1b"[i/2])
		} else {
			b.WriteByte(after[0])
		}
		s = after[1:]
	}
}

// hexDigits returns how many hexadecimal digits follow an escape's letter.
func hexDigits(letter byte) int {
	switch letter {
	case 'x':
		return 2
	case 'u':
		return 4
	case 'U':
		return 8
	}
	return 0
}
