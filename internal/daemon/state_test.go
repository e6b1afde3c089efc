package daemon

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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

const statesFile = "../../docs/states.md"

// TestDocsStates compares the section of daemons in docs/states.md with the code.
func TestDocsStates(t *testing.T) {
	page, err := os.ReadFile(statesFile)
	if err != nil {
		t.Fatal(err)
	}
	const title = "## Daemon\n"
	before, rest, _ := strings.Cut(string(page), title)
	section, after, more := strings.Cut(rest, "\n## ")
	if more {
		section, after = section+"\n", "## "+after
	}
	want := title + machine().Markdown() + `
- **waiting**: for its next turn. **running**: a turn is under way.
- **ending**: the last turn is under way. **stopping**: the turn is being stopped, by a signal and then SIGKILL.
- **stopped**: it has ended. *finish* is its own end: a turn has asked for it, too many have failed, or it has grown too large.

`
	if *update {
		if !strings.HasSuffix(before, "\n\n") {
			before = strings.TrimRight(before, "\n") + "\n\n"
		}
		if err := os.WriteFile(statesFile, []byte(before+want+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(strings.TrimRight(want, "\n"), strings.TrimRight(title+section, "\n")); diff != "" {
		t.Errorf("docs/states.md is stale; run go test ./internal/daemon -run Docs -update\n%s", diff)
	}
}
