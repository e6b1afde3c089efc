package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/BurntSushi/toml"

	"procops/internal/config/source"
	"procops/internal/fault"
)

// maxFile is the size of the largest file that is read, in bytes.
const maxFile = 4 << 20

// fileID tells files apart whatever path leads to them.
type fileID struct{ device, inode uint64 }

// document is what a file, or several merged ones, hold.
type document struct {
	values map[string]any
	root   *source.Node
}

// readFile reads a regular file of bearable size, or /dev/null. It never waits
// for a writer as a plain read of a FIFO would.
func readFile(path string) (text string, id fileID, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", id, cause(err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	info, err := f.Stat()
	if err != nil {
		return "", id, cause(err)
	}
	switch {
	case info.IsDir():
		return "", id, errors.New("it is a directory")
	case !info.Mode().IsRegular() && path != os.DevNull:
		return "", id, errors.New("it is not a regular file")
	case info.Size() > maxFile:
		return "", id, fmt.Errorf("it is larger than %d MiB", maxFile>>20)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		id = fileID{stat.Dev, stat.Ino}
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return "", id, cause(err)
	}
	if len(data) > maxFile {
		return "", id, fmt.Errorf("it is larger than %d MiB", maxFile>>20)
	}
	return string(data), id, nil
}

// ReadText reads a file as Load does: a regular one of bearable size. If it is
// not UTF-8 text the error is an *Error with the place. An error of the file
// itself is a fault.Usage.
func ReadText(path string) (string, error) {
	text, _, err := readFile(path)
	if err != nil {
		return "", fault.Wrap(fault.Usage, err, "cannot read %q", path)
	}
	text = strings.TrimPrefix(text, "\ufeff")
	if at, problem := notText(text); problem != "" {
		return "", &Error{Problems: []*source.Error{source.Errorf(source.At(path, text, at), "%s", problem)}}
	}
	return text, nil
}

// cause strips the operation and the path from an error of package os.
func cause(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}

// parse decodes the text of a file; file is its name in positions. There are
// several problems only if keys are set twice.
func parse(file, text string) (document, []*source.Error) {
	text = strings.TrimPrefix(text, "\ufeff")
	if at, problem := notText(text); problem != "" {
		return document{}, []*source.Error{source.Errorf(source.At(file, text, at), "%s", problem)}
	}
	root, twice := source.Scan(file, text)
	if root == nil {
		return document{}, twice
	}
	values, problem := decode(file, text)
	if problem != nil {
		return document{}, firstOf(problem, twice)
	}
	return document{values, root}, twice
}

// firstOf returns those of the keys set twice that come before the problem, in
// other words those that are surely such; and the problem if there are none, as
// it may be about one of them.
func firstOf(problem *source.Error, twice []*source.Error) []*source.Error {
	at := problem.Position
	sure := slices.DeleteFunc(twice, func(t *source.Error) bool {
		return cmp.Or(cmp.Compare(t.Position.Line, at.Line), cmp.Compare(t.Position.Column, at.Column)) > 0
	})
	if len(sure) > 0 {
		return sure
	}
	return []*source.Error{problem}
}

// notText finds the first byte that no text can have, and says what it is.
func notText(text string) (offset int, problem string) {
	nul := strings.IndexByte(text, 0)
	if utf8.ValidString(text) {
		if nul < 0 {
			return 0, ""
		}
		return nul, "there is a NUL byte; a configuration must be UTF-8 text"
	}
	for i, r := range text {
		if r == 0 {
			return i, "there is a NUL byte; a configuration must be UTF-8 text"
		}
		if _, size := utf8.DecodeRuneInString(text[i:]); r == utf8.RuneError && size == 1 {
			return i, "invalid UTF-8; a configuration must be UTF-8 text"
		}
	}
	return 0, ""
}

// decode has the library decode text, and puts what it refuses into our words.
func decode(file, text string) (values map[string]any, problem *source.Error) {
	defer func() {
		// The library panics where it finds itself in a state that it thinks
		// impossible; for the user that is one more syntax error.
		if r := recover(); r != nil {
			problem = source.Errorf(Position{File: file}, "invalid TOML: %s", strings.TrimSpace(fmt.Sprint(r)))
		}
	}()
	_, err := toml.Decode(text, &values)
	var syntax toml.ParseError
	switch {
	case err == nil:
		return values, nil
	case errors.As(err, &syntax):
		return nil, source.Errorf(source.At(file, text, syntax.Position.Start), "%s", lowerFirst(strings.TrimSuffix(syntax.Message, ".")))
	}
	return nil, source.Errorf(Position{File: file}, "%s", strings.TrimPrefix(err.Error(), "toml: "))
}

// lowerFirst makes the first letter of a message lower case unless the word is
// an abbreviation.
func lowerFirst(s string) string {
	first, size := utf8.DecodeRuneInString(s)
	second, _ := utf8.DecodeRuneInString(s[size:])
	if unicode.IsUpper(second) {
		return s
	}
	return string(unicode.ToLower(first)) + s[size:]
}
