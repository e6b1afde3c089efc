package config

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"procops/internal/config/bind"
	"procops/internal/config/source"
)

// Effective is a configuration as it is in effect: with its defaults, with what
// it includes and with the environment filled in. Secrets are masked. Keys that
// have no default are left out if they are not set.
type Effective struct{ root table }

// table is a table with its keys in order.
type table []entry

type entry struct {
	key   string
	value any // string, bool, int64, float64, []any or table
}

// Effective returns the configuration as it is in effect.
func (c *Config) Effective() Effective {
	d := describer{mask: masker{c.secrets}}
	root, _ := d.structure(reflect.ValueOf(c).Elem())
	return Effective{root}
}

// describer turns the sections back into a tree.
type describer struct{ mask masker }

// structure describes a struct; it returns false if nothing in it is set.
func (d describer) structure(v reflect.Value) (table, bool) {
	var t table
	for _, f := range bind.Fields(v.Type()) {
		if f.Rest {
			rest, _ := d.entries(v.FieldByIndex(f.Index))
			t = append(t, rest...)
			continue
		}
		value, set := d.value(f.Name, v.FieldByIndex(f.Index))
		if set || f.Filled || f.Required {
			t = append(t, entry{f.Name, value})
		}
	}
	return t, len(t) > 0
}

// value describes the value of a key; it returns false if it is the zero value.
func (d describer) value(key string, v reflect.Value) (any, bool) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil, false
		}
		value, _ := d.value(key, v.Elem())
		return value, true
	}
	if v.Kind() == reflect.Interface {
		return d.value(key, v.Elem())
	}
	if m, ok := reflect.TypeAssert[interface{ Masked() string }](v); ok {
		return d.mask.value(key, m.Masked()), !v.IsZero()
	}
	if m, ok := reflect.TypeAssert[encoding.TextMarshaler](v); ok {
		text, err := m.MarshalText()
		if err != nil {
			text = []byte(err.Error())
		}
		return d.mask.value(key, string(text)), !v.IsZero()
	}
	switch v.Kind() {
	case reflect.Struct:
		return d.structure(v)
	case reflect.Map:
		return d.entries(v)
	case reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			list[i], _ = d.value(key, v.Index(i))
		}
		return list, !v.IsNil() // an empty one may say something: no groups
	case reflect.String:
		return d.mask.value(key, v.String()), v.String() != ""
	case reflect.Bool:
		return v.Bool(), v.Bool()
	case reflect.Float64:
		return v.Float(), v.Float() != 0
	default:
		return v.Int(), v.Int() != 0
	}
}

func (d describer) entries(v reflect.Value) (table, bool) {
	values := map[string]reflect.Value{}
	for it := v.MapRange(); it.Next(); {
		values[it.Key().String()] = it.Value()
	}
	var t table
	for _, key := range slices.Sorted(maps.Keys(values)) {
		value, _ := d.value(key, values[key])
		t = append(t, entry{key, value})
	}
	return t, len(t) > 0
}

// MarshalJSON writes the configuration as a JSON object.
func (e Effective) MarshalJSON() ([]byte, error) { return e.root.MarshalJSON() }

// MarshalJSON writes the table as an object with its keys in order.
func (t table) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, e := range t {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(e.key)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(e.value)
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// TOML writes the configuration so that it can be loaded again: with the values
// of secrets lost, otherwise to the same effect.
func (e Effective) TOML() string {
	var b strings.Builder
	writeTable(&b, nil, e.root)
	return b.String()
}

// writeTable writes the keys of a table, and then the tables in it.
func writeTable(b *strings.Builder, path []string, t table) {
	for _, e := range t {
		if _, below := e.value.(table); !below {
			b.WriteString(source.Quote(e.key) + " = " + tomlValue(e.value) + "\n")
		}
	}
	for _, e := range t {
		inner, ok := e.value.(table)
		if !ok {
			continue
		}
		at := slices.Concat(path, []string{source.Quote(e.key)})
		if !allTables(inner) || len(inner) == 0 {
			if b.Len() > 0 {
				b.WriteByte('\n')
			}
			b.WriteString("[" + strings.Join(at, ".") + "]\n")
		}
		writeTable(b, at, inner)
	}
}

func allTables(t table) bool {
	return !slices.ContainsFunc(t, func(e entry) bool {
		_, ok := e.value.(table)
		return !ok
	})
}

// tomlValue writes a value on one line.
func tomlValue(value any) string {
	switch v := value.(type) {
	case string:
		return source.QuoteString(unexpand(v))
	case float64:
		text := strconv.FormatFloat(v, 'f', -1, 64)
		if !strings.Contains(text, ".") {
			text += ".0"
		}
		return text
	case []any:
		items := make([]string, len(v))
		for i := range v {
			items[i] = tomlValue(v[i])
		}
		return "[" + strings.Join(items, ", ") + "]"
	case table:
		items := make([]string, len(v))
		for i, e := range v {
			items[i] = source.Quote(e.key) + " = " + tomlValue(e.value)
		}
		return "{" + strings.Join(items, ", ") + "}"
	}
	return fmt.Sprint(value)
}
