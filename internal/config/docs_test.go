package config_test

import (
	"encoding"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"procops/internal/config"
	"procops/internal/config/bind"
)

// update makes the tests of generated documents write them instead:
//
//	go test ./internal/config -run Docs -update
var update = flag.Bool("update", false, "write the generated documents")

const (
	reference = "../../docs/reference/config.md"
	schema    = "../../docs/reference/procops.schema.json"
	begin     = "<!-- The tables are generated from the code: go test ./internal/config -run Docs -update -->\n"
)

// TestDocsReference checks that the reference has every key as the code has it.
func TestDocsReference(t *testing.T) {
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	written, _, found := strings.Cut(string(text), begin)
	if !found {
		t.Fatalf("%q has no line %q", reference, begin)
	}
	g := referenceGuide{documented: map[reflect.Type]string{}}
	g.table("", reflect.TypeFor[config.Config](), "")
	sameFile(t, reference, written+begin+g.String())
}

func TestDocsSchema(t *testing.T) {
	text, err := config.Schema()
	if err != nil {
		t.Fatal(err)
	}
	sameFile(t, schema, string(text))
}

func sameFile(t *testing.T, path, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s is not up to date (%v): run `go test ./internal/config -run Docs -update`", filepath.Base(path), err)
	}
}

// TestDocsComplete checks that every key says what it means.
func TestDocsComplete(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		if typ = below(typ); typ.Kind() != reflect.Struct || seen[typ] {
			return
		}
		seen[typ] = true
		for _, f := range bind.Fields(typ) {
			if f.Doc == "" {
				t.Errorf("key %q of %s has no doc tag", f.Name, typ)
			}
			walk(f.Type)
		}
	}
	walk(reflect.TypeFor[config.Config]())
	if len(seen) < 10 {
		t.Errorf("only %d tables were looked at", len(seen))
	}
}

// below returns the type of a value in maps, lists and pointers.
func below(typ reflect.Type) reflect.Type {
	for typ.Kind() == reflect.Map || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	return typ
}

// referenceGuide writes the tables of the reference.
type referenceGuide struct {
	strings.Builder
	documented map[reflect.Type]string // the header under which a struct stands
}

func (g *referenceGuide) table(path string, typ reflect.Type, doc string) {
	header := path
	if path == "" {
		header = "Top of the file"
	} else {
		header = "`" + header + "`"
	}
	fmt.Fprintf(g, "\n## %s\n\n", header)
	if doc != "" {
		fmt.Fprintf(g, "%s.\n\n", sentence(doc))
	}
	if other, ok := g.documented[typ]; ok {
		fmt.Fprintf(g, "The same keys as in %s.\n", other)
		return
	}
	g.documented[typ] = header
	g.WriteString("| key | type | default | meaning |\n|---|---|---|---|\n")
	fields := bind.Fields(typ)
	for i := range fields {
		g.row(&fields[i])
	}
	for i := range fields {
		g.inner(path, &fields[i])
	}
}

func (g *referenceGuide) row(f *bind.Field) {
	if typ := below(f.Type); f.Rest || typ.Kind() == reflect.Struct && !readsText(typ) && f.Type.Kind() != reflect.Slice {
		return // has a table of its own
	}
	doc, fallback, _ := strings.Cut(f.Doc, "; default: ")
	switch {
	case f.Required:
		fallback = "*required*"
	case f.Filled && f.Type.Kind() == reflect.Slice:
		fallback = "`[" + f.Default + "]`"
	case f.Filled && typeName(f.Type) == "string":
		fallback = "`\"" + f.Default + "\"`"
	case f.Filled:
		fallback = "`" + f.Default + "`"
	}
	name := typeName(f.Type)
	if limits := limits(f); limits != "" {
		name += ", " + limits
	}
	escape := strings.NewReplacer("|", `\|`)
	fmt.Fprintf(g, "| `%s` | %s | %s | %s |\n", f.Name, name, escape.Replace(fallback), escape.Replace(doc))
}

func limits(f *bind.Field) string {
	switch {
	case f.Min != "" && f.Max != "":
		return f.Min + " to " + f.Max
	case f.Min != "":
		return "at least " + f.Min
	case f.Max != "":
		return "at most " + f.Max
	}
	return ""
}

// inner writes the table that is a key's value, or the tables in it.
func (g *referenceGuide) inner(path string, f *bind.Field) {
	typ := below(f.Type)
	if typ.Kind() != reflect.Struct || readsText(typ) {
		return
	}
	header := strings.Trim(path, "[]")
	if header != "" {
		header += "."
	}
	if !f.Rest {
		header += f.Name
	}
	switch f.Type.Kind() {
	case reflect.Map:
		header = "[" + strings.TrimSuffix(header, ".") + ".NAME]"
	case reflect.Slice:
		header = "[[" + header + "]]"
	default:
		header = "[" + header + "]"
	}
	g.table(header, typ, f.Doc)
}

func readsText(typ reflect.Type) bool {
	switch reflect.New(typ).Interface().(type) {
	case encoding.TextUnmarshaler, interface{ UnmarshalTOML(any) error }:
		return true
	}
	return false
}

// typeName returns what the reference calls a type.
func typeName(typ reflect.Type) string {
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if _, short := reflect.TypeAssert[interface{ UnmarshalString(string) error }](reflect.New(typ)); short {
		return "name or table"
	}
	if readsText(typ) && typ.Kind() != reflect.String {
		return strings.ToLower(strings.Replace(typ.Name(), "Expression", "cron expression", 1))
	}
	switch typ.Kind() {
	case reflect.Slice:
		return "list of " + strings.Replace(typeName(typ.Elem()), "name or table", "names or table", 1) + "s"
	case reflect.Map:
		return "table of " + typeName(typ.Elem()) + "s"
	case reflect.Struct:
		return "table"
	case reflect.Bool:
		return "boolean"
	case reflect.Int:
		return "integer"
	case reflect.Float64:
		return "number"
	default:
		return "string"
	}
}

func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// TestSchemaKnowsConfig walks the effective starter along the schema: each key
// must be in it.
func TestSchemaKnowsConfig(t *testing.T) {
	text, err := config.Schema()
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	shown, err := json.Marshal(load(t, strings.Replace(everything, `"" = "x", `, "", 1)).Effective())
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := json.Unmarshal(shown, &value); err != nil {
		t.Fatal(err)
	}
	if err := valid(value, root); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{`{"x": 1}`, `{"log": {"level": "x"}}`, `{"log": 5}`, `{"supervise": {"process": {"a": {}}}}`, `{"supervise": {"process": {"a": {"command": "x", "nice": 50}}}}`} {
		var value any
		if err := json.Unmarshal([]byte(bad), &value); err != nil {
			t.Fatal(err)
		}
		if valid(value, root) == nil {
			t.Errorf("the schema lets %s pass", bad)
		}
	}
}

// valid checks a value against the part of JSON schema that Schema uses.
func valid(value any, schema map[string]any) error {
	if choices, ok := schema["anyOf"].([]any); ok {
		for _, choice := range choices {
			if valid(value, asObject(choice)) == nil {
				return nil
			}
		}
		return fmt.Errorf("%v is none of the choices", value)
	}
	if !hasType(value, schema["type"]) {
		return fmt.Errorf("%v is not of type %v", value, schema["type"])
	}
	switch v := value.(type) {
	case map[string]any:
		return validObject(v, schema)
	case []any:
		for _, item := range v {
			if err := valid(item, asObject(schema["items"])); err != nil {
				return err
			}
		}
	case string:
		if enum, ok := schema["enum"].([]any); ok && !strings.Contains(fmt.Sprint(enum), v) {
			return fmt.Errorf("%q is not one of %v", v, enum)
		}
	case float64:
		if most, ok := schema["maximum"].(float64); ok && v > most {
			return fmt.Errorf("%v is more than %v", v, most)
		}
	}
	return nil
}

// asObject returns a JSON object, or an empty one for anything else.
func asObject(v any) map[string]any {
	object, _ := v.(map[string]any)
	return object
}

func hasType(value, types any) bool {
	names := fmt.Sprint(types)
	switch value.(type) {
	case map[string]any:
		return names == "object"
	case []any:
		return names == "array"
	case string:
		return strings.Contains(names, "string")
	case float64:
		return strings.Contains(names, "number") || names == "integer"
	case bool:
		return names == "boolean"
	}
	return false
}

func validObject(object, schema map[string]any) error {
	if required, ok := schema["required"].([]any); ok {
		for _, key := range required {
			if _, ok := object[fmt.Sprint(key)]; !ok {
				return fmt.Errorf("%q is missing", key)
			}
		}
	}
	properties, _ := schema["properties"].(map[string]any)
	for key, value := range object {
		of, ok := properties[key].(map[string]any)
		if _, bounded := schema["additionalProperties"]; !ok && !bounded {
			continue
		}
		if !ok {
			of, ok = schema["additionalProperties"].(map[string]any)
		}
		if !ok {
			return fmt.Errorf("there is no key %q", key)
		}
		if err := valid(value, of); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	return nil
}
