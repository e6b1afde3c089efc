package states

import (
	"errors"
	"os"
	"strings"
)

// ErrStale says that a section differs from the code.
var ErrStale = errors.New("it is stale")

// Document compares the section of a page of Markdown that begins with "## title" with
// the text that should follow the title, or with write puts that there; a page without the
// section gets it at its end. It is for the tests of those who have a table.
func Document(path, title, text string, write bool) error {
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	heading := "## " + title + "\n"
	before, rest, _ := strings.Cut(string(page), heading)
	_, after, more := strings.Cut(rest, "\n## ")
	want := strings.TrimRight(before, "\n") + "\n\n" + heading + strings.TrimRight(text, "\n") + "\n"
	if more {
		want += "\n## " + after
	}
	switch {
	case want == string(page):
		return nil
	case !write:
		return ErrStale
	default:
		return os.WriteFile(path, []byte(want), 0o644) //nolint:gosec // documentation
	}
}
