package logging

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"procops/internal/fault"
)

// terminal is a writer that says it is a terminal.
type terminal struct{ bytes.Buffer }

func (*terminal) Terminal() bool { return true }

func TestLoggerJSON(t *testing.T) {
	var out bytes.Buffer
	log, err := New(&out, "info", "json")
	if err != nil {
		t.Fatal(err)
	}
	log.Debug().Msg("unheard")
	log.Warn().Str("process", "web").Msg("it is late")
	var got map[string]string
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v in %q", err, out.String())
	}
	at, err := time.Parse(time.RFC3339Nano, got["time"])
	if err != nil || time.Since(at).Abs() > time.Minute {
		t.Errorf("time %q: %v", got["time"], err)
	}
	delete(got, "time")
	want := map[string]string{"level": "warn", "process": "web", "message": "it is late"}
	if len(got) != len(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s: got %q, want %q", key, got[key], value)
		}
	}
}

func TestLoggerConsoleIsColouredOnTerminalsOnly(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	for _, c := range []struct {
		name     string
		noColor  string
		terminal bool
		want     bool
	}{
		{"pipe", "", false, false},
		{"terminal", "", true, true},
		{"terminal with NO_COLOR", "1", true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("NO_COLOR", c.noColor)
			var out terminal
			log, err := New(&out, "info", "console")
			if !c.terminal {
				log, err = New(&out.Buffer, "info", "console")
			}
			if err != nil {
				t.Fatal(err)
			}
			log.Error().Int("code", 3).Msg("it broke")
			if got := bytes.ContainsRune(out.Bytes(), '\x1b'); got != c.want {
				t.Errorf("colour is %v in %q", got, out.String())
			}
			for _, part := range []string{"it broke", "code=", "3", "ERR"} {
				if !bytes.Contains(out.Bytes(), []byte(part)) {
					t.Errorf("%q lacks %q", out.String(), part)
				}
			}
		})
	}
}

func TestLoggerRefusals(t *testing.T) {
	for _, c := range []struct{ level, format, want string }{
		{"loud", "json", `unknown log level "loud": want "debug", "info", "warn" or "error"`},
		{"", "json", `unknown log level "": want "debug", "info", "warn" or "error"`},
		{"info", "xml", `unknown log format "xml": want "console" or "json"`},
	} {
		_, err := New(&bytes.Buffer{}, c.level, c.format)
		if !fault.Is(err, fault.Usage) || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}
