package bind

import (
	"reflect"
	"strings"
)

// Field is one key of a table, as the tags of a struct's field describe it.
//
//	toml:"name"          the key; "*" takes every other key whose value is a table; "-" or nothing: no key
//	doc:"what it means"  for the reference
//	default:"text"       its value if it is absent; the elements of a list are separated by commas
//	required:"true"      it cannot be absent, nor an empty string
//	enum:"a,b,c"         the values that a string may have
//	path:"true"          a path of a file, relative to the directory of the file that it stands in
//	min:"0" max:"1"      the range of a number, a duration or a size, or of each in a list
type Field struct {
	Name     string
	Doc      string
	Default  string
	Filled   bool // there is a default
	Required bool
	Rest     bool // its name is "*"
	Path     bool // relative to its file
	Enum     []string
	Min, Max string
	Type     reflect.Type
	Index    []int // in the struct, as reflect's FieldByIndex takes it
}

// Fields returns the keys of the table that a struct type describes, in the
// order in which they are declared, and then those of the structs that it embeds.
func Fields(t reflect.Type) []Field {
	fields := make([]Field, 0, t.NumField())
	var embedded []Field
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("toml")
		if f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct {
			for _, inner := range Fields(f.Type) {
				inner.Index = append([]int{i}, inner.Index...)
				embedded = append(embedded, inner)
			}
			continue
		}
		if name == "" || name == "-" || !f.IsExported() {
			continue
		}
		text, filled := f.Tag.Lookup("default")
		field := Field{
			Name:     name,
			Doc:      f.Tag.Get("doc"),
			Default:  text,
			Filled:   filled,
			Required: f.Tag.Get("required") == "true",
			Rest:     name == "*",
			Path:     f.Tag.Get("path") == "true",
			Min:      f.Tag.Get("min"),
			Max:      f.Tag.Get("max"),
			Type:     f.Type,
			Index:    f.Index,
		}
		if enum := f.Tag.Get("enum"); enum != "" {
			field.Enum = strings.Split(enum, ",")
		}
		fields = append(fields, field)
	}
	return append(fields, embedded...)
}
