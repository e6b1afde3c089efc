package supervise

import (
	"flag"
	"testing"

	"procops/internal/states"
)

var update = flag.Bool("update", false, "write the generated parts of docs/ instead of comparing them")

// TestTransitionIsTotal: every state has an answer to every trigger, and every
// state can be reached and left.
func TestTransitionIsTotal(t *testing.T) {
	reached := map[State]bool{StateStopped: true}
	left := map[State]bool{}
	for _, from := range States() {
		for _, trigger := range Triggers() {
			to, err := transition(from, trigger)
			if err != nil {
				if to != from {
					t.Errorf("%s + %s: refused, and yet moved to %s", from, trigger, to)
				}
				continue
			}
			if to != from {
				reached[to], left[from] = true, true
			}
		}
	}
	for _, s := range States() {
		if !reached[s] || !left[s] {
			t.Errorf("state %s: reached %v, left %v", s, reached[s], left[s])
		}
	}
}

func TestTransitionRefusesUnknown(t *testing.T) {
	if _, err := transition("nowhere", TriggerStart); err == nil {
		t.Error("an unknown state was accepted")
	}
	if _, err := transition(StateStopped, "nothing"); err == nil {
		t.Error("an unknown trigger was accepted")
	}
}

// TestStopAlwaysLeadsDown: whatever a process does, an operator can stop it.
func TestStopAlwaysLeadsDown(t *testing.T) {
	for _, s := range States() {
		next, err := transition(s, TriggerStop)
		if err != nil {
			t.Errorf("%s cannot be stopped: %v", s, err)
		}
		if !next.AtRest() && next != StateStopping {
			t.Errorf("stop in %s leads to %s", s, next)
		}
	}
}

// TestDocsStates compares the section in docs/states.md with the code.
func TestDocsStates(t *testing.T) {
	text := machine().Markdown() + `
- **stopped**: down, as wanted. **waiting**: wanted, but something it depends on is not there yet.
- **starting**: runs, not ready yet. **running**: runs and is ready.
- **ending**: it has ended, was not ready in time, or works no more; what is left of its process group is ended and its
  chain is run. The verdict is one of the triggers *complete*, *retry* and *give-up*.
- **backoff**: waits before it is started again. **stopping**: the stop ladder is at work.
- **completed**: ended well and stays down. **fatal**: failed and given up.
`
	if err := states.Document("../../docs/states.md", "Supervised process", text, *update); err != nil {
		t.Errorf("docs/states.md: %v; go test ./internal/supervise -run Docs -update writes it", err)
	}
}
