package hook

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"procops/internal/event"
)

// Condition is what a value of an event must be.
type Condition struct {
	sign string // "", "!=", ">", ">=", "<" or "<="
	want string
}

// UnmarshalTOML reads a text, a number or a boolean.
func (c *Condition) UnmarshalTOML(v any) error {
	switch v := v.(type) {
	case string:
		return c.parse(v)
	case bool, int64, float64:
		c.want = fmt.Sprint(v)
		return nil
	default:
		return fmt.Errorf("want a text, a number or a boolean, not %v", v)
	}
}

// parse reads a text, which may begin with a sign.
func (c *Condition) parse(text string) error {
	for _, sign := range []string{"!=", ">=", "<=", ">", "<"} {
		rest, found := strings.CutPrefix(text, sign)
		if !found {
			continue
		}
		c.sign, c.want = sign, strings.TrimSpace(rest)
		if _, err := strconv.ParseFloat(c.want, 64); err != nil && sign != "!=" {
			return fmt.Errorf("%q compares with %q, which is no number", text, c.want)
		}
		return nil
	}
	c.want = text
	return nil
}

// MarshalText returns the condition as it is written.
func (c Condition) MarshalText() ([]byte, error) {
	if c.sign == "" {
		return []byte(c.want), nil
	}
	return []byte(c.sign + " " + c.want), nil
}

// JSONTypes names what the JSON schema of a configuration admits.
func (c Condition) JSONTypes() []string { return []string{"string", "number", "boolean"} }

// holds reports whether a value is as it must be; missing is that there is none.
func (c Condition) holds(value string, missing bool) bool {
	switch c.sign {
	case "":
		return !missing && matches(c.want, value)
	case "!=":
		return missing || !matches(c.want, value)
	}
	have, err := strconv.ParseFloat(value, 64)
	want, bad := strconv.ParseFloat(c.want, 64)
	if missing || err != nil || bad != nil {
		return false
	}
	switch order := cmp.Compare(have, want); c.sign {
	case ">":
		return order > 0
	case ">=":
		return order >= 0
	case "<":
		return order < 0
	default:
		return order <= 0
	}
}

// matches is event.Match, but nothing matches only itself; and 3 is 3.0.
func matches(pattern, value string) bool {
	if pattern == "" {
		return value == ""
	}
	if event.Match(pattern, value) {
		return true
	}
	have, err := strconv.ParseFloat(value, 64)
	want, bad := strconv.ParseFloat(pattern, 64)
	return err == nil && bad == nil && have == want
}

// fields are the values of an event by their names.
type fields struct {
	event event.Event
	data  map[string]any
}

// fieldsOf reads the data of an event.
func fieldsOf(e event.Event) (fields, error) {
	f := fields{event: e}
	raw, err := e.DataJSON()
	if err != nil || len(raw) == 0 {
		return f, err
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber() // a large number stays as it is
	if err := decoder.Decode(&f.data); err != nil {
		return f, nil //nolint:nilerr // it is no object: it has no fields
	}
	return f, nil
}

// get returns a value as text.
func (f fields) get(name string) (text string, found bool) {
	switch name {
	case "type":
		return f.event.Type, true
	case "subject":
		return f.event.Subject, true
	case "source":
		return f.event.Source, true
	}
	var value any = f.data
	for key := range strings.SplitSeq(name, ".") {
		table, isTable := value.(map[string]any)
		if value, found = table[key]; !isTable || !found {
			return "", false
		}
	}
	switch value := value.(type) {
	case nil:
		return "", false
	case string:
		return value, true
	case json.Number:
		return value.String(), true
	case bool:
		return strconv.FormatBool(value), true
	default:
		raw, err := json.Marshal(value)
		return string(raw), err == nil
	}
}

// fill fills the values in a text in: {{name}}. One that the event does not have is empty.
func (f fields) fill(text string) string {
	var b strings.Builder
	for {
		before, rest, open := strings.Cut(text, "{{")
		name, after, closed := strings.Cut(rest, "}}")
		b.WriteString(before)
		if !open || !closed {
			if open {
				b.WriteString("{{" + rest)
			}
			return b.String()
		}
		value, _ := f.get(strings.TrimSpace(name))
		b.WriteString(value)
		text = after
	}
}
