// Package dotenv reads files with variables for the environment, such as a .env.
// The package imports nothing internal.
package dotenv

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"syscall"
)

// maxSize is how long a file may be, in bytes: about as much as the kernel lets a
// process have for its environment.
const maxSize = 2 << 20

// ErrSyntax is the error of a line that is no assignment.
var ErrSyntax = errors.New("want NAME=VALUE")

// Variable is a variable and the line, from 1, that sets it.
type Variable struct {
	Name, Value string
	Line        int
}

// assignment is a line NAME=VALUE; "export" before it is for shells that read
// the same file.
const assignment = `^(?:export[ \t]+)?([A-Za-z0-9_]+)=([^\x00]*)$`

// Parse returns the variables of a text in order; of doubles the last counts.
// Blank lines and those that begin with "#" say nothing. A value in single quotes
// stands as it is; in one in double quotes "\n" is a new line and a backslash
// protects what follows; any other value reaches to the end of the line. wrong are
// the numbers of the lines that are none of these.
func Parse(text string) (list []Variable, wrong []int) {
	pattern := regexp.MustCompile(assignment)
	number := 0
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		number++
		line = strings.TrimRight(line, "\r\n")
		if isIdle(line) {
			continue
		}
		parts := pattern.FindStringSubmatch(line)
		if parts == nil {
			wrong = append(wrong, number)
			continue
		}
		list = append(list, Variable{Name: parts[1], Value: unquote(parts[2]), Line: number})
	}
	return list, wrong
}

// Read returns the variables of a file as "NAME=VALUE", in order. The error names
// the file and, of each line that is wrong, its number; it is fs.ErrNotExist for a
// file that is not there.
func Read(path string) ([]string, error) {
	text, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read %q: %w", path, err)
	}
	list, wrong := Parse(text)
	if len(wrong) > 0 {
		problems := make([]string, len(wrong))
		for i, line := range wrong {
			problems[i] = fmt.Sprintf("%s:%d: %v", path, line, ErrSyntax)
		}
		return nil, errors.New(strings.Join(problems, "; "))
	}
	env := make([]string, len(list))
	for i, v := range list {
		env[i] = v.Name + "=" + v.Value
	}
	return env, nil
}

// read returns the text of a regular file. Whoever reads it waits for nobody, as he
// would at a named pipe.
func read(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", cause(err)
	}
	defer f.Close() //nolint:errcheck // it was read: nothing can be lost
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", cause(err)
	case info.IsDir():
		return "", errors.New("it is a directory")
	case !info.Mode().IsRegular() && path != os.DevNull:
		return "", errors.New("it is not a regular file")
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err == nil && len(text) > maxSize {
		err = fmt.Errorf("it is larger than %d MiB", maxSize>>20)
	}
	return string(text), cause(err)
}

// cause strips the words of package os, which say again what the caller says.
func cause(err error) error {
	if failed, ok := errors.AsType[*os.PathError](err); ok {
		return failed.Err
	}
	return err
}

// isIdle reports whether a line says nothing.
func isIdle(line string) bool {
	line = strings.TrimSpace(line)
	return line == "" || line[0] == '#'
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
