// Package states holds the table of a state machine: which state follows which, and
// how docs/states.md shows it. The package imports nothing internal.
package states

import (
	"fmt"
	"slices"
	"strings"
)

// What stands in a table where no state follows.
const (
	Stay  = "-" // the trigger may come and changes nothing
	Never = "!" // the trigger cannot come; if it does, there is a defect
)

// Table is a state machine: a row for each state, a column for each trigger, in their
// orders.
type Table[S, T ~string] struct {
	States   []S
	Triggers []T
	Next     [][]S
}

// Transition returns the state after t, which is s itself where t changes nothing. An
// error means a defect: t cannot come in state s.
func (m Table[S, T]) Transition(s S, t T) (S, error) {
	row, column := slices.Index(m.States, s), slices.Index(m.Triggers, t)
	if row < 0 || column < 0 {
		return s, fmt.Errorf("there is no state %q or no trigger %q", s, t)
	}
	switch next := m.Next[row][column]; next {
	case Stay:
		return s, nil
	case Never:
		return s, fmt.Errorf("trigger %q cannot come in state %q", t, s)
	default:
		return next, nil
	}
}

// Check says what is wrong with the table: a cell that is missing or names no state,
// or a state that cannot be reached from the first.
func (m Table[S, T]) Check() error {
	if len(m.Next) != len(m.States) {
		return fmt.Errorf("%d rows for %d states", len(m.Next), len(m.States))
	}
	for i, row := range m.Next {
		if len(row) != len(m.Triggers) {
			return fmt.Errorf("state %q has %d cells for %d triggers", m.States[i], len(row), len(m.Triggers))
		}
		for j, next := range row {
			if next != Stay && next != Never && !slices.Contains(m.States, next) {
				return fmt.Errorf("state %q, trigger %q: there is no state %q", m.States[i], m.Triggers[j], next)
			}
		}
	}
	return m.checkReachable()
}

func (m Table[S, T]) checkReachable() error {
	reached := m.States[:min(1, len(m.States))]
	for i := 0; i < len(reached); i++ {
		for _, next := range m.Next[slices.Index(m.States, reached[i])] {
			if next != Stay && next != Never && !slices.Contains(reached, next) {
				reached = append(slices.Clip(reached), next)
			}
		}
	}
	for _, s := range m.States {
		if !slices.Contains(reached, s) {
			return fmt.Errorf("state %q cannot be reached", s)
		}
	}
	return nil
}

// Markdown returns the table as docs/states.md has it.
func (m Table[S, T]) Markdown() string {
	var b strings.Builder
	b.WriteString("\n| state |")
	for _, t := range m.Triggers {
		fmt.Fprintf(&b, " %s |", t)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(m.Triggers)) + "\n")
	for _, s := range m.States {
		fmt.Fprintf(&b, "| **%s** |", s)
		for _, t := range m.Triggers {
			next, err := m.Transition(s, t)
			cell := string(next)
			switch {
			case err != nil:
				cell = ""
			case next == s:
				cell = "–"
			}
			fmt.Fprintf(&b, " %s |", cell)
		}
		b.WriteString("\n")
	}
	return b.String()
}
