package runner

import (
	"flag"
	"testing"

	"procops/internal/states"
)

var update = flag.Bool("update", false, "write the generated parts of docs/ instead of comparing them")

// TestMachine: one that is to end never gets work again, and what has begun has an end.
func TestMachine(t *testing.T) {
	m := machine()
	if err := m.Check(); err != nil {
		t.Error(err)
	}
	for _, s := range []State{StateLeaving, StateStopping, StateEnded} {
		for _, trigger := range m.Triggers {
			if next, _ := m.Transition(s, trigger); next == StateIdle || next == StateBusy || next == StateStarting {
				t.Errorf("%s + %s leads to %s", s, trigger, next)
			}
		}
	}
}

// TestDocsStates compares the section in docs/states.md with the code.
func TestDocsStates(t *testing.T) {
	text := machine().Markdown() + `
- **starting**: it runs and has not said hello yet. **idle**: it waits for work. **busy**: it has a unit of work.
- **leaving**: its standard input is closed, and it has time to leave by itself: it has done max_units, uses more than
  memory_threshold, or is not needed any more.
- **stopping**: what is left of its process group is being ended. **ended**: nothing is left of it.
- When a busy one ends, what it has written is read first: if that is its answer the unit is done and it goes on from
  *idle*, otherwise its end is a *fail*.
`
	if err := states.Document("../../docs/states.md", "Co-process", text, *update); err != nil {
		t.Errorf("docs/states.md: %v; go test ./internal/runner -run Docs -update writes it", err)
	}
}
