package server

import (
	"flag"
	"testing"

	"procops/internal/states"
)

var update = flag.Bool("update", false, "write the generated parts of docs/ instead of comparing them")

// TestMachine: every state has an answer to every trigger and can be reached; what
// is done stays so.
func TestMachine(t *testing.T) {
	m := machine()
	if err := m.Check(); err != nil {
		t.Error(err)
	}
	for _, trigger := range Triggers() {
		if _, err := m.Transition(StateDone, trigger); err == nil {
			t.Errorf("%s can come when a job is done", trigger)
		}
	}
}

// TestDocsStates compares the section in docs/states.md with the code.
func TestDocsStates(t *testing.T) {
	text := machine().Markdown() + `
- **new**: it is being recorded; nobody has been told of it yet. What cannot be recorded is done without having been.
- **queued**: it waits for a worker. **scheduled**: it waits for its time (` + "`--at`" + `, SUBMIT_JOB_EPOCH).
- **running**: a worker has it. **unwanted**: so it is, but nobody waits for the result any more, or it was cancelled.
- **dropped**: nobody wants it any more; it goes when a worker would get it.
- **buried**: too many workers have died of it (job_retries), and it was submitted in the background. An operator can
  bring it back. **done**: it has ended, well or not.
`
	if err := states.Document("../../../docs/states.md", "Gearman job", text, *update); err != nil {
		t.Errorf("docs/states.md: %v; go test ./internal/gearman/server -run Docs -update writes it", err)
	}
}
