package supervisord

import (
	"errors"
	"strings"
)

var (
	errOpenQuote = errors.New("a quote is not closed")
	errOpenSlash = errors.New(`there is nothing after the last "\"`)
	errPairs     = errors.New(`want NAME="value",NAME="value",...; a value with other than letters, digits and _/.+-(): needs quotes`)
)

const (
	blanks = " \t\r\n"
	quotes = `'"`
)

// splitCommand splits a command line into words by the rules of a POSIX shell,
// without anything that a shell would expand: as Python's shlex.split does,
// which supervisord calls.
func splitCommand(line string) ([]string, error) {
	var (
		words []string
		word  strings.Builder
		open  bool // a word has begun, even if it is empty
	)
	rest := []rune(line)
	for len(rest) > 0 {
		r := rest[0]
		rest = rest[1:]
		switch {
		case strings.ContainsRune(blanks, r):
			if open {
				words = append(words, word.String())
				word.Reset()
				open = false
			}
			continue
		case r == '\\':
			if len(rest) == 0 {
				return nil, errOpenSlash
			}
			word.WriteRune(rest[0])
			rest = rest[1:]
		case strings.ContainsRune(quotes, r):
			after, err := quoted(&word, rest, r)
			if err != nil {
				return nil, err
			}
			rest = after
		default:
			word.WriteRune(r)
		}
		open = true
	}
	if open {
		words = append(words, word.String())
	}
	return words, nil
}

// quoted adds to word what stands up to the closing quote, and returns what
// follows it. In double quotes a backslash protects a quote and a backslash.
func quoted(word *strings.Builder, rest []rune, quote rune) ([]rune, error) {
	for i := 0; i < len(rest); i++ {
		r := rest[i]
		switch {
		case r == quote:
			return rest[i+1:], nil
		case r == '\\' && quote == '"':
			if i++; i == len(rest) {
				return nil, errOpenSlash
			}
			if rest[i] != '"' && rest[i] != '\\' {
				word.WriteByte('\\')
			}
			word.WriteRune(rest[i])
		default:
			word.WriteRune(r)
		}
	}
	return nil, errOpenQuote
}

// variable is a variable of the environment.
type variable struct{ name, value string }

// splitPairs reads NAME="value",NAME="value" as supervisord does: it takes the
// text apart into tokens and then every three of them for a pair, passing over
// the one that follows, whatever it is. Of a name that comes twice the last
// value holds, in the place of the first.
func splitPairs(text string) ([]variable, error) {
	tokens, err := tokenize(text)
	if err != nil {
		return nil, err
	}
	var list []variable
	for i := 0; i < len(tokens); i += 4 {
		if i+2 >= len(tokens) || tokens[i+1] != "=" {
			return nil, errPairs
		}
		list = setVariable(list, variable{tokens[i], strings.Trim(tokens[i+2], quotes)})
	}
	return list, nil
}

// setVariable sets a variable in a list, where it is or else at the end.
func setVariable(list []variable, v variable) []variable {
	for i := range list {
		if list[i].name == v.name {
			list[i].value = v.value
			return list
		}
	}
	return append(list, v)
}

// tokenize takes text apart into words, quoted strings with their quotes, and
// other characters one by one, as Python's shlex does when it does not follow
// POSIX: within quotes nothing is special, within a word quotes are part of it,
// and "#" begins a comment.
func tokenize(text string) ([]string, error) {
	var tokens []string
	rest := []rune(text)
	for len(rest) > 0 {
		r := rest[0]
		n := 1
		switch {
		case strings.ContainsRune(blanks, r):
			rest = rest[1:]
			continue
		case r == '#':
			rest = afterLine(rest)
			continue
		case strings.ContainsRune(quotes, r):
			end := indexRune(rest[1:], r)
			if end < 0 {
				return nil, errOpenQuote
			}
			n = end + 2
		case isWordRune(r):
			word, after := takeWord(rest)
			tokens = append(tokens, word)
			rest = after
			continue
		}
		tokens = append(tokens, string(rest[:n]))
		rest = rest[n:]
	}
	return tokens, nil
}

// takeWord takes the word that rest begins with. A comment does not end a word:
// it goes on in the next line.
func takeWord(rest []rune) (word string, after []rune) {
	var b strings.Builder
	for len(rest) > 0 {
		r := rest[0]
		switch {
		case r == '#':
			rest = afterLine(rest)
			continue
		case !isWordRune(r) && !strings.ContainsRune(quotes, r):
			return b.String(), rest
		}
		b.WriteRune(r)
		rest = rest[1:]
	}
	return b.String(), nil
}

// isWordRune reports whether r needs no quotes in a value. The mark of a
// reference stands for a value that needs none.
func isWordRune(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return true
	}
	return strings.ContainsRune("_/.+-():"+mark, r)
}

func indexRune(list []rune, wanted rune) int {
	for i, r := range list {
		if r == wanted {
			return i
		}
	}
	return -1
}

func afterLine(rest []rune) []rune {
	if end := indexRune(rest, '\n'); end >= 0 {
		return rest[end+1:]
	}
	return nil
}
