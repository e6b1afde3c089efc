package supervisord

import (
	"errors"
	"strings"
)

// command reads the command line. supervisord fills in variables before it
// splits the line, so that one may give several words; procops does it after.
func (k keys) command() []string {
	line, ok := k.text("command")
	if !ok {
		return nil
	}
	line = k.splitVariables(line)
	words, err := splitCommand(line)
	switch {
	case err != nil:
		k.fail("command", err)
	case len(words) == 0 || words[0] == "":
		k.fail("command", errors.New("it is empty"))
	}
	for _, word := range words {
		k.writable("command", word)
	}
	return words
}

// splitVariables fills in the variables whose present value gives several words
// or none.
func (k keys) splitVariables(line string) string {
	parts := strings.Split(line, mark)
	var b strings.Builder
	for i, part := range parts {
		if i%2 == 0 {
			b.WriteString(part)
			continue
		}
		present, set := k.opt.Environ(part)
		switch {
		case set && (present == "" || strings.ContainsAny(present, blanks+quotes+`\`)):
			b.WriteString(present)
			k.note("command", "the present value of $%s is used, because supervisord would split it into words", part)
		case !set && splits(parts, i):
			b.WriteString(reference(part))
			k.note("command", "the value of $%s is one word here; supervisord would split it", part)
		default:
			b.WriteString(reference(part))
		}
	}
	return b.String()
}

// splits reports whether blanks in the value of the i-th part would part words.
func splits(parts []string, i int) bool {
	probe := func(value string) int {
		var b strings.Builder
		for j, part := range parts {
			switch {
			case j == i:
				b.WriteString(value)
			case j%2 == 0:
				b.WriteString(part)
			default:
				b.WriteString("x")
			}
		}
		words, _ := splitCommand(b.String()) // an error is found where it counts
		return len(words)
	}
	return probe("x") != probe("x x")
}
