package runner

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"procops/internal/proc"
)

// examples returns the handlers in docs/handlers.md by language.
func examples(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/handlers.md")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	for i, block := range strings.Split(string(text), "```") {
		if i%2 == 1 {
			language, code, _ := strings.Cut(block, "\n")
			found[language] = code
		}
	}
	return found
}

func TestDocumentedHandlers(t *testing.T) {
	h := newHost(t)
	found := examples(t)
	for _, language := range []string{"sh", "python", "php"} {
		path := filepath.Join(t.TempDir(), "handler")
		if err := os.WriteFile(path, []byte(found[language]), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			input, output, diagnostics string
			outcome                    Outcome
			done                       []uint64
		}{
			{"one\ntwo\n", "ONE\nTWO\n", "", Success, []uint64{1, 2}},
			{"one\nwhat?\nthree\n", "ONE\nWHAT?\nTHREE\n", "odd: what?\n", Warning, []uint64{1, 2, 3}},
			{"", "", "", Retry, nil},
		} {
			var done []uint64
			r, err := Run(t.Context(), h, Unit{
				Command:    proc.Command{path},
				Input:      strings.NewReader(c.input),
				OnProgress: func(p Progress) { done = append(done, p.Done) },
			})
			if err != nil {
				t.Fatal(err)
			}
			if r.Outcome != c.outcome || string(r.Output) != c.output || r.Diagnostics != c.diagnostics || !slices.Equal(done, c.done) {
				t.Errorf("%s with %q: %+v, output %q, progress %v", language, c.input, r, r.Output, done)
			}
		}
	}
}
