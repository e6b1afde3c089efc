package procfile

import (
	"regexp"
	"slices"
	"strings"

	"procops/internal/config/source"
)

// variable is a line of a file with variables.
type variable struct {
	name, value string
	at          source.Position
}

// assignment is a line NAME=VALUE; "export" before it is for shells that read
// the same file.
const assignment = `^(?:export[ \t]+)?([A-Za-z0-9_]+)=(.*)$`

// addEnv adds the variables of a file. A value in single quotes stands as it
// is; in one in double quotes "\n" is a new line and a backslash protects what
// follows; any other value reaches to the end of the line.
func (c *converter) addEnv(file, text string) {
	pattern := regexp.MustCompile(assignment)
	for number, line := range lines(text) {
		at := source.Position{File: file, Line: number, Column: 1}
		if isIdle(line) {
			continue
		}
		parts := pattern.FindStringSubmatch(line)
		if parts == nil {
			c.fail(at, "want NAME=VALUE")
			continue
		}
		c.env = merge(c.env, []variable{{name: parts[1], value: unquote(parts[2]), at: at}})
	}
}

func unquote(s string) string {
	if len(s) < 2 || s[0] != s[len(s)-1] {
		return s
	}
	inner := s[1 : len(s)-1]
	switch s[0] {
	case '\'':
		return inner
	case '"':
		return unescape(inner)
	}
	return s
}

// unescape reads what stands in double quotes.
func unescape(s string) string {
	var b strings.Builder
	escaped := false
	for _, r := range strings.ReplaceAll(s, `\n`, "\n") {
		if r == '\\' && !escaped {
			escaped = true
			continue
		}
		if escaped && r == '\n' {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
		escaped = false
	}
	if escaped {
		b.WriteByte('\\')
	}
	return b.String()
}

// merge returns the variables with those of more set, each name once.
func merge(list, more []variable) []variable {
	merged := slices.Clone(list)
	for _, v := range more {
		i := slices.IndexFunc(merged, func(m variable) bool { return m.name == v.name })
		if i < 0 {
			merged = append(merged, v)
		} else {
			merged[i] = v
		}
	}
	return merged
}
