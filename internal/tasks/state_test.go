package tasks

import (
	"flag"
	"fmt"
	"testing"

	"procops/internal/runner"
	"procops/internal/states"
)

var update = flag.Bool("update", false, "write the generated parts of docs/ instead of comparing them")

// TestTransitionIsTotal: every state has an answer to every trigger and can be
// reached; what has ended stays so, whatever a late worker reports.
func TestTransitionIsTotal(t *testing.T) {
	reached := map[State]bool{StatePending: true}
	for _, from := range States() {
		for _, trigger := range Triggers() {
			to, err := transition(from, trigger)
			if err != nil && to != from {
				t.Errorf("%s + %s: refused, and yet moved to %s", from, trigger, to)
			}
			over := from == StateDone || from == StateCancelled || from == StateDead && trigger != TriggerRequeue
			if over && to != from {
				t.Errorf("%s + %s leads to %s", from, trigger, to)
			}
			reached[to] = true
		}
		if _, err := transition(from, TriggerStart); err != nil {
			t.Errorf("a worker that dies can leave a task in %s, and it cannot be claimed then: %v", from, err)
		}
	}
	if len(reached) != len(States()) {
		t.Errorf("only %v can be reached", reached)
	}
}

func TestTransitionRefusesUnknown(t *testing.T) {
	if _, err := transition("nowhere", TriggerStart); err == nil {
		t.Error("an unknown state was accepted")
	}
	if _, err := transition(StatePending, "nothing"); err == nil {
		t.Error("an unknown trigger was accepted")
	}
	if _, err := transition(StatePending, TriggerComplete); err == nil {
		t.Error("a task was done without a run")
	}
}

// TestResults: the codes are leptir's.
func TestResults(t *testing.T) {
	for outcome, want := range map[runner.Outcome]string{
		runner.Success: "success 1", runner.Warning: "warning 2", runner.Failed: "error 3", runner.Retry: "retry 3",
		runner.Unknown: "unknown 4", runner.TimedOut: "timeout 5", runner.Stop: "success 1",
	} {
		r := resultOf(outcome)
		if got := fmt.Sprint(r, " ", r.Code()); got != want {
			t.Errorf("outcome %s is result %s, want %s", outcome, got, want)
		}
	}
	if Result("").Code() != 0 {
		t.Error("a task without a result has a code")
	}
}

// TestDocsStates compares the section in docs/states.md with the code.
func TestDocsStates(t *testing.T) {
	text := machine().Markdown() + `
- **pending**: queued, and not run yet, or given back by a worker that stops.
- **running**: a worker has it. When that dies the task stays in this state until its lease has ended and the next
  worker starts it.
- **retrying**: a run has failed, and the task waits for the next.
- **done**: it has ended well, or with a warning. **dead**: it was given up. **cancelled**: somebody did not want it any
  more; if it was running its worker ends it. A worker that claims such a task, because somebody died before the broker was
  told, only tells the broker.
`
	if err := states.Document("../../docs/states.md", "Task", text, *update); err != nil {
		t.Errorf("docs/states.md: %v; go test ./internal/tasks -run Docs -update writes it", err)
	}
}
