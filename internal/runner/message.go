package runner

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// protocol is the version of what procops and a co-process say to each other.
const protocol = 1

// hex are the digits of an escape.
const hex = "0123456789abcdef"

// appendWork appends the line that hands a unit of work to a co-process.
func appendWork(b []byte, id uint64, w *Work, base64Always bool) []byte {
	b = append(b, `{"type":"work","id":"`...)
	b = strconv.AppendUint(b, id, 10)
	if base64Always || !utf8.Valid(w.Input) {
		b = append(b, `","input_base64":"`...)
		b = base64.StdEncoding.AppendEncode(b, w.Input)
		b = append(b, '"')
	} else {
		b = append(slices.Grow(b, len(w.Input)+len(w.Input)/16), `","input":`...) // room for some escapes
		b = appendString(b, w.Input)
	}
	for i, m := range w.Meta {
		separator := byte(',')
		if i == 0 {
			b = append(b, `,"meta":`...)
			separator = '{'
		}
		b = append(b, separator)
		b = appendString(b, bytes.ToValidUTF8([]byte(m.Name), []byte("\ufffd")))
		b = append(b, ':')
		b = appendString(b, bytes.ToValidUTF8([]byte(m.Value), []byte("\ufffd")))
		if i == len(w.Meta)-1 {
			b = append(b, '}')
		}
	}
	return append(b, "}\n"...)
}

// appendString appends a text as a JSON string. It escapes what must be, and no more.
func appendString(b, text []byte) []byte {
	b = append(b, '"')
	for {
		n := plain(text)
		b = append(b, text[:n]...)
		if n == len(text) {
			return append(b, '"')
		}
		switch c := text[n]; c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		text = text[n+1:]
	}
}

// each is a word of bytes that are one.
const each = 0x0101010101010101

// plain returns how many bytes text begins with that stand for themselves in a JSON
// string. It looks at eight at a time: subtracting from a byte what it is less than
// sets its highest bit.
func plain(text []byte) int {
	n := 0
	for ; n+8 <= len(text); n += 8 {
		word := binary.LittleEndian.Uint64(text[n:])
		quote, backslash := word^each*'"', word^each*'\\'
		if ((word-each*' ')&^word|(quote-each)&^quote|(backslash-each)&^backslash)&(each*0x80) != 0 {
			break
		}
	}
	for n < len(text) && text[n] >= ' ' && text[n] != '"' && text[n] != '\\' {
		n++
	}
	return n
}

// text is a JSON string in a line: what is between its quotes.
type text struct {
	raw     []byte // nil: there is none
	escaped bool   // it holds a backslash
}

// bytes returns what the string means, in the place where it stood.
func (t text) bytes() []byte {
	if !t.escaped {
		return t.raw
	}
	return unescape(t.raw)
}

// copied returns what the string means.
func (t text) copied() string {
	if !t.escaped {
		return string(t.raw)
	}
	return string(unescape(bytes.Clone(t.raw)))
}

// message is a line of a co-process, apart from what only a hello or a progress has.
type message struct {
	kind, id, outcome, reason, output, output64 text
	meta                                        []byte // the value as it stands there; nil: there is none
}

// metaFields returns what the co-process has to say about the unit beside its result.
func (m *message) metaFields() (fields map[string]json.RawMessage, err error) {
	if m.meta == nil {
		return nil, nil
	}
	if err := json.Unmarshal(m.meta, &fields); err != nil {
		return nil, errors.New("its meta is no JSON object")
	}
	return fields, nil
}

// result returns the output, in the place where it stood in the line.
func (m *message) result() ([]byte, error) {
	if m.output64.raw == nil {
		return m.output.bytes(), nil
	}
	if m.output.raw != nil {
		return nil, errors.New("it has both an output and an output_base64")
	}
	// What is decoded is shorter than what it is made of, so that it never catches up.
	encoded := m.output64.bytes()
	n, err := base64.StdEncoding.Decode(encoded, encoded)
	if err != nil {
		return nil, errors.New("its output_base64 is no base64")
	}
	return encoded[:n], nil
}

// hello is the first line of a co-process.
type hello struct {
	Type     string `json:"type"`
	Protocol *int   `json:"protocol"`
	Encoding string `json:"encoding"`
}

// parseHello reads the first line, and whether all input is to be in base64.
func parseHello(line []byte) (base64Always bool, err error) {
	m, err := parseMessage(line)
	if err != nil {
		return false, err
	}
	if kind := m.kind.copied(); kind != "hello" {
		return false, fmt.Errorf("its type is %q", short([]byte(kind)))
	}
	var h hello
	if err := json.Unmarshal(line, &h); err != nil {
		return false, errors.New("its values have the wrong types")
	}
	switch {
	case h.Protocol == nil:
		return false, errors.New("it does not say which protocol")
	case *h.Protocol != protocol:
		return false, fmt.Errorf("it speaks protocol %d, and procops protocol %d", *h.Protocol, protocol)
	case h.Encoding != "" && h.Encoding != "text" && h.Encoding != "base64":
		return false, fmt.Errorf("there is no encoding %q, only text and base64", short([]byte(h.Encoding)))
	}
	return h.Encoding == "base64", nil
}

// shortest is how much of a line is quoted, in bytes.
const shortest = 80

// short returns the beginning of what was seen, for a message to people, who see it
// quoted.
func short(seen []byte) string {
	if len(seen) <= shortest {
		return string(seen)
	}
	cut := shortest
	for cut > shortest-utf8.UTFMax && !utf8.RuneStart(seen[cut]) {
		cut--
	}
	return string(seen[:cut]) + "…"
}

// errNoJSON says what is wrong with a line that is not even JSON.
var errNoJSON = errors.New("it is no JSON object")

// parseMessage reads a line: a JSON object, of which the strings that are of interest
// are found and nothing is copied. Of doubles the last counts; bytes in strings that
// are no UTF-8 are left as they are.
func parseMessage(line []byte) (m message, err error) {
	s := scanner{line: line}
	if !s.take('{') {
		return m, errNoJSON
	}
	if !s.take('}') {
		for more := true; more; {
			if err := s.member(&m); err != nil {
				return m, err
			}
			if more = s.take(','); !more && !s.take('}') {
				return m, errNoJSON
			}
		}
	}
	s.space()
	if s.at != len(s.line) {
		return m, errNoJSON
	}
	if m.kind.raw == nil {
		return m, errors.New("it has no type")
	}
	return m, nil
}

// scanner goes through a line of JSON.
type scanner struct {
	line []byte
	at   int
}

// space goes behind white space.
func (s *scanner) space() {
	for s.at < len(s.line) && (s.line[s.at] == ' ' || s.line[s.at] == '\t' || s.line[s.at] == '\r' || s.line[s.at] == '\n') {
		s.at++
	}
}

// take goes behind a character and white space before it, if it is there.
func (s *scanner) take(c byte) bool {
	s.space()
	if s.at == len(s.line) || s.line[s.at] != c {
		return false
	}
	s.at++
	return true
}

// member reads a name and its value.
func (s *scanner) member(m *message) error {
	name, ok := s.text()
	if !ok || !s.take(':') {
		return errNoJSON
	}
	place := m.place(name)
	s.space()
	begin := s.at
	if place != nil && begin < len(s.line) && s.line[begin] == '"' {
		if *place, ok = s.text(); !ok {
			return errNoJSON
		}
		return nil
	}
	if err := s.value(0); err != nil {
		return err
	}
	if place == nil {
		if string(name.raw) == "meta" {
			m.meta = s.line[begin:s.at]
		}
		return nil
	}
	*place = text{}
	if string(s.line[begin:s.at]) != "null" {
		return fmt.Errorf("its %s is no string", name.copied())
	}
	return nil
}

// place returns where the value of a name belongs; nil: it is not of interest.
func (m *message) place(name text) *text {
	key := name.raw
	if name.escaped {
		key = []byte(name.copied())
	}
	switch string(key) {
	case "type":
		return &m.kind
	case "id":
		return &m.id
	case "outcome":
		return &m.outcome
	case "message":
		return &m.reason
	case "output":
		return &m.output
	case "output_base64":
		return &m.output64
	default:
		return nil
	}
}

// text reads a string.
func (s *scanner) text() (t text, ok bool) {
	if !s.take('"') {
		return t, false
	}
	begin := s.at
	for {
		s.at += plain(s.line[s.at:])
		if s.at == len(s.line) {
			return t, false
		}
		switch s.line[s.at] {
		case '"':
			t.raw = s.line[begin:s.at:s.at]
			s.at++
			return t, true
		case '\\':
			t.escaped = true
			n := escapeLength(s.line[s.at:])
			if n == 0 {
				return t, false
			}
			s.at += n
		default: // a control character
			return t, false
		}
	}
}

// escapeLength returns the length of the escape that data begins with; 0: it is none.
func escapeLength(data []byte) int {
	if len(data) < 2 {
		return 0
	}
	if data[1] == 'u' {
		if _, ok := hex4(data); !ok {
			return 0
		}
		return 6
	}
	if strings.IndexByte(`"\/bfnrt`, data[1]) < 0 {
		return 0
	}
	return 2
}

// hex4 reads \uXXXX.
func hex4(data []byte) (r rune, ok bool) {
	if len(data) < 6 || data[0] != '\\' || data[1] != 'u' {
		return 0, false
	}
	for _, c := range data[2:6] {
		digit := strings.IndexByte(hex, c|0x20)
		if digit < 0 || c < '0' {
			return 0, false
		}
		r = r<<4 | rune(digit)
	}
	return r, true
}

// unescape puts what the escapes of a string mean in their places: it is never longer
// than they were.
func unescape(raw []byte) []byte {
	to := bytes.IndexByte(raw, '\\')
	for at := to; at < len(raw); {
		next := bytes.IndexByte(raw[at:], '\\')
		if next < 0 {
			return raw[:to+copy(raw[to:], raw[at:])]
		}
		to += copy(raw[to:], raw[at:at+next])
		at += next
		if raw[at+1] != 'u' {
			raw[to] = "\"\\/\b\f\n\r\t"[strings.IndexByte(`"\/bfnrt`, raw[at+1])]
			to++
			at += 2
			continue
		}
		r, _ := hex4(raw[at:])
		at += 6
		if second, ok := hex4(raw[at:]); ok && utf16.IsSurrogate(r) {
			if both := utf16.DecodeRune(r, second); both != utf8.RuneError {
				r = both
				at += 6
			}
		}
		to += utf8.EncodeRune(raw[to:to+utf8.UTFMax], r)
	}
	return raw[:to]
}

// maxDepth is how deep values may be in each other in what is not of interest.
const maxDepth = 100

// value goes behind any value.
func (s *scanner) value(depth int) error {
	s.space()
	if s.at == len(s.line) || depth > maxDepth {
		return errNoJSON
	}
	switch s.line[s.at] {
	case '"':
		if _, ok := s.text(); !ok {
			return errNoJSON
		}
		return nil
	case '[':
		return s.list(']', depth)
	case '{':
		return s.list('}', depth)
	default:
		begin := s.at
		for s.at < len(s.line) && strings.IndexByte(" \t\r\n,]}", s.line[s.at]) < 0 {
			s.at++
		}
		if !json.Valid(s.line[begin:s.at]) {
			return errNoJSON
		}
		return nil
	}
}

// list goes behind an array or an object.
func (s *scanner) list(end byte, depth int) error {
	s.at++
	if s.take(end) {
		return nil
	}
	for {
		if end == '}' {
			if _, ok := s.text(); !ok || !s.take(':') {
				return errNoJSON
			}
		}
		if err := s.value(depth + 1); err != nil {
			return err
		}
		if s.take(end) {
			return nil
		}
		if !s.take(',') {
			return errNoJSON
		}
	}
}
