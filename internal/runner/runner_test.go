package runner

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"procops/internal/proc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newHost(t *testing.T) *proc.Host {
	t.Helper()
	h, err := proc.NewHost(proc.HostOptions{Subreaper: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func TestInputAndOutput(t *testing.T) {
	h := newHost(t)
	var steps []Progress
	r, err := Run(t.Context(), h, Unit{
		Command:    proc.Command{"/bin/sh", "-c", "tr a-z A-Z; echo 1/2 half >&3; echo note >&2"},
		Input:      strings.NewReader("hello"),
		OnProgress: func(p Progress) { steps = append(steps, p) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if string(r.Output) != "HELLO" || r.Diagnostics != "note\n" || r.Outcome != Success {
		t.Errorf("got %+v", r)
	}
	if len(steps) != 1 || steps[0] != (Progress{Done: 1, Total: 2, Percent: 50, Message: "half"}) {
		t.Errorf("progress %+v", steps)
	}
}
