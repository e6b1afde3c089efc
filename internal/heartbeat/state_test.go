package heartbeat

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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

const statesFile = "../../docs/states.md"

// TestDocsStates compares the section of heartbeats in docs/states.md with the code.
func TestDocsStates(t *testing.T) {
	page, err := os.ReadFile(statesFile)
	if err != nil {
		t.Fatal(err)
	}
	const title = "## Heartbeat\n"
	before, rest, _ := strings.Cut(string(page), title)
	section, after, more := strings.Cut(rest, "\n## ")
	if more {
		section, after = section+"\n", "## "+after
	}
	want := title + statesDoc()
	if more {
		want += "\n"
	}
	if *update {
		if err := os.WriteFile(statesFile, []byte(before+want+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, title+section); diff != "" {
		t.Errorf("docs/states.md is stale; run go test ./internal/heartbeat -run Docs -update\n%s", diff)
	}
}

func statesDoc() string {
	var b strings.Builder
	b.WriteString("\n| state |")
	for _, t := range Triggers() {
		fmt.Fprintf(&b, " %s |", t)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(Triggers())) + "\n")
	for _, s := range States() {
		fmt.Fprintf(&b, "| **%s** |", s)
		for _, t := range Triggers() {
			next, err := transition(s, t)
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
	b.WriteString(`
- **new**: no beat yet; nothing is expected. **up**: it beats as expected.
- **late**: a beat is overdue, within the grace. **down**: the grace is over, the client has failed, or a run took too
  long. In *down*, *overdue* counts one more missed beat until there are alert_after of them.
- **started**: a run is under way; it may take max_runtime. **paused**: nothing is expected; a beat ends the pause.
`)
	return b.String()
}
