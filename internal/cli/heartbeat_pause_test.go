package cli

import (
	"testing"
	"time"
)

func TestNextTime(t *testing.T) {
	now := time.Date(2026, 12, 31, 22, 30, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"22:31": "2026-12-31T22:31:00Z",
		"22:30": "2027-01-01T22:30:00Z",
		"06:00": "2027-01-01T06:00:00Z",
		"6:00":  "2027-01-01T06:00:00Z",
	} {
		if at, ok := nextTime(text, now); !ok || at.Format(time.RFC3339) != want {
			t.Errorf("%s is %s, %v, want %s", text, at, ok, want)
		}
	}
	for _, text := range []string{"", "24:00", "6", "2027-01-01", "06:00:00"} {
		if at, ok := nextTime(text, now); ok {
			t.Errorf("%q is %s", text, at)
		}
	}
}
