package config

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"

	"procops/internal/config/bind"
	"procops/internal/name"
	"procops/internal/unit"
)

// schemaDialect is the newest dialect that the common TOML plug-ins of editors
// understand.
const schemaDialect = "http://json-schema.org/draft-07/schema#"

// object is a JSON object; encoding/json sorts its keys.
type object = map[string]any

// Schema returns the JSON schema of a procops.toml, by which editors complete
// keys and mark mistakes.
func Schema() ([]byte, error) {
	schema := structSchema(reflect.TypeFor[Config]())
	schema["$schema"] = schemaDialect
	schema["title"] = "procops.toml"
	text, err := json.MarshalIndent(schema, "", "  ")
	return append(text, '\n'), err
}

func structSchema(t reflect.Type) object {
	properties := object{}
	var required []string
	schema := object{"type": "object", "additionalProperties": false}
	for _, f := range bind.Fields(t) {
		if f.Rest {
			schema["additionalProperties"] = typeSchema(f.Type.Elem())
			continue
		}
		properties[f.Name] = fieldSchema(&f)
		if f.Required {
			required = append(required, f.Name)
		}
	}
	schema["properties"] = properties
	if required != nil {
		schema["required"] = required
	}
	return schema
}

func fieldSchema(f *bind.Field) object {
	schema := typeSchema(f.Type)
	schema["description"] = f.Doc
	constrained := schema
	if items, ok := schema["items"].(object); ok {
		constrained = items
	}
	if f.Enum != nil {
		constrained["enum"] = f.Enum
	}
	for key, limit := range map[string]string{"minimum": f.Min, "maximum": f.Max} {
		if n, err := strconv.ParseFloat(limit, 64); err == nil {
			constrained[key] = n
		}
	}
	if f.Filled {
		schema["default"] = typed(f.Type, f.Default)
	}
	return schema
}

// typed returns the text of a default as a value of its type.
func typed(t reflect.Type, text string) any {
	switch t.Kind() {
	case reflect.Slice:
		if text == "" {
			return []any{}
		}
		return []any{typed(t.Elem(), text)}
	case reflect.Bool:
		return text == "true"
	case reflect.Int, reflect.Float64:
		if n, err := strconv.ParseFloat(text, 64); err == nil {
			return n
		}
	default:
	}
	return text
}

// typeSchema returns the schema of a type's values.
func typeSchema(t reflect.Type) object {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch value := reflect.New(t).Interface().(type) {
	case *unit.Duration, *unit.Size:
		return object{"type": []string{"string", "number"}}
	case interface{ JSONTypes() []string }:
		return object{"type": value.JSONTypes()}
	case interface{ UnmarshalTOML(any) error }:
		if t.Kind() == reflect.Map {
			return object{"type": "object"}
		}
		return object{"anyOf": []object{{"type": "string"}, {"type": "array", "items": object{"type": "string"}}}}
	case encoding.TextUnmarshaler:
		return object{"type": "string"}
	case interface {
		UnmarshalString(text string) error
		UnmarshalList(list []any) error
	}:
		return object{"anyOf": []object{{"type": "string"}, {"type": "array"}, structSchema(t)}}
	case interface{ UnmarshalString(string) error }:
		return object{"anyOf": []object{{"type": "string"}, structSchema(t)}}
	default:
		return kindSchema(t, value)
	}
}

func kindSchema(t reflect.Type, value any) object {
	switch t.Kind() {
	case reflect.Struct:
		return structSchema(t)
	case reflect.Map:
		schema := object{"type": "object", "additionalProperties": typeSchema(t.Elem())}
		if t.Elem().Kind() == reflect.Struct {
			schema["propertyNames"] = object{"pattern": name.Pattern}
		}
		return schema
	case reflect.Slice:
		return object{"type": "array", "items": typeSchema(t.Elem())}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int:
		return object{"type": "integer"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.String:
		return object{"type": "string"}
	default:
		panic(fmt.Sprintf("no schema for a key of type %T", value))
	}
}
