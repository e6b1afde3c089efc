// Package bind fills structs from the tree of values that a TOML file decodes
// to. Where the TOML library stops at the first value of a wrong type, bind
// goes on and reports every problem, each at its place in the file.
package bind

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"procops/internal/config/source"
	"procops/internal/name"
)

// Table fills the struct that into points to from tree, whose places are in
// root, and calls report for each problem: a key that is unknown or missing, a
// value of a wrong type or out of its range. What is absent gets its default.
// What had a problem is left as it is, so that what refers to it can still be
// checked.
func Table(tree map[string]any, root *source.Node, into any, report func(*source.Error)) {
	b := &binder{root: root, report: report, fields: map[reflect.Type][]Field{}}
	b.table(reflect.ValueOf(into).Elem(), tree, place{node: root})
}

// MissingError says that a key is required and absent.
type MissingError struct{ text string }

func (e *MissingError) Error() string { return e.text }

type binder struct {
	root   *source.Node
	report func(*source.Error)
	fields map[reflect.Type][]Field
}

// place is where in the files a value stands.
type place struct {
	node *source.Node
	path []string
}

func (p place) below(key string) place {
	return place{node: p.node.Get(key), path: append(slices.Clip(p.path), key)}
}

// fail reports what is wrong with the value at p.
func (b *binder) fail(p place, err error) {
	b.report(source.Errorf(b.root.Near(p.path...), "%s: %w", b.root.Label(p.path...), err))
}

// table fills a struct. A nil tree is a table that is absent: it gets its
// defaults and misses nothing.
func (b *binder) table(v reflect.Value, tree map[string]any, at place) {
	fields := b.fieldsOf(v.Type())
	for i := range fields {
		f := &fields[i]
		value := v.FieldByIndex(f.Index)
		raw, present := tree[f.Name]
		switch {
		case f.Rest:
			b.rest(value, f, fields, tree, at)
		case present:
			b.value(value, f, raw, at.below(f.Name))
		case f.Required && tree != nil:
			err := &MissingError{"missing key " + b.root.Label(at.below(f.Name).path...)}
			b.report(&source.Error{Position: b.root.Near(at.path...), Err: err})
		default:
			b.fill(value, f, at)
		}
	}
	b.unknown(fields, tree, at)
}

func (b *binder) fieldsOf(t reflect.Type) []Field {
	fields, ok := b.fields[t]
	if !ok {
		fields = Fields(t)
		b.fields[t] = fields
	}
	return fields
}

// fill gives an absent value its default.
func (b *binder) fill(v reflect.Value, f *Field, at place) {
	if v.Kind() == reflect.Struct && !readsText(v) {
		b.table(v, nil, at.below(f.Name))
	}
	if !f.Filled {
		return
	}
	if err := setText(v, f.Default); err != nil {
		b.fail(at.below(f.Name), fmt.Errorf("cannot use the default %q: %w", f.Default, err))
	}
}

// rest fills a map from the tables that no other field takes.
func (b *binder) rest(v reflect.Value, f *Field, fields []Field, tree map[string]any, at place) {
	for _, key := range slices.Sorted(maps.Keys(tree)) {
		table, ok := tree[key].(map[string]any)
		if ok && !named(fields, key) {
			b.entry(v, f, key, table, at.below(key))
		}
	}
}

// unknown reports the keys that no field takes.
func (b *binder) unknown(fields []Field, tree map[string]any, at place) {
	rest := slices.ContainsFunc(fields, func(f Field) bool { return f.Rest })
	var known []string
	for key, raw := range tree {
		_, table := raw.(map[string]any)
		if named(fields, key) || rest && table {
			continue
		}
		if known == nil {
			known = names(fields)
		}
		p := at.below(key)
		near := name.DidYouMean(key, known)
		b.report(source.Errorf(p.node.Place(), "unknown key %s%s", b.root.Label(p.path...), near))
	}
}

func named(fields []Field, key string) bool {
	return slices.ContainsFunc(fields, func(f Field) bool { return f.Name == key && !f.Rest })
}

func names(fields []Field) []string {
	var list []string
	for _, f := range fields {
		if !f.Rest {
			list = append(list, f.Name)
		}
	}
	return list
}

// value fills v from raw; a value, or each value in a list, must keep the
// constraints of f.
func (b *binder) value(v reflect.Value, f *Field, raw any, at place) {
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	err := setCustom(v, raw)
	if errors.Is(err, errNotCustom) {
		switch v.Kind() {
		case reflect.Struct:
			b.structure(v, raw, at)
			return
		case reflect.Map:
			b.entries(v, f, raw, at)
			return
		case reflect.Slice:
			b.list(v, f, raw, at)
			return
		default:
			err = setScalar(v, raw)
		}
	}
	if err == nil {
		err = f.admits(v)
	}
	if err == nil && f.Path {
		err = anchor(v, at)
	}
	if err != nil {
		b.fail(at, err)
	}
}

// anchor makes a relative path absolute, from the directory of its file. A type
// that holds several does it itself.
func anchor(v reflect.Value, at place) error {
	if at.node == nil {
		return nil
	}
	dir, err := filepath.Abs(filepath.Dir(at.node.Value.File))
	if err != nil {
		return err
	}
	if several, ok := reflect.TypeAssert[interface{ Anchor(dir string) }](v); ok {
		several.Anchor(dir)
		return nil
	}
	path := v.String()
	if path == "" {
		return nil
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	v.SetString(filepath.Clean(path))
	return nil
}

func (b *binder) structure(v reflect.Value, raw any, at place) {
	short, hasShort := reflect.TypeAssert[interface{ UnmarshalString(string) error }](v.Addr())
	table, isTable := raw.(map[string]any)
	text, isText := raw.(string)
	list, isList := raw.([]any)
	byList, hasList := reflect.TypeAssert[interface{ UnmarshalList([]any) error }](v.Addr())
	switch {
	case isTable:
		b.table(v, table, at)
	case isText && hasShort:
		b.table(v, nil, at)
		if err := short.UnmarshalString(text); err != nil {
			b.fail(at, err)
		}
	case isList && hasList:
		b.table(v, nil, at)
		if err := byList.UnmarshalList(list); err != nil {
			b.fail(at, err)
		}
	case hasList:
		b.fail(at, wrongType("a string, a list or a table", raw))
	case hasShort:
		b.fail(at, wrongType("a string or a table", raw))
	default:
		b.fail(at, wrongType("a table", raw))
	}
}

func (b *binder) entries(v reflect.Value, f *Field, raw any, at place) {
	table, ok := raw.(map[string]any)
	if !ok {
		b.fail(at, wrongType("a table", raw))
		return
	}
	for _, key := range slices.Sorted(maps.Keys(table)) {
		b.entry(v, f, key, table[key], at.below(key))
	}
}

// entry adds a value to a map.
func (b *binder) entry(v reflect.Value, f *Field, key string, raw any, at place) {
	if err := checkKey(v.Type().Elem(), key); err != nil {
		b.report(source.Errorf(at.node.Place(), "%s: %w", b.root.Label(at.path...), err))
	}
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	value := reflect.New(v.Type().Elem()).Elem()
	b.value(value, f, raw, at)
	v.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), value)
}

func (b *binder) list(v reflect.Value, f *Field, raw any, at place) {
	list := reflect.ValueOf(raw)
	if list.Kind() != reflect.Slice {
		b.fail(at, wrongType("a list", raw))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), list.Len(), list.Len()))
	for i := range list.Len() {
		b.value(v.Index(i), f, list.Index(i).Interface(), at.below(strconv.Itoa(i)))
	}
}

// checkKey checks a key of a map: the name of a table, or of an environment
// variable or the like.
func checkKey(element reflect.Type, key string) error {
	if element.Kind() == reflect.Struct {
		return name.Check(key)
	}
	if key == "" || strings.ContainsAny(key, "=\x00") {
		return fmt.Errorf("the name %q cannot be empty or have \"=\" or NUL in it", key)
	}
	return nil
}
