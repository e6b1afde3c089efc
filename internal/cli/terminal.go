package cli

import (
	"hash/fnv"
	"os"

	"golang.org/x/term"
)

// colour is the number of an ANSI colour or style (ECMA-48, Select Graphic
// Rendition).
type colour string

// The colours with a meaning.
const (
	red    colour = "31"
	yellow colour = "33"
	bold   colour = "1"
	dim    colour = "2"
)

// resetColour ends all colours and styles.
const resetColour = "\x1b[0m"

// palette colours text, or leaves it as it is.
type palette struct{ on bool }

// newPalette returns the palette for what is written to f: colours for
// terminals that know them, unless NO_COLOR is set (https://no-color.org).
func newPalette(io IO, f *os.File) palette {
	if text, set := io.Getenv("NO_COLOR"); set && text != "" {
		return palette{}
	}
	if kind, _ := io.Getenv("TERM"); kind == "dumb" {
		return palette{}
	}
	return palette{on: isTerminal(f)}
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// paint appends text to dst in the given colour.
func (p palette) paint(dst []byte, c colour, text string) []byte {
	if !p.on || c == "" {
		return append(dst, text...)
	}
	dst = append(append(append(dst, "\x1b["...), c...), 'm')
	return append(append(dst, text...), resetColour...)
}

// nameColour returns the colour of a name: always the same one, and none that
// means trouble.
func nameColour(name string) colour {
	colours := [...]colour{"36", "32", "35", "34", "96", "92", "95", "94"}
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // never fails
	return colours[h.Sum32()%uint32(len(colours))]
}

// sameFile reports whether two streams lead to the same place, such as one
// terminal.
func sameFile(a, b *os.File) bool {
	x, errX := a.Stat()
	y, errY := b.Stat()
	return errX == nil && errY == nil && os.SameFile(x, y)
}
