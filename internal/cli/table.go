package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// table writes rows in columns for people. The columns of a list are part of
// its interface: new ones go to the end.
type table struct{ w *tabwriter.Writer }

// newTable begins a table with its headings.
func newTable(w io.Writer, headings ...string) table {
	t := table{tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
	t.row(headings...)
	return t
}

// row adds a row. An empty cell is written "-", so that columns can be counted;
// what would break the table is escaped.
func (t table) row(cells ...string) {
	clean := make([]string, len(cells))
	for i, cell := range cells {
		clean[i] = oneLine(cell)
	}
	fmt.Fprintln(t.w, strings.Join(clean, "\t"))
}

// flush writes the table out; its error is that of the writer.
func (t table) flush() error { return t.w.Flush() }

// oneLine escapes control characters, which could end the line or move the
// cursor of a terminal.
func oneLine(s string) string {
	if s == "" {
		return "-"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// clock writes times for people.
type clock struct{ location *time.Location }

func newClock(utc bool) clock {
	if utc {
		return clock{time.UTC}
	}
	return clock{time.Local}
}

// format writes a time with its zone's offset, or nothing for the zero time.
func (c clock) format(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.In(c.location).Format("2006-01-02T15:04:05Z07:00")
}
