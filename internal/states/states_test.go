package states_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"procops/internal/states"
)

type (
	state   string
	trigger string
)

func lamp() states.Table[state, trigger] {
	return states.Table[state, trigger]{
		States:   []state{"off", "on", "broken"},
		Triggers: []trigger{"press", "burn"},
		Next: [][]state{
			{"on", states.Never},
			{"off", "broken"},
			{states.Stay, states.Stay},
		},
	}
}

func TestTransition(t *testing.T) {
	m := lamp()
	if err := m.Check(); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		from    state
		trigger trigger
		to      state
		bad     bool
	}{
		{"off", "press", "on", false},
		{"off", "burn", "off", true},
		{"on", "burn", "broken", false},
		{"broken", "press", "broken", false},
		{"nowhere", "press", "nowhere", true},
		{"on", "shout", "on", true},
	} {
		if to, err := m.Transition(c.from, c.trigger); to != c.to || (err != nil) != c.bad {
			t.Errorf("%s + %s is %s, %v", c.from, c.trigger, to, err)
		}
	}
}

func TestCheck(t *testing.T) {
	for want, spoil := range map[string]func(*states.Table[state, trigger]){
		`2 rows for 3 states`:                                     func(m *states.Table[state, trigger]) { m.Next = m.Next[:2] },
		`state "on" has 1 cells for 2 triggers`:                   func(m *states.Table[state, trigger]) { m.Next[1] = m.Next[1][:1] },
		`state "on", trigger "burn": there is no state "nowhere"`: func(m *states.Table[state, trigger]) { m.Next[1][1] = "nowhere" },
		`state "broken" cannot be reached`:                        func(m *states.Table[state, trigger]) { m.Next[1][1] = states.Stay },
	} {
		m := lamp()
		spoil(&m)
		if err := m.Check(); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestMarkdown(t *testing.T) {
	const want = "\n| state | press | burn |\n|---|---|---|\n| **off** | on |  |\n| **on** | off | broken |\n| **broken** | – | – |\n"
	if got := lamp().Markdown(); got != want {
		t.Errorf("%s", got)
	}
}

func TestDocument(t *testing.T) {
	path := filepath.Join(t.TempDir(), "states.md")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func() string {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for before, want := range map[string]string{
		"# S\n\n## Lamp\nold\n\n## Door\nopen\n": "# S\n\n## Lamp\nnew\n\n## Door\nopen\n",
		"# S\n\n## Door\nopen\n\n## Lamp\nold\n": "# S\n\n## Door\nopen\n\n## Lamp\nnew\n",
		"# S\n\n## Door\nopen\n":                 "# S\n\n## Door\nopen\n\n## Lamp\nnew\n",
	} {
		write(before)
		if err := states.Document(path, "Lamp", "new\n\n", false); !errors.Is(err, states.ErrStale) || read() != before {
			t.Errorf("%q: %v, now %q", before, err, read())
		}
		if err := states.Document(path, "Lamp", "new\n\n", true); err != nil || read() != want {
			t.Errorf("%q: %v, now %q", before, err, read())
		}
		if err := states.Document(path, "Lamp", "new\n", false); err != nil {
			t.Errorf("%q: %v", want, err)
		}
	}
}
