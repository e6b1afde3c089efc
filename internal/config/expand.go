package config

import (
	"strings"

	"procops/internal/config/source"
	"procops/internal/fault"
)

// expander fills variables of the environment into the strings of a file.
type expander struct {
	env    Environ
	report func(*source.Error)
}

// value returns v with ${NAME} and ${NAME:-default} in its strings filled in;
// it changes tables and lists in place. n says where v stands.
func (e expander) value(v any, n *source.Node) any {
	switch v := v.(type) {
	case string:
		filled, err := expand(v, e.env)
		if err != nil {
			e.report(&source.Error{Position: n.Near(), Err: err})
		}
		return filled
	case map[string]any:
		for key := range v {
			v[key] = e.value(v[key], n.Get(key))
		}
	case []any:
		for i := range v {
			v[i] = e.value(v[i], element(n, i))
		}
	case []map[string]any:
		for i := range v {
			e.value(v[i], element(n, i))
		}
	}
	return v
}

// element returns the i-th element of a list, or nil.
func element(n *source.Node, i int) *source.Node {
	if n == nil || i >= len(n.Elements) {
		return nil
	}
	return n.Elements[i]
}

// expand fills in the variables in s. "$${" stands for "${"; a "$" before
// anything else is left alone, for shells. ${NAME:-default} is the default if
// the variable is empty, too, as in a shell.
func expand(s string, env Environ) (string, error) {
	if !strings.Contains(s, "${") {
		return s, nil
	}
	var b strings.Builder
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			b.WriteString(s)
			return b.String(), nil
		}
		if i > 0 && s[i-1] == '$' {
			b.WriteString(s[:i-1] + "${")
			s = s[i+2:]
			continue
		}
		b.WriteString(s[:i])
		body, after, closed := strings.Cut(s[i+2:], "}")
		if !closed {
			return "", forShell(`there is a "${" without a "}"`)
		}
		value, err := lookUp(body, env)
		if err != nil {
			return "", err
		}
		b.WriteString(value)
		s = after
	}
}

// lookUp returns what stands for ${body}.
func lookUp(body string, env Environ) (string, error) {
	name, fallback, hasFallback := strings.Cut(body, ":-")
	if !isVariable(name) {
		return "", forShell("cannot fill in %q: want ${NAME} or ${NAME:-default}", "${"+body+"}")
	}
	value, ok := env(name)
	switch {
	case hasFallback && value == "":
		return fallback, nil
	case ok:
		return value, nil
	}
	return "", forShell("cannot fill in %q: the environment has no variable %q", "${"+body+"}", name)
}

// forShell returns an error with the hint for those who meant the shell's
// variables.
func forShell(format string, args ...any) error {
	return fault.New(fault.Usage, format, args...).
		WithHint("write $${...} for what a shell shall expand, and ${NAME:-default} for a variable that may be absent")
}

// isVariable reports whether s is a name that a shell could use.
func isVariable(s string) bool {
	for i, r := range s {
		switch {
		case r == '_', 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z':
		case '0' <= r && r <= '9' && i > 0:
		default:
			return false
		}
	}
	return s != ""
}

// unexpand writes s so that expand returns it as it is.
func unexpand(s string) string { return strings.ReplaceAll(s, "${", "$${") }
