package procfile

import (
	"slices"

	"procops/internal/config/source"
	"procops/internal/dotenv"
)

// variable is a line of a file with variables.
type variable struct {
	name, value string
	at          source.Position
}

// addEnv adds the variables of a file.
func (c *converter) addEnv(file, text string) {
	list, wrong := dotenv.Parse(text)
	for _, line := range wrong {
		c.fail(source.Position{File: file, Line: line, Column: 1}, "%w", dotenv.ErrSyntax)
	}
	for _, v := range list {
		at := source.Position{File: file, Line: v.Line, Column: 1}
		c.env = merge(c.env, []variable{{name: v.Name, value: v.Value, at: at}})
	}
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
