// Package phpserial turns what serialize() of PHP has made of scalars and arrays into what
// other programs can read, and back.
//
// A string becomes its bytes. All else becomes JSON: an array whose keys are 0, 1, 2 and
// so on in this order is an array there, every other one an object.
package phpserial

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
)

// maxDepth is how deep arrays may be nested.
const maxDepth = 1000

// errCut says that the data ends too early.
var errCut = errors.New("it ends too early")

// value is a value of PHP.
type value struct {
	kind    byte   // as serialize() has it: N, b, i, d, s or a
	text    []byte // of a string its bytes, else as JSON has it
	entries []entry
	list    bool // the keys of an array are 0, 1, 2 and so on
}

type entry struct{ key, value value }

// ToJSON returns the bytes of a string, or the JSON of another value.
func ToJSON(data []byte) ([]byte, error) {
	p := parser{rest: data}
	v, err := p.value(0)
	switch {
	case err != nil:
		return nil, fmt.Errorf("not serialized by PHP: byte %d: %w", len(data)-len(p.rest), err)
	case len(p.rest) > 0:
		return nil, fmt.Errorf("not serialized by PHP: %d bytes follow it", len(p.rest))
	case v.kind == 's':
		return v.text, nil
	}
	return v.appendJSON(nil)
}

type parser struct{ rest []byte }

// value reads a value.
func (p *parser) value(depth int) (value, error) {
	if len(p.rest) < 2 {
		return value{}, errCut
	}
	kind := p.rest[0]
	if kind == 'N' {
		return value{kind: kind, text: []byte("null")}, p.expect("N;")
	}
	if err := p.expect(string(kind) + ":"); err != nil {
		return value{}, err
	}
	switch kind {
	case 'b':
		return p.boolean()
	case 'i':
		text, err := p.until(';')
		if _, bad := strconv.ParseInt(string(text), 10, 64); err == nil && bad != nil {
			err = fmt.Errorf("%.30q is no number", text)
		}
		return value{kind: kind, text: bytes.TrimPrefix(text, []byte("+"))}.canonical(), err
	case 'd':
		return p.float()
	case 's':
		text, err := p.text()
		return value{kind: kind, text: text}, err
	case 'a':
		return p.array(depth + 1)
	case 'O', 'C', 'E', 'r', 'R':
		return value{}, errors.New("objects and references are not supported")
	default:
		return value{}, fmt.Errorf("there is no type %q", kind)
	}
}

// canonical writes a whole number as JSON wants it.
func (v value) canonical() value {
	if n, err := strconv.ParseInt(string(v.text), 10, 64); err == nil {
		v.text = strconv.AppendInt(nil, n, 10)
	}
	return v
}

// expect takes a text that must come.
func (p *parser) expect(text string) error {
	rest, ok := bytes.CutPrefix(p.rest, []byte(text))
	if !ok {
		return fmt.Errorf("want %q", text)
	}
	p.rest = rest
	return nil
}

// longestNumber is the longest text of a number that is looked at.
const longestNumber = 400

// until takes what comes before a byte, and the byte.
func (p *parser) until(end byte) ([]byte, error) {
	n := bytes.IndexByte(p.rest[:min(len(p.rest), longestNumber)], end)
	if n < 0 {
		return nil, fmt.Errorf("%q does not come", end)
	}
	text := p.rest[:n]
	p.rest = p.rest[n+1:]
	return text, nil
}

func (p *parser) boolean() (value, error) {
	text, err := p.until(';')
	switch {
	case err != nil:
		return value{}, err
	case string(text) == "0":
		return value{kind: 'b', text: []byte("false")}, nil
	case string(text) == "1":
		return value{kind: 'b', text: []byte("true")}, nil
	default:
		return value{}, fmt.Errorf("%.30q is neither 0 nor 1", text)
	}
}

func (p *parser) float() (value, error) {
	text, err := p.until(';')
	if err != nil {
		return value{}, err
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) || bytes.ContainsAny(text, "xX_pP") {
		return value{}, fmt.Errorf("JSON has no number %.30q", text)
	}
	return value{kind: 'd', text: appendFloat(nil, f)}, nil
}

// appendFloat writes a number so that it can be told from a whole one.
func appendFloat(b []byte, f float64) []byte {
	n := len(b)
	b = strconv.AppendFloat(b, f, 'g', -1, 64)
	if !bytes.ContainsAny(b[n:], ".e") {
		b = append(b, ".0"...)
	}
	return b
}

// length takes a length and the ":" behind it.
func (p *parser) length() (int, error) {
	text, err := p.until(':')
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(string(text), 10, 62)
	if err != nil {
		return 0, fmt.Errorf("%.30q is no length", text)
	}
	return int(n), nil
}

// text takes the rest of a string.
func (p *parser) text() ([]byte, error) {
	n, err := p.length()
	if err == nil {
		err = p.expect(`"`)
	}
	switch {
	case err != nil:
		return nil, err
	case n > len(p.rest):
		return nil, errCut
	}
	text := p.rest[:n:n]
	p.rest = p.rest[n:]
	return text, p.expect(`";`)
}

// array takes the rest of an array.
func (p *parser) array(depth int) (value, error) {
	if depth > maxDepth {
		return value{}, fmt.Errorf("arrays are nested more than %d deep", maxDepth)
	}
	n, err := p.length()
	if err == nil {
		err = p.expect("{")
	}
	v := value{kind: 'a', list: true}
	for i := 0; err == nil && i < n; i++ {
		var e entry
		if e, err = p.entry(depth); err == nil {
			v.list = v.list && e.key.kind == 'i' && string(e.key.text) == strconv.Itoa(i)
			v.entries = append(v.entries, e)
		}
	}
	if err == nil {
		err = p.expect("}")
	}
	return v, err
}

func (p *parser) entry(depth int) (e entry, err error) {
	if e.key, err = p.value(depth); err != nil {
		return e, err
	}
	if e.key.kind != 'i' && e.key.kind != 's' {
		return e, fmt.Errorf("a key cannot have type %q", e.key.kind)
	}
	e.value, err = p.value(depth)
	return e, err
}

// errNotUTF8 says what JSON cannot hold.
var errNotUTF8 = errors.New("a string in an array is not UTF-8, which JSON wants")

func (v *value) appendJSON(b []byte) (_ []byte, err error) {
	switch {
	case v.kind == 's':
		return appendString(b, v.text)
	case v.kind != 'a':
		return append(b, v.text...), nil
	}
	open, shut := byte('{'), byte('}')
	if v.list {
		open, shut = '[', ']'
	}
	b = append(b, open)
	for i := range v.entries {
		e := &v.entries[i]
		if i > 0 {
			b = append(b, ',')
		}
		if !v.list {
			if b, err = appendString(b, e.key.text); err != nil {
				return b, err
			}
			b = append(b, ':')
		}
		if b, err = e.value.appendJSON(b); err != nil {
			return b, err
		}
	}
	return append(b, shut), nil
}

func appendString(b, text []byte) ([]byte, error) {
	if !utf8.Valid(text) {
		return b, errNotUTF8
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(string(text)); err != nil {
		return b, err
	}
	return append(b, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...), nil
}

// FromOutput serializes what a program has written: the value, if it is JSON, else a
// string of these bytes.
func FromOutput(output []byte) []byte {
	if !utf8.Valid(output) || !json.Valid(output) {
		return appendText(nil, output)
	}
	dec := json.NewDecoder(bytes.NewReader(output))
	dec.UseNumber()
	b, err := appendNext(nil, dec)
	if err != nil {
		return appendText(nil, output) // it is JSON, but of a kind that PHP has no value for
	}
	return b
}

func appendText[T string | []byte](b []byte, text T) []byte {
	b = append(strconv.AppendInt(append(b, "s:"...), int64(len(text)), 10), `:"`...)
	return append(append(b, text...), `";`...)
}

// appendNext serializes the next value of a decoder.
func appendNext(b []byte, dec *json.Decoder) ([]byte, error) {
	token, err := dec.Token()
	if err != nil {
		return b, err
	}
	switch t := token.(type) {
	case nil:
		return append(b, "N;"...), nil
	case bool:
		if t {
			return append(b, "b:1;"...), nil
		}
		return append(b, "b:0;"...), nil
	case json.Number:
		return appendNumber(b, t)
	case string:
		return appendText(b, t), nil
	case json.Delim:
		return appendArray(b, dec, t == '{')
	default:
		return b, fmt.Errorf("unknown token %T", t)
	}
}

func appendNumber(b []byte, n json.Number) ([]byte, error) {
	if whole, err := strconv.ParseInt(n.String(), 10, 64); err == nil {
		return append(strconv.AppendInt(append(b, "i:"...), whole, 10), ';'), nil
	}
	f, err := n.Float64()
	if err != nil {
		return b, err
	}
	return append(appendFloat(append(b, "d:"...), f), ';'), nil
}

// appendArray serializes the rest of an array or object.
func appendArray(b []byte, dec *json.Decoder, object bool) (_ []byte, err error) {
	var inner []byte
	n := 0
	for ; dec.More(); n++ {
		if !object {
			inner = append(strconv.AppendInt(append(inner, "i:"...), int64(n), 10), ';')
		} else {
			token, err := dec.Token()
			if err != nil {
				return b, err
			}
			key, ok := token.(string)
			if !ok {
				return b, fmt.Errorf("a key is a %T", token)
			}
			inner = appendKey(inner, key)
		}
		if inner, err = appendNext(inner, dec); err != nil {
			return b, err
		}
	}
	if _, err := dec.Token(); err != nil { // its end
		return b, err
	}
	b = append(strconv.AppendInt(append(b, "a:"...), int64(n), 10), ":{"...)
	return append(append(b, inner...), '}'), nil
}

// appendKey serializes a key. One that is written as a whole number is one in PHP.
func appendKey(b []byte, key string) []byte {
	if n, err := strconv.ParseInt(key, 10, 64); err == nil && strconv.FormatInt(n, 10) == key {
		return append(strconv.AppendInt(append(b, "i:"...), n, 10), ';')
	}
	return appendText(b, key)
}
