package heartbeat

import (
	"flag"
	"testing"

	"procops/internal/states"
)

var update = flag.Bool("update", false, "write the states to docs/states.md")

// TestTransition goes through all states and triggers.
func TestTransition(t *testing.T) {
	for _, s := range States() {
		for _, trigger := range Triggers() {
			next, err := transition(s, trigger)
			if err != nil && next != s {
				t.Errorf("%s, %s: %s with error %v", s, trigger, next, err)
			}
		}
	}
	if _, err := transition("odd", TriggerFail); err == nil {
		t.Error("there is a state \"odd\"")
	}
	if _, err := transition(StateUp, "odd"); err == nil {
		t.Error("there is a trigger \"odd\"")
	}
	if _, err := transition(StateNew, TriggerLate); err == nil {
		t.Error("what has never beaten is late")
	}
}

// TestDocsStates compares the section in docs/states.md with the code.
func TestDocsStates(t *testing.T) {
	text := machine().Markdown() + `
- **new**: no beat yet; nothing is expected. **up**: it beats as expected.
- **late**: a beat is overdue, within the grace. **down**: the grace is over, the client has failed, or a run took too
  long. In *down*, *overdue* counts one more missed beat until there are alert_after of them.
- **started**: a run is under way; it may take max_runtime. **paused**: nothing is expected; a beat ends the pause.
`
	if err := states.Document("../../docs/states.md", "Heartbeat", text, *update); err != nil {
		t.Errorf("docs/states.md: %v; go test ./internal/heartbeat -run Docs -update writes it", err)
	}
}
