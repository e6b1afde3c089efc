package tasks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"procops/internal/name"
)

// MaxParams is how many bytes the parameters of a task may have, as JSON. They
// are written several times on the way to the handler; what is larger belongs
// into a file or a database, and its name into the parameters.
const MaxParams = 1 << 20

// Param is a parameter of a type of task.
type Param struct {
	Type     ParamType `toml:"type" default:"string" doc:"int, float, string, bool or array"`
	Required bool      `toml:"required" default:"false" doc:"a task without it is refused"`
	Default  *Value    `toml:"default" doc:"its value where it is not given"`
}

// UnmarshalString reads the short form, the type alone.
func (p *Param) UnmarshalString(text string) error { return p.Type.UnmarshalText([]byte(text)) }

// check returns what is wrong with the default.
func (p Param) check() error {
	if p.Default == nil {
		return nil
	}
	if p.Required {
		return errors.New("a parameter that is required needs no default")
	}
	_, err := p.Type.parse(p.Default.text)
	return err
}

// Value is a value in the configuration, of any type.
type Value struct{ text string }

// UnmarshalTOML keeps a string as it is and anything else as JSON.
func (v *Value) UnmarshalTOML(raw any) error {
	if text, ok := raw.(string); ok {
		v.text = text
		return nil
	}
	text, err := json.Marshal(raw)
	v.text = string(text)
	return err
}

// MarshalText returns the value as it would be given on a command line.
func (v Value) MarshalText() ([]byte, error) { return []byte(v.text), nil }

// JSONTypes names what the JSON schema of a configuration admits.
func (v Value) JSONTypes() []string { return []string{"string", "number", "boolean", "array"} }

// ParamType is the type of a parameter.
type ParamType string

// The types of parameters.
const (
	TypeInt    ParamType = "int"
	TypeFloat  ParamType = "float"
	TypeString ParamType = "string"
	TypeBool   ParamType = "bool"
	TypeArray  ParamType = "array"
)

// paramTypes lists all types.
func paramTypes() []ParamType {
	return []ParamType{TypeInt, TypeFloat, TypeString, TypeBool, TypeArray}
}

// UnmarshalText reads the name of a type.
func (t *ParamType) UnmarshalText(text []byte) error {
	if !slices.Contains(paramTypes(), ParamType(text)) {
		return fmt.Errorf("invalid type %q: want one of %q", text, paramTypes())
	}
	*t = ParamType(text)
	return nil
}

// phrase returns the type with its article.
func (t ParamType) phrase() string {
	switch t {
	case TypeInt:
		return "an integer"
	case TypeFloat:
		return "a number"
	case TypeBool:
		return "true or false"
	case TypeArray:
		return "an array"
	case TypeString:
		return "a string"
	default:
		return "a " + string(t)
	}
}

// parse reads a value as it is given on a command line.
func (t ParamType) parse(text string) (json.RawMessage, error) {
	if t == TypeString {
		return json.Marshal(text)
	}
	raw := json.RawMessage(strings.TrimSpace(text))
	if !json.Valid(raw) {
		return nil, fmt.Errorf("want %s, have %q", t.phrase(), shorten(text))
	}
	return raw, t.check(raw)
}

// check checks a JSON value.
func (t ParamType) check(raw json.RawMessage) error {
	have := jsonType(raw)
	switch t {
	case TypeInt:
		if have == "a number" {
			if _, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
				return nil
			}
			have = string(raw)
		}
	case TypeFloat:
		if have == "a number" {
			if n, err := strconv.ParseFloat(string(raw), 64); err == nil && !math.IsInf(n, 0) {
				return nil
			}
			have = string(raw)
		}
	case TypeBool, TypeString, TypeArray:
		if have == t.phrase() {
			return nil
		}
	}
	return fmt.Errorf("want %s, have %s", t.phrase(), shorten(have))
}

// jsonType names the type of a JSON value.
func jsonType(raw json.RawMessage) string {
	switch raw[0] {
	case '"':
		return "a string"
	case '[':
		return "an array"
	case '{':
		return "an object"
	case 't', 'f':
		return "true or false"
	case 'n':
		return "null"
	default:
		return "a number"
	}
}

// shorten cuts a value for a message.
func shorten(text string) string {
	if len(text) <= 40 {
		return text
	}
	return strings.ToValidUTF8(text[:40], "") + "..."
}

// CheckParams checks the parameters of a task of some type, a JSON object or
// nothing, and returns them with the defaults filled in. The error names the type
// and every parameter that is wrong; it is a fault.NotFound for an unknown type,
// else a fault.Usage.
func (c Config) CheckParams(typ string, params json.RawMessage) (json.RawMessage, error) {
	t, err := c.find(typ)
	if err != nil {
		return nil, err
	}
	return t.complete(params)
}

// complete checks parameters and fills in defaults.
func (t Type) complete(params json.RawMessage) (json.RawMessage, error) {
	params = bytes.TrimSpace(params)
	if len(params) == 0 {
		params = json.RawMessage("{}")
	}
	if len(params) > MaxParams {
		return nil, fmt.Errorf("its parameters have %d bytes, at most %d are allowed", len(params), MaxParams)
	}
	if !utf8.Valid(params) {
		return nil, errors.New("its parameters are not valid UTF-8; binary data can be given in base64")
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(params, &values); err != nil || values == nil {
		return nil, fmt.Errorf("its parameters are not a JSON object%s", because(err))
	}
	if len(t.Params) == 0 {
		return compact(params)
	}
	if err := t.checkAll(values); err != nil {
		return nil, err
	}
	return t.fill(params, values)
}

// because returns the cause of a syntax error.
func because(err error) string {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Sprintf(": %v at byte %d", syntax, syntax.Offset)
	}
	return ""
}

// checkAll checks the parameters against the declared ones.
func (t Type) checkAll(values map[string]json.RawMessage) error {
	var wrong []string
	for _, param := range slices.Sorted(maps.Keys(values)) {
		declared, known := t.Params[param]
		if !known {
			near := name.DidYouMean(param, slices.Sorted(maps.Keys(t.Params)))
			wrong = append(wrong, fmt.Sprintf("there is no parameter %q%s", shorten(param), near))
			continue
		}
		if err := declared.Type.check(values[param]); err != nil {
			wrong = append(wrong, fmt.Sprintf("parameter %q: %v", param, err))
		}
	}
	for _, param := range slices.Sorted(maps.Keys(t.Params)) {
		if _, given := values[param]; t.Params[param].Required && !given {
			wrong = append(wrong, fmt.Sprintf("parameter %q is missing", param))
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return errors.New(strings.Join(wrong, "; "))
}

// fill adds the defaults of the parameters that are not given.
func (t Type) fill(params json.RawMessage, values map[string]json.RawMessage) (json.RawMessage, error) {
	missing := false
	for param, declared := range t.Params {
		if _, given := values[param]; given || declared.Default == nil {
			continue
		}
		value, err := declared.Type.parse(declared.Default.text)
		if err != nil {
			return nil, err
		}
		values[param] = value
		missing = true
	}
	if !missing {
		return compact(params)
	}
	return json.Marshal(values)
}

func compact(params json.RawMessage) (json.RawMessage, error) {
	var b bytes.Buffer
	err := json.Compact(&b, params)
	return b.Bytes(), err
}

// ParseParam reads a parameter as it is given on a command line: as the declared
// type, or as a string where none is declared.
func (c Config) ParseParam(typ, param, text string) (json.RawMessage, error) {
	declared, known := c.Types[typ].Params[param]
	if !known {
		declared.Type = TypeString
	}
	value, err := declared.Type.parse(text)
	if err != nil {
		return nil, fmt.Errorf("parameter %q: %w", param, err)
	}
	return value, nil
}
