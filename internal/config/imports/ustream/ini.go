package ustream

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"procops/internal/config/imports"
	"procops/internal/config/source"
)

// setting is a key of a file with its value, in which ${NAME} is a variable of the
// environment and all else stands for itself.
type setting struct {
	key   string
	value imports.Filled
	at    source.Position
}

// parse reads a text as PHP's parse_ini_file does: sections mean nothing, and the last
// of several equal keys counts. https://www.php.net/parse_ini_file
func parse(file, text string) (list []setting, problems []*source.Error) {
	number := 0
	for line := range strings.Lines(text) {
		number++
		at := source.Position{File: file, Line: number, Column: 1}
		line = strings.TrimSpace(line)
		if line == "" || line[0] == ';' || line[0] == '[' && strings.Contains(line, "]") {
			continue
		}
		s, err := parseLine(line)
		if err != nil {
			problems = append(problems, source.Errorf(at, "%w", err))
			continue
		}
		s.at = at
		list = append(list, s)
	}
	return list, problems
}

func parseLine(line string) (setting, error) {
	key, rest, found := strings.Cut(line, "=")
	key = strings.TrimSpace(key)
	if !found || key == "" || strings.ContainsAny(key, `{}|&~!()^"`) {
		return setting{}, fmt.Errorf("want KEY = VALUE, have %q", line)
	}
	value, err := parseValue(strings.TrimSpace(rest))
	return setting{key: key, value: value}, err
}

// parseValue reads words, quoted or not, up to the comment.
func parseValue(text string) (imports.Filled, error) {
	var value strings.Builder
	quoted := false
	for text != "" && text[0] != ';' {
		var part string
		var err error
		switch text[0] {
		case '"', '\'':
			quoted = true
			part, text, err = parseQuoted(text)
		default:
			part, text = cutAny(text, `;"'`)
			if strings.HasPrefix(text, ";") || text == "" {
				part = strings.TrimRight(part, " \t")
			}
			if i := strings.IndexAny(part, "|&~!()^="); i >= 0 {
				err = fmt.Errorf("%q has a meaning of its own for PHP here; put the value into quotes", part[i:i+1])
			}
		}
		if err == nil {
			err = checkVariables(part)
		}
		if err != nil {
			return "", err
		}
		value.WriteString(part)
	}
	if !quoted {
		return imports.Filled(plainWord(value.String())), nil
	}
	return imports.Filled(value.String()), nil
}

// parseQuoted reads a text that begins with a quote. Nothing is filled in between
// single quotes.
func parseQuoted(text string) (part, rest string, err error) {
	quote := text[0]
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == quote && quote == '\'':
			return imports.Literal(b.String()), text[i+1:], nil
		case text[i] == quote:
			return b.String(), text[i+1:], nil
		case quote == '"' && text[i] == '\\' && i+1 < len(text) && (text[i+1] == '\\' || text[i+1] == '"'):
			i++
		}
		b.WriteByte(text[i])
	}
	return "", "", errors.New("the quote does not end in its line")
}

func cutAny(text, chars string) (before, rest string) {
	if i := strings.IndexAny(text, chars); i >= 0 {
		return text[:i], text[i:]
	}
	return text, ""
}

// checkVariables refuses what only PHP can fill in: its own settings.
func checkVariables(part string) error {
	pattern := regexp.MustCompile(`\$\$?\{[^}]*\}?`)
	for _, v := range pattern.FindAllString(part, -1) {
		if v[1] != '$' && !regexp.MustCompile(`^\$\{[A-Za-z_][A-Za-z0-9_]*\}$`).MatchString(v) {
			return fmt.Errorf("%q is not a variable of the environment", v)
		}
	}
	return nil
}

// plainWord returns what PHP takes an unquoted word for.
func plainWord(word string) string {
	switch strings.ToLower(word) {
	case "yes", "on", "true":
		return "1"
	case "no", "off", "false", "none", "null":
		return ""
	}
	return word
}
