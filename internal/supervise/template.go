package supervise

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"procops/internal/proc"
)

// fill fills {{instance}}, {{index}} and {{name}} in. What else stands in braces
// is left alone: it may be meant for the command, or for a later moment.
func (t instance) fill(text string) string {
	filled, err := t.tryFill(text)
	if err != nil {
		return text // Check has reported it
	}
	return filled
}

func (t instance) tryFill(text string) (string, error) {
	return fillIn(text, func(expr string) (string, bool, error) {
		word, offset := splitWord(expr)
		base := t.number
		switch {
		case word == "name" && offset == "":
			return instanceName(t.of, t.number), true, nil
		case word == "index":
			base--
		case word != "instance":
			return "", false, nil
		}
		n, err := parseOffset(offset)
		if err != nil {
			return "", false, fmt.Errorf("cannot fill in %q: want {{%[2]s}}, or {{%[2]s+N}} or {{%[2]s-N}} with a number N", "{{"+expr+"}}", word)
		}
		return strconv.Itoa(base + n), true, nil
	})
}

// fillIn puts what value says in the place of each {{...}} that it knows.
func fillIn(text string, value func(expr string) (string, bool, error)) (string, error) {
	var b strings.Builder
	for {
		begin := strings.Index(text, "{{")
		if begin < 0 {
			break
		}
		length := strings.Index(text[begin:], "}}")
		if length < 0 {
			break
		}
		filled, known, err := value(text[begin+2 : begin+length])
		switch {
		case err != nil:
			return "", err
		case known:
			b.WriteString(text[:begin] + filled)
			text = text[begin+length+2:]
		default:
			b.WriteString(text[:begin+1]) // in "{{{index}}" the second brace begins it
			text = text[begin+1:]
		}
	}
	b.WriteString(text)
	return b.String(), nil
}

// splitWord divides what stands in braces into the word that it begins with and
// the rest, without blanks.
func splitWord(expr string) (word, rest string) {
	expr = strings.TrimSpace(expr)
	end := strings.IndexFunc(expr, func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '_' })
	if end < 0 {
		return expr, ""
	}
	return expr[:end], strings.TrimSpace(expr[end:])
}

// parseOffset reads "+N", "-N" or nothing.
func parseOffset(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	digits := strings.TrimSpace(text[1:])
	if text[0] != '+' && text[0] != '-' || strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }) >= 0 {
		return 0, strconv.ErrSyntax
	}
	return strconv.Atoi(text[:1] + digits)
}

// anyText reports whether a text at or below a config value is as is says.
func anyText(v reflect.Value, is func(text string) bool) bool {
	switch v.Kind() {
	case reflect.String:
		return is(v.String())
	case reflect.Struct:
		for _, field := range v.Fields() {
			if anyText(field, is) {
				return true
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if anyText(v.Index(i), is) {
				return true
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if anyText(it.Value(), is) {
				return true
			}
		}
	case reflect.Pointer:
		return !v.IsNil() && anyText(v.Elem(), is)
	default:
	}
	return false
}

// rewrite returns a copy of a config value with what f says in the place of each
// text in it. f is told the path of keys and indices from the value; a command
// is one value, all of whose words have its path.
func rewrite(v reflect.Value, path []string, f func(path []string, text string) string) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	out.Set(v)
	switch v.Kind() {
	case reflect.String:
		out.SetString(f(path, v.String()))
	case reflect.Struct:
		rewriteFields(out, v, path, f)
	case reflect.Slice:
		if !v.IsNil() {
			out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
		}
		for i := range v.Len() {
			out.Index(i).Set(rewrite(v.Index(i), elementPath(v.Type(), path, i), f))
		}
	case reflect.Map:
		if !v.IsNil() {
			out.Set(reflect.MakeMap(v.Type()))
		}
		for it := v.MapRange(); it.Next(); {
			out.SetMapIndex(it.Key(), rewrite(it.Value(), append(slices.Clip(path), it.Key().String()), f))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			out.Set(reflect.New(v.Type().Elem()))
			out.Elem().Set(rewrite(v.Elem(), path, f))
		}
	default:
	}
	return out
}

// rewriteFields does so with the fields of a struct.
func rewriteFields(out, v reflect.Value, path []string, f func(path []string, text string) string) {
	for i := range v.NumField() {
		key := v.Type().Field(i).Tag.Get("toml")
		switch {
		case v.Type().Field(i).Anonymous:
			out.Field(i).Set(rewrite(v.Field(i), path, f)) // its keys are those of v
		case key != "" && key != "-":
			out.Field(i).Set(rewrite(v.Field(i), append(slices.Clip(path), key), f))
		}
	}
}

func elementPath(list reflect.Type, path []string, i int) []string {
	if list == reflect.TypeFor[proc.Command]() {
		return path
	}
	return append(slices.Clip(path), strconv.Itoa(i))
}
