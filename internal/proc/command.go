package proc

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// shell is what runs a command that is written as one string.
const shell = "/bin/sh"

// Command is what to run: a program and its arguments. In a config it is a list
// of strings, or one string that is given to /bin/sh -c.
type Command []string

// UnmarshalTOML reads a list of strings or a string.
func (c *Command) UnmarshalTOML(v any) error {
	var parsed Command
	switch v := v.(type) {
	case string:
		if strings.TrimSpace(v) == "" {
			return errors.New("the command is empty")
		}
		parsed = Command{shell, "-c", v}
	case []any:
		for i, item := range v {
			argument, ok := item.(string)
			if !ok {
				return fmt.Errorf("argument %d of the command is not a string", i+1)
			}
			parsed = append(parsed, argument)
		}
	default:
		return errors.New("a command is a list of strings, or a string for /bin/sh -c")
	}
	if err := checkArguments(parsed); err != nil {
		return err
	}
	*c = parsed
	return nil
}

// checkArguments refuses what cannot be run.
func checkArguments(argv []string) error {
	if len(argv) == 0 || argv[0] == "" {
		return errors.New("the command is empty")
	}
	if i := slices.IndexFunc(argv, func(s string) bool { return strings.ContainsRune(s, 0) }); i >= 0 {
		return fmt.Errorf("argument %d of the command holds a NUL character", i+1)
	}
	return nil
}

// String returns the command for people: as one would type it in a shell.
func (c Command) String() string {
	if len(c) == 3 && c[0] == shell && c[1] == "-c" {
		return c[2]
	}
	words := make([]string, len(c))
	for i, word := range c {
		words[i] = quoteWord(word)
	}
	return strings.Join(words, " ")
}

// quoteWord quotes a word for the shell where it needs it.
func quoteWord(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-+=./:,@%^", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
