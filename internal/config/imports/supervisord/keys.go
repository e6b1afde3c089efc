package supervisord

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"procops/internal/config/imports"
	"procops/internal/config/imports/ini"
	"procops/internal/config/source"
	"procops/internal/name"
)

// scope is what the names in %(name)s stand for, but for "here", which depends
// on the file.
type scope map[string]value

const envPrefix = "ENV_"

// lookup returns what a name stands for. A variable that no section sets is one
// of the environment, and stays a reference.
func (s scope) lookup(name string) (value, error) {
	if v, ok := s[name]; ok {
		return v, nil
	}
	if variable, ok := strings.CutPrefix(name, envPrefix); ok && isVariable(variable) {
		return textValue(reference(variable)), nil
	}
	return value{}, fmt.Errorf("there is nothing to fill in for %q here", "%("+name+")")
}

// setenv makes variables that a section sets known to what is read after it.
func (s scope) setenv(list []variable) {
	for _, v := range list {
		s[envPrefix+v.name] = textValue(v.value)
	}
}

// isVariable reports whether s is a name that ${s} can have.
func isVariable(s string) bool {
	for i, r := range s {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}

// keys reads the keys of a section. Its methods do not fail: they tell the
// converter what is wrong and return what holds without the key.
type keys struct {
	*converter
	section *ini.Section
	scope   scope
	notes   *[]imports.Note // about the section
}

func (c *converter) keys(section *ini.Section, s scope) keys {
	return keys{converter: c, section: section, scope: s, notes: &c.notes}
}

// at returns where a key stands, or else its section.
func (k keys) at(key string) source.Position {
	if found := k.section.Get(key); found != nil {
		return found.At
	}
	return k.section.At
}

func (k keys) has(key string) bool { return k.section.Get(key) != nil }

func (k keys) fail(key string, err error) {
	k.converter.fail(source.Errorf(k.at(key), "%q in [%s]: %w", key, k.section.Name, err))
}

// note says what is different about a key.
func (k keys) note(key, format string, args ...any) {
	*k.notes = append(*k.notes, imports.Note{At: k.at(key), Text: key + ": " + fmt.Sprintf(format, args...)})
}

// expand fills in names; text is the value of key or part of it.
func (k keys) expand(key, text string) (string, bool) {
	filled, err := format(text, func(name string) (value, error) {
		if name == "here" {
			return textValue(dirOf(k.at(key).File)), nil
		}
		return k.scope.lookup(name)
	})
	if err != nil {
		k.fail(key, err)
	}
	return filled, err == nil
}

// text returns a value with names filled in; variables of the environment stay
// references.
func (k keys) text(key string) (string, bool) {
	found := k.section.Get(key)
	if found == nil {
		return "", false
	}
	text, ok := k.expand(key, found.Value)
	return text, ok && k.writable(key, text)
}

// writable reports whether a text can be written as a Filled: "$" before a
// reference would make it a plain "${".
func (k keys) writable(key, text string) bool {
	parts := strings.Split(text, mark)
	for i := 2; i < len(parts); i += 2 {
		if strings.HasSuffix(parts[i-2], "$") {
			k.fail(key, fmt.Errorf("a %q cannot stand before %q", "$", "%("+envPrefix+parts[i-1]+")s"))
			return false
		}
	}
	return true
}

// known returns text with its references filled in from the environment of the
// import.
func (k keys) known(text string) (string, error) {
	parts := strings.Split(text, mark)
	for i := 1; i < len(parts); i += 2 {
		value, ok := k.opt.Environ(parts[i])
		if !ok {
			return "", fmt.Errorf("its value is needed now: the environment has no variable %q", parts[i])
		}
		parts[i] = value
	}
	return strings.Join(parts, ""), nil
}

// literal returns a value with everything filled in, variables too.
func (k keys) literal(key string) (string, bool) {
	text, ok := k.text(key)
	if !ok {
		return "", false
	}
	filled, err := k.known(text)
	if err != nil {
		k.fail(key, err)
		return "", false
	}
	if filled != text {
		k.note(key, "the present value of the variable is used")
	}
	return filled, true
}

// get reads a value of a type; fallback holds if the key is absent.
func get[T any](k keys, key string, fallback T, parse func(string) (T, error)) T {
	text, ok := k.literal(key)
	if !ok {
		return fallback
	}
	parsed, err := parse(text)
	if err != nil {
		k.fail(key, err)
		return fallback
	}
	return parsed
}

// number reads a number that must not be negative.
func (k keys) number(key string, fallback int) int {
	n := get(k, key, fallback, parseInteger)
	return max(n, 0)
}

// environment reads a list of variables.
func (k keys) environment() []variable {
	text, ok := k.text("environment")
	if !ok {
		return nil
	}
	list, err := splitPairs(text)
	if err != nil {
		k.fail("environment", err)
		return nil
	}
	for _, v := range list {
		if strings.Contains(v.name, mark) {
			k.fail("environment", errors.New("the name of a variable cannot come from the environment"))
			return nil
		}
		if !k.writable("environment", v.value) {
			return nil
		}
	}
	return list
}

// unknown notes the keys that supervisord does not know.
func (k keys) unknown(known []string) {
	for _, key := range k.section.Keys {
		near, ok := name.Nearest(key.Name, known)
		switch {
		case slices.Contains(known, key.Name):
		case ok:
			k.note(key.Name, "supervisord ignores this key, and so does the import; did you mean %q?", near)
		default:
			k.note(key.Name, "supervisord ignores this key, and so does the import")
		}
	}
}
