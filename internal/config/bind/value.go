package bind

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"procops/internal/name"
	"procops/internal/unit"
)

// tomlReader is a type that takes whatever value stands in the file.
type tomlReader interface{ UnmarshalTOML(any) error }

var errNotCustom = errors.New("the type does not read its values itself")

// setCustom fills a v whose type reads its values itself; for others it returns
// errNotCustom.
func setCustom(v reflect.Value, raw any) error {
	switch reader := v.Addr().Interface().(type) {
	case tomlReader:
		return reader.UnmarshalTOML(raw)
	case *unit.Duration:
		return setQuantity(reader, raw, `a duration such as "10s"`)
	case *unit.Size:
		return setQuantity(reader, raw, `a size such as "256M"`)
	case encoding.TextUnmarshaler:
		text, ok := raw.(string)
		if !ok {
			return wrongType("a string", raw)
		}
		return reader.UnmarshalText([]byte(text))
	}
	return errNotCustom
}

// setQuantity fills a quantity, which may be written as a plain number.
func setQuantity(q encoding.TextUnmarshaler, raw any, want string) error {
	switch raw := raw.(type) {
	case string:
		return q.UnmarshalText([]byte(raw))
	case int64:
		return q.UnmarshalText(strconv.AppendInt(nil, raw, 10))
	case float64:
		return q.UnmarshalText(strconv.AppendFloat(nil, raw, 'f', -1, 64))
	}
	return wrongType(want, raw)
}

// setScalar fills a string, a boolean or a number.
func setScalar(v reflect.Value, raw any) error {
	switch v.Kind() {
	case reflect.String:
		if s, ok := raw.(string); ok {
			v.SetString(s)
			return nil
		}
		return wrongType("a string", raw)
	case reflect.Bool:
		if b, ok := raw.(bool); ok {
			v.SetBool(b)
			return nil
		}
		return wrongType("true or false", raw)
	case reflect.Int, reflect.Int64:
		if n, ok := raw.(int64); ok {
			v.SetInt(n)
			return nil
		}
		return wrongType("an integer", raw)
	case reflect.Float64:
		switch n := raw.(type) {
		case float64:
			v.SetFloat(n)
			return nil
		case int64:
			v.SetFloat(float64(n))
			return nil
		}
		return wrongType("a number", raw)
	default:
		return fmt.Errorf("cannot be set: its type is %s", v.Type())
	}
}

// wrongType does not print the value: it may be a secret, and the position
// leads to it.
func wrongType(want string, raw any) error {
	return fmt.Errorf("want %s, have %s", want, describe(raw))
}

func describe(raw any) string {
	switch raw.(type) {
	case string:
		return "a string"
	case int64:
		return "an integer"
	case float64:
		return "a number with a fraction"
	case bool:
		return "a boolean"
	case map[string]any:
		return "a table"
	case []any:
		return "a list"
	case []map[string]any:
		return "a list of tables"
	case time.Time:
		return "a date or time"
	}
	return fmt.Sprintf("%T", raw)
}

// readsText reports whether v's type reads its values itself.
func readsText(v reflect.Value) bool {
	switch v.Addr().Interface().(type) {
	case tomlReader, encoding.TextUnmarshaler:
		return true
	}
	return false
}

// setText fills v from the text of a tag.
func setText(v reflect.Value, text string) error {
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		return setText(v.Elem(), text)
	}
	if readsText(v) {
		return setCustom(v, text)
	}
	switch v.Kind() {
	case reflect.Slice:
		return setTextList(v, text)
	case reflect.String:
		v.SetString(text)
		return nil
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		v.SetBool(b)
		return err
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, 64)
		v.SetInt(n)
		return err
	case reflect.Float64:
		n, err := strconv.ParseFloat(text, 64)
		v.SetFloat(n)
		return err
	default:
		return fmt.Errorf("its type is %s", v.Type())
	}
}

func setTextList(v reflect.Value, text string) error {
	var parts []string
	if text != "" {
		parts = strings.Split(text, ",")
	}
	v.Set(reflect.MakeSlice(v.Type(), len(parts), len(parts)))
	for i, part := range parts {
		if err := setText(v.Index(i), part); err != nil {
			return err
		}
	}
	return nil
}

// admits returns an error if v breaks a constraint of the field.
func (f *Field) admits(v reflect.Value) error {
	if f.Required && v.Kind() == reflect.String && v.Len() == 0 {
		return errors.New("it is empty")
	}
	if f.Enum != nil {
		return oneOf(v.String(), f.Enum)
	}
	low, err := f.beyond(v, f.Min, -1)
	if err != nil {
		return err
	}
	high, err := f.beyond(v, f.Max, 1)
	if err != nil {
		return err
	}
	switch {
	case !low && !high:
		return nil
	case f.Max == "":
		return fmt.Errorf("must be at least %s", f.Min)
	case f.Min == "":
		return fmt.Errorf("must be at most %s", f.Max)
	}
	return fmt.Errorf("must be from %s to %s", f.Min, f.Max)
}

// beyond reports whether v is less (side -1) or more (side 1) than limit, or is
// not a number at all.
func (f *Field) beyond(v reflect.Value, limit string, side int) (bool, error) {
	if limit == "" {
		return false, nil
	}
	bound := reflect.New(v.Type()).Elem()
	if err := setText(bound, limit); err != nil {
		return false, fmt.Errorf("cannot use the limit %q: %w", limit, err)
	}
	if v.CanFloat() {
		n, most := v.Float(), bound.Float()
		return math.IsNaN(n) || side < 0 && n < most || side > 0 && n > most, nil
	}
	n, most := v.Int(), bound.Int()
	return side < 0 && n < most || side > 0 && n > most, nil
}

// oneOf returns an error if s is not one of values.
func oneOf(s string, values []string) error {
	quoted := make([]string, len(values))
	for i, value := range values {
		if s == value {
			return nil
		}
		quoted[i] = strconv.Quote(value)
	}
	last := len(quoted) - 1
	list := strings.Join(quoted[:last], ", ") + " or " + quoted[last]
	return fmt.Errorf("invalid value %q: want %s%s", s, list, name.DidYouMean(s, values))
}
