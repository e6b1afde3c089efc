package hook

import (
	"testing"

	"procops/internal/event"
)

func TestConditions(t *testing.T) {
	e := event.Event{Type: "daemon.task_failed", Subject: "report", Source: "daemon[7]", Data: struct {
		Code  int               `json:"code"`
		Ratio float64           `json:"ratio"`
		OK    bool              `json:"ok"`
		Text  string            `json:"text"`
		Empty string            `json:"empty"`
		Big   uint64            `json:"big"`
		Inner map[string]string `json:"inner"`
	}{3, 0.5, true, "disk full", "", 1<<63 + 1, map[string]string{"host": "a1"}}}
	f, err := fieldsOf(e)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		field string
		want  any
		holds bool
	}{
		{"subject", "report", true},
		{"subject", "rep*", true},
		{"subject", "repor", false},
		{"type", "daemon.*", true},
		{"source", "daemon[7]", true},
		{"code", int64(3), true},
		{"code", 3.0, true},
		{"code", "3", true},
		{"code", int64(4), false},
		{"code", "!= 3", false},
		{"code", "!=4", true},
		{"code", "> 2", true},
		{"code", "> 3", false},
		{"code", ">= 3", true},
		{"code", "< 3", false},
		{"code", "<= 3", true},
		{"ratio", "< 0.6", true},
		{"ok", true, true},
		{"ok", false, false},
		{"text", "*full", true},
		{"text", "> 1", false},
		{"empty", "", true},
		{"text", "", false},
		{"big", "9223372036854775809", true},
		{"inner.host", "a1", true},
		{"inner.port", "a1", false},
		{"nothing", "", false},
		{"nothing", "*", false},
		{"nothing", "!= x", true},
		{"code.deeper", "3", false},
	} {
		var condition Condition
		if err := condition.UnmarshalTOML(c.want); err != nil {
			t.Fatalf("%v: %v", c.want, err)
		}
		value, found := f.get(c.field)
		if got := condition.holds(value, !found); got != c.holds {
			t.Errorf("%s is %q (%v); want %v: %v", c.field, value, found, c.want, got)
		}
	}
}

func TestBadConditions(t *testing.T) {
	for _, bad := range []any{"> x", ">=", []any{"a"}, map[string]any{}} {
		if err := new(Condition).UnmarshalTOML(bad); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}

func TestFill(t *testing.T) {
	f, err := fieldsOf(event.Event{Type: "a.b", Subject: "x", Data: map[string]any{"code": 3, "deep": map[string]any{"er": "y"}}})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"{{type}} of {{subject}}: {{ code }} {{deep.er}}": "a.b of x: 3 y",
		"{{nothing}}|":    "|",
		"{{code}":         "{{code}",
		"a {{":            "a {{",
		"no place at all": "no place at all",
	} {
		if got := f.fill(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func TestRates(t *testing.T) {
	var r Rate
	if err := r.UnmarshalText([]byte("10/1h")); err != nil || r.Count != 10 || r.Per.Hours() != 1 {
		t.Errorf("10/1h is %+v, %v", r, err)
	}
	for _, bad := range []string{"", "10", "0/1h", "-1/1h", "10/", "10/x", "x/1h", "10/0s"} {
		if err := r.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
