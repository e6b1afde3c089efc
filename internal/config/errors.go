package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"procops/internal/config/bind"
	"procops/internal/config/source"
	"procops/internal/fault"
)

// Position is a place in a file.
type Position = source.Position

// Error is all that is wrong with a configuration, in the order of files and
// lines. It is a fault.Usage.
type Error struct {
	Problems []*source.Error
}

// shown is how many problems the text of an Error lists.
const shown = 100

// Error returns a line for each problem.
func (e *Error) Error() string {
	var b strings.Builder
	for i, p := range e.Problems {
		if i == shown {
			fmt.Fprintf(&b, "and %d more\n", len(e.Problems)-shown)
			break
		}
		b.WriteString(p.Error())
		b.WriteByte('\n')
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// Unwrap returns a fault of the kind Usage with the problems' hints.
func (e *Error) Unwrap() error {
	var (
		first *fault.Error
		seen  []string
	)
	for _, p := range slices.Backward(e.Problems) {
		for _, hint := range fault.Hints(p.Err) {
			if slices.Contains(seen, hint) {
				continue
			}
			seen = append(seen, hint)
			outer := fault.New(fault.Usage, "invalid configuration").WithHint("%s", hint)
			if first != nil {
				outer.Cause = first
			}
			first = outer
		}
	}
	if first == nil {
		first = fault.New(fault.Usage, "invalid configuration")
	}
	return first
}

// collector gathers problems, stage by stage. What is wrong with a value that
// an earlier stage found bad is most likely a consequence, and left out.
type collector struct {
	problems []*source.Error
	bad      map[Position]bool // values that earlier stages found bad
	files    []string          // in the order in which they were read
}

func (c *collector) report(p *source.Error) {
	if !c.bad[p.Position] {
		c.problems = append(c.problems, p)
	}
}

// nextStage begins a stage.
func (c *collector) nextStage() {
	c.bad = map[Position]bool{}
	for _, p := range c.problems {
		// That a key is missing says nothing about the rest of its table.
		if !isMissing(p) {
			c.bad[p.Position] = true
		}
	}
}

// isMissing reports whether p is about a key that is not there.
func isMissing(p *source.Error) bool {
	var missing *bind.MissingError
	return errors.As(p.Err, &missing)
}

// err returns the problems as *Error, or nil if there are none.
func (c *collector) err() error {
	if len(c.problems) == 0 {
		return nil
	}
	order := map[string]int{}
	for i, file := range c.files {
		order[file] = i
	}
	slices.SortStableFunc(c.problems, func(a, b *source.Error) int {
		p, q := a.Position, b.Position
		if p != q {
			return cmp.Or(
				cmp.Compare(order[p.File], order[q.File]),
				strings.Compare(p.File, q.File),
				cmp.Compare(p.Line, q.Line),
				cmp.Compare(p.Column, q.Column),
			)
		}
		return strings.Compare(a.Err.Error(), b.Err.Error())
	})
	return &Error{Problems: c.problems}
}
