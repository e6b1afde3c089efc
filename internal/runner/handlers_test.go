package runner

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"procops/internal/proc"
)

// examples returns the handlers in docs/handlers.md for a mode, by language.
func examples(t *testing.T, mode Mode) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/handlers.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## The mode "+string(mode)+"\n")
	if !ok {
		t.Fatalf("docs/handlers.md does not describe the mode %s", mode)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	found := make(map[string]string)
	for i, block := range strings.Split(section, "```") {
		if i%2 == 1 {
			language, code, _ := strings.Cut(block, "\n")
			found[language] = code
		}
	}
	return found
}

func TestDocumentedHandlers(t *testing.T) {
	h := newHost(t)
	found := examples(t, ModeCommand)
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

func TestDocumentedCoprocesses(t *testing.T) {
	found := examples(t, ModeCoprocess)
	for _, language := range []string{"sh", "python", "php"} {
		path := filepath.Join(t.TempDir(), "handler")
		if err := os.WriteFile(path, []byte(found[language]), 0o755); err != nil {
			t.Fatal(err)
		}
		r, d := newTestPool(t, func() (proc.Spec, error) { return proc.Spec{Argv: proc.Command{path}}, nil })
		for _, c := range []struct {
			input, output, diagnostics string
			outcome                    Outcome
			done                       []uint64
		}{
			{"one", "ONE", "", Success, []uint64{1}},
			{"what?", "WHAT?", "odd: what?\n", Warning, []uint64{1}},
			{"", "", "", Retry, nil},
			{"one\nwhat?\nthree", "ONE\nWHAT?\nTHREE", "odd: what?\n", Warning, []uint64{1, 2, 3}},
			{"\"two\"\n\\", "\"TWO\"\n\\", "", Success, []uint64{1, 2}},
		} {
			if language == "sh" && strings.ContainsAny(c.input, "\n\"") {
				continue // as the page says
			}
			var done []uint64
			result := do(t, r, "", input(c.input), func(w *Work) { w.OnProgress = func(p Progress) { done = append(done, p.Done) } })
			if result.Outcome != c.outcome || string(result.Output) != c.output || result.Diagnostics != c.diagnostics || !slices.Equal(done, c.done) {
				t.Errorf("%s with %q: %+v, output %q, progress %v", language, c.input, result, result.Output, done)
			}
		}
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if n := d.await(t, NoticeEnded, 1); n.Exit.ShellCode() != 0 || n.Cause != CauseClosed {
			t.Errorf("%s: %+v", language, n)
		}
		closeHost(t, r)
	}
}
