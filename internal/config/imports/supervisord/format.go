package supervisord

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// mark encloses, in a text, the name of a variable of the environment whose
// value belongs there. No file that is read has this character.
const mark = "\x00"

// reference stands in a text for the value of a variable.
func reference(name string) string { return mark + name + mark }

// value is what a name in %(name)s stands for: a text or a number.
type value struct {
	text    string
	number  int
	numeric bool
}

func textValue(s string) value { return value{text: s} }
func numberValue(n int) value  { return value{number: n, numeric: true} }
func (v value) isOpen() bool   { return strings.Contains(v.text, mark) }

// specification is what stands between "%(name)" and the letter of a
// conversion.
type specification struct {
	flags     string
	width     int
	precision int // -1: none
}

// conversion is a conversion in a format of Python's "%" operator.
//
//	https://docs.python.org/3/library/stdtypes.html#printf-style-string-formatting
const conversion = `^([#0 +-]*)([0-9]{0,4})(?:\.([0-9]{0,4}))?[hlL]?([a-zA-Z])`

// format fills names into text as Python's "%" operator does. lookup returns
// what a name stands for.
func format(text string, lookup func(name string) (value, error)) (string, error) {
	letters := regexp.MustCompile(conversion)
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "%")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		if rest, escaped := strings.CutPrefix(after, "%"); escaped {
			b.WriteByte('%')
			text = rest
			continue
		}
		name, rest, err := cutName(after)
		if err != nil {
			return "", err
		}
		parts := letters.FindStringSubmatch(rest)
		if parts == nil {
			return "", fmt.Errorf("want a letter such as \"s\" or \"d\" after %q", "%("+name+")")
		}
		v, err := lookup(name)
		if err != nil {
			return "", err
		}
		filled, err := v.convert(specify(parts), parts[4])
		if err != nil {
			return "", fmt.Errorf("cannot fill in %q: %w", "%("+name+")"+parts[0], err)
		}
		b.WriteString(filled)
		text = rest[len(parts[0]):]
	}
}

// cutName cuts "(name)" off. Parentheses in a name are balanced.
func cutName(s string) (name, rest string, err error) {
	depth := 0
	for i, r := range s {
		switch r {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth == 0 {
			if i == 0 {
				break
			}
			return s[1:i], s[i+1:], nil
		}
	}
	if depth > 0 {
		return "", "", errors.New(`there is a "%(" without a ")"`)
	}
	return "", "", errors.New(`there is a "%" without a "(name)s"; write "%%" for a percent sign`)
}

func specify(parts []string) specification {
	// The pattern lets only short numbers through.
	s := specification{flags: parts[1], precision: -1}
	s.width, _ = strconv.Atoi(parts[2])
	if strings.Contains(parts[0], ".") {
		s.precision, _ = strconv.Atoi(parts[3])
	}
	return s
}

// convert writes the value by a conversion.
func (v value) convert(s specification, letter string) (string, error) {
	switch {
	case letter == "s" && v.numeric:
		return s.pad(s.cut(strconv.Itoa(v.number))), nil
	case letter == "s" && v.isOpen() && (s.width > 0 || s.precision >= 0):
		return "", errors.New("a variable of the environment can have neither width nor precision")
	case letter == "s":
		return s.pad(s.cut(v.text)), nil
	case !slices.Contains([]string{"d", "i", "u", "x", "X", "o"}, letter):
		return "", fmt.Errorf("the conversion %q is not supported", letter)
	case !v.numeric:
		return "", fmt.Errorf("%q is for numbers only; use \"s\"", letter)
	}
	return s.integer(v.number, letter), nil
}

// cut shortens a text to the precision.
func (s specification) cut(text string) string {
	if s.precision < 0 || utf8.RuneCountInString(text) <= s.precision {
		return text
	}
	return string([]rune(text)[:s.precision])
}

// pad fills a text up to the width with blanks.
func (s specification) pad(text string) string {
	blanks := strings.Repeat(" ", max(0, s.width-utf8.RuneCountInString(text)))
	if strings.Contains(s.flags, "-") {
		return text + blanks
	}
	return blanks + text
}

// integer writes a number. Go's fmt has the same flags, but means something else
// by "#" with "o" and by "0" with a precision.
func (s specification) integer(n int, letter string) string {
	sign, digits, base := "", strconv.Itoa(max(n, -n)), ""
	switch letter {
	case "x", "X", "o":
		digits, base = fmt.Sprintf("%"+letter, max(n, -n)), "0"+letter
	}
	switch {
	case n < 0:
		sign = "-"
	case strings.Contains(s.flags, "+"):
		sign = "+"
	case strings.Contains(s.flags, " "):
		sign = " "
	}
	if strings.Contains(s.flags, "#") {
		sign += base
	}
	digits = strings.Repeat("0", max(0, s.precision-len(digits))) + digits
	if strings.Contains(s.flags, "0") && !strings.Contains(s.flags, "-") {
		digits = strings.Repeat("0", max(0, s.width-len(sign)-len(digits))) + digits
	}
	return s.pad(sign + digits)
}
