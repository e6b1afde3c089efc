package leptir

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// EncodeValue returns a JSON value as PHP's json_encode writes the value that its
// json_decode reads from it: objects stay objects, in their order. Integers that PHP
// has no room for are left as they are.
func EncodeValue(raw json.RawMessage) ([]byte, error) { return appendValue(nil, raw, MaxDepth) }

// appendValue writes a JSON value of at most so many levels as PHP does.
func appendValue(b []byte, raw json.RawMessage, depth int) ([]byte, error) {
	if !json.Valid(raw) { // the tokens alone would pass with commas in wrong places
		return nil, fmt.Errorf("%q is not valid JSON", shorten(raw))
	}
	tokens := json.NewDecoder(bytes.NewReader(raw))
	tokens.UseNumber()
	w := writer{out: b, depth: depth}
	for {
		token, err := tokens.Token()
		if err != nil {
			return w.out, nil //nolint:nilerr // it is valid: this is its end
		}
		if err := w.token(token); err != nil {
			return nil, err
		}
	}
}

// writer writes tokens of JSON with what belongs between them.
type writer struct {
	out   []byte
	depth int
	open  []level
}

// level is an object or array that is being written.
type level struct {
	object bool
	tokens int // so far, in it
}

func (w *writer) token(token json.Token) error {
	if delim, is := token.(json.Delim); is && (delim == '}' || delim == ']') {
		w.out = append(w.out, byte(delim))
		w.open = w.open[:len(w.open)-1]
		return nil
	}
	w.separate()
	switch t := token.(type) {
	case json.Delim:
		if len(w.open) == w.depth {
			return fmt.Errorf("PHP reads no more than %d levels", MaxDepth)
		}
		w.out = append(w.out, byte(t))
		w.open = append(w.open, level{object: t == '{'})
	case string:
		w.out = appendString(w.out, t)
	case json.Number:
		w.out = appendNumber(w.out, t.String())
	case bool:
		w.out = strconv.AppendBool(w.out, t)
	default:
		w.out = append(w.out, "null"...)
	}
	return nil
}

// separate writes what stands between the token before and the next one.
func (w *writer) separate() {
	if len(w.open) == 0 {
		return
	}
	in := &w.open[len(w.open)-1]
	switch {
	case in.object && in.tokens%2 == 1:
		w.out = append(w.out, ':')
	case in.tokens > 0:
		w.out = append(w.out, ',')
	}
	in.tokens++
}

// appendString writes a string: PHP escapes the slash and all that is not ASCII. What is
// not valid UTF-8 becomes the replacement character.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\' || r == '/':
			b = append(b, '\\', byte(r))
		case ' ' <= r && r < utf8.RuneSelf:
			b = append(b, byte(r))
		case strings.ContainsRune("\b\f\n\r\t", r):
			b = append(b, '\\', "btn_fr"[r-'\b'])
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			b = fmt.Appendf(b, `\u%04x\u%04x`, high, low)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return append(b, '"')
}

// appendNumber writes a number: an integer as it is, anything else as the shortest that
// reads as the same float.
func appendNumber(b []byte, literal string) []byte {
	if n, err := strconv.ParseInt(literal, 10, 64); err == nil {
		return strconv.AppendInt(b, n, 10)
	}
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil || !strings.ContainsAny(literal, ".eE") {
		return append(b, literal...)
	}
	return appendFloat(b, f)
}

// PHP writes floats with an exponent below and above these powers of ten.
const (
	smallestPlain = -4
	largestPlain  = 16
)

// appendFloat writes a finite float as PHP does with its serialize_precision of -1.
func appendFloat(b []byte, f float64) []byte {
	short := strconv.FormatFloat(f, 'e', -1, 64)
	mantissa, exponent, _ := strings.Cut(short, "e")
	power, _ := strconv.Atoi(exponent)
	if f == 0 || smallestPlain <= power && power <= largestPlain {
		return strconv.AppendFloat(b, f, 'f', -1, 64)
	}
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	return fmt.Appendf(b, "%se%+d", mantissa, power)
}

// The kinds of a JSON value.
type valueKind int

const (
	nothing valueKind = iota // missing, or null
	object
	array
	text
	digits
	truth
)

// kind returns the kind of a valid JSON value, or of a missing one.
func kind(raw json.RawMessage) valueKind {
	if len(raw) == 0 {
		return nothing
	}
	switch raw[0] {
	case 'n':
		return nothing
	case '{':
		return object
	case '[':
		return array
	case '"':
		return text
	case 't', 'f':
		return truth
	default:
		return digits
	}
}

// number returns the number that PHP makes of a JSON value.
func number(raw json.RawMessage) float64 {
	switch kind(raw) {
	case digits:
		return finite(string(raw))
	case text:
		var s string
		_ = json.Unmarshal(raw, &s)
		return finite(leading(s))
	case truth:
		return float64(btoi(raw[0] == 't'))
	case object, array:
		return float64(btoi(len(bytes.Trim(raw, "{}[] \t\r\n")) > 0))
	default:
		return 0
	}
}

// finite reads a number; what is too large becomes the largest.
func finite(literal string) float64 {
	f, _ := strconv.ParseFloat(literal, 64)
	return clamp(f, -math.MaxFloat64, math.MaxFloat64)
}

// leading returns the number with which s begins, as PHP finds it.
func leading(s string) string {
	s = strings.TrimLeft(s, " \t\n\r\v\f")
	end := len(s) - len(strings.TrimLeft(s, "+-"))
	if end > 1 {
		return ""
	}
	span := func(from int) int { return len(s[from:]) - len(strings.TrimLeft(s[from:], "0123456789")) }
	whole := span(end)
	end += whole
	if end < len(s) && s[end] == '.' {
		part := span(end + 1)
		if whole+part == 0 {
			return ""
		}
		end += 1 + part
	}
	if end < len(s) && (s[end] == 'e' || s[end] == 'E') {
		sign := 0
		if end+1 < len(s) && (s[end+1] == '+' || s[end+1] == '-') {
			sign = 1
		}
		if power := span(end + 1 + sign); power > 0 {
			end += 1 + sign + power
		}
	}
	return s[:end]
}

func shorten(raw []byte) string {
	if len(raw) <= 40 {
		return string(raw)
	}
	return string(raw[:40]) + "..."
}
