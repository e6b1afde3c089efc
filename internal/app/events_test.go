package app

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"procops/internal/event"
)

var update = flag.Bool("update", false, "write the generated docs instead of comparing them")

const eventsHead = `# Events

Every event type that procops publishes, with the fields of its data. This page is
generated from the code (` + "`go test ./internal/app -run Docs -update`" + `); ` + "`procops events types`" + `
prints the same list, and [the guide](guide/events.md) shows how to list, follow and
emit events.

An event in JSON:

` + "```json" + `
{"id": 42, "time": "2026-03-01T12:00:00.123456Z", "type": "heartbeat.attached",
 "source": "heartbeat[4711]", "subject": "backup", "data": {"description": "nightly"}}
` + "```" + `

` + "`id`" + ` ascends in the order of the commits in one state directory and is never used twice.
` + "`source`" + ` is the procops process that speaks, ` + "`subject`" + ` what the event is about.
`

// eventsPage writes docs/events.md.
func eventsPage(all []event.Description) string {
	var page strings.Builder
	page.WriteString(eventsHead)
	concern := ""
	for _, d := range all {
		if first, _, _ := strings.Cut(d.Name, "."); first != concern {
			concern = first
			fmt.Fprintf(&page, "\n## %s\n", concern)
		}
		fmt.Fprintf(&page, "\n### %s\n\n%s\n", d.Name, d.Doc)
		if len(d.Fields) == 0 {
			continue
		}
		page.WriteString("\n| field | type | meaning |\n|---|---|---|\n")
		for _, f := range d.Fields {
			fmt.Fprintf(&page, "| `%s` | %s | %s |\n", f.Name, f.Kind, f.Doc)
		}
	}
	return page.String()
}

func TestEventsDocs(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "events.md")
	want := eventsPage(Events())
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/events.md is not what the code says: go test ./internal/app -run Docs -update")
	}
}

// TestEventsAreComplete looks for types in the sources that Events forgets.
func TestEventsAreComplete(t *testing.T) {
	define := regexp.MustCompile(`event\.Define\[\w+\]\("([^"]+)"`)
	var defined []string
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, match := range define.FindAllSubmatch(source, -1) {
			defined = append(defined, string(match[1]))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, d := range Events() {
		listed = append(listed, d.Name)
	}
	slices.Sort(defined)
	if !slices.Equal(defined, listed) {
		t.Errorf("defined: %q\nlisted: %q", defined, listed)
	}
}

// TestEventsAreDescribed checks what keeps the page readable.
func TestEventsAreDescribed(t *testing.T) {
	var names []string
	for _, d := range Events() {
		names = append(names, d.Name)
		if err := event.CheckType(d.Name); err != nil {
			t.Errorf("%s: %v", d.Name, err)
		}
		if !strings.HasSuffix(d.Doc, ".") {
			t.Errorf("%s: its doc %q is not a sentence", d.Name, d.Doc)
		}
		for _, f := range d.Fields {
			if f.Doc == "" {
				t.Errorf("%s: the field %q has no doc", d.Name, f.Name)
			}
		}
	}
	if len(names) < 10 || !slices.IsSorted(names) || len(slices.Compact(names)) != len(Events()) {
		t.Errorf("the names are too few, not in order or not unique: %q", names)
	}
}
