package group

import (
	"flag"
	"testing"

	"procops/internal/states"
)

var update = flag.Bool("update", false, "write the generated parts of docs/ instead of comparing them")

func TestTable(t *testing.T) {
	if err := machine().Check(); err != nil {
		t.Error(err)
	}
}

// TestDocsStates compares the section in docs/states.md with the code.
func TestDocsStates(t *testing.T) {
	text := "\nHow a broker of tasks does, as one procops process sees it. A broker that is down is tried\nagain after a while; a look cannot tell whether it takes new tasks, only a push can.\n" + machine().Markdown()
	if err := states.Document("../../../../docs/states.md", "Broker of tasks", text, *update); err != nil {
		t.Errorf("docs/states.md: %v; go test ./internal/tasks/broker/group -run Docs -update writes it", err)
	}
}
