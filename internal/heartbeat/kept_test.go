package heartbeat

import (
	"fmt"
	"strings"
	"testing"

	"procops/internal/fault"
)

func TestKeptPings(t *testing.T) {
	w := newWorld(t, Config{Heartbeats: map[string]Target{"a": hourly(), "b": hourly()}})
	for i := range pingsKept + 5 {
		p := Ping{Kind: PingSuccess, Body: fmt.Append(nil, i)}
		if i%10 == 0 {
			p = Ping{Kind: PingFail, ExitCode: i, HasCode: true, Body: p.Body, Source: "test"}
		}
		_, err := w.Ping(t.Context(), "a", p)
		w.must(err)
	}
	pings := func(f KeptFilter) (bodies string) {
		t.Helper()
		kept, err := w.Pings(t.Context(), "a", f)
		w.must(err)
		for _, p := range kept {
			bodies += " " + string(p.Body)
		}
		return bodies
	}
	if got := pings(KeptFilter{Limit: 2}); got != " 103 104" {
		t.Errorf("the newest are%s", got)
	}
	if got := strings.Fields(pings(KeptFilter{})); len(got) != pingsKept || got[0] != "5" {
		t.Errorf("%d are kept: %s", len(got), got)
	}
	if got := pings(KeptFilter{Failed: true, Limit: 2}); got != " 90 100" {
		t.Errorf("the newest failures are%s", got)
	}
	failed, err := w.Pings(t.Context(), "a", KeptFilter{Failed: true, Limit: 1})
	w.must(err)
	if p := failed[0]; p.ExitCode != 100 || !p.HasCode || p.Source != "test" || !p.Time.Equal(w.clock.read()) {
		t.Errorf("kept %+v", p)
	}
	if got := pings(KeptFilter{ID: failed[0].ID}); got != " 100" {
		t.Errorf("ping %d is%s", failed[0].ID, got)
	}
	if kept, err := w.Pings(t.Context(), "b", KeptFilter{}); err != nil || len(kept) != 0 {
		t.Errorf("b has %+v, %v", kept, err)
	}
	for name, f := range map[string]KeptFilter{"a": {ID: 1}, "b": {ID: failed[0].ID}, "nobody": {}} {
		if _, err := w.Pings(t.Context(), name, f); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s %+v: %v", name, f, err)
		}
	}
}
