package daemon

import (
	"flag"
	"testing"

	"procops/internal/states"
)

var update = flag.Bool("update", false, "write the generated parts of docs/ instead of comparing them")

func TestMachine(t *testing.T) {
	m := machine()
	if err := m.Check(); err != nil {
		t.Error(err)
	}
	for _, s := range m.States {
		for _, end := range []Trigger{TriggerQuit, TriggerStop} {
			if next, err := m.Transition(s, end); err != nil || next == StateWaiting || next == StateRunning {
				t.Errorf("%s + %s leads to %s, %v: it would go on", s, end, next, err)
			}
		}
	}
}

// TestDocsStates compares the section in docs/states.md with the code.
func TestDocsStates(t *testing.T) {
	text := machine().Markdown() + `
- **waiting**: for its next turn. **running**: a turn is under way.
- **ending**: the last turn is under way. **stopping**: the turn is being stopped, by a signal and then SIGKILL.
- **stopped**: it has ended. *finish* is its own end: a turn has asked for it, too many have failed, or it has grown too large.
`
	if err := states.Document("../../docs/states.md", "Daemon", text, *update); err != nil {
		t.Errorf("docs/states.md: %v; go test ./internal/daemon -run Docs -update writes it", err)
	}
}
