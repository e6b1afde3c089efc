package heartbeat

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"procops/internal/proc"
)

// TestDamagedRecords has columns hold what they never should: the others are knocked at
// and listed, and what is damaged is said to be unknown.
func TestDamagedRecords(t *testing.T) {
	for _, damage := range []string{
		"beat_time = 'x'", "number = 'x'", "uptime = 'x'", "since = 'x'", "failures = 'x'", "target = '['", "data = '['", "state = 'odd'",
	} {
		t.Run(damage, func(t *testing.T) {
			w := newWorld(t, Config{Heartbeats: map[string]Target{"good": hourly()}})
			w.must(w.Attach(t.Context(), "bad", Target{}))
			w.beat("bad")
			w.beat("good")
			w.exec("UPDATE heartbeats SET " + damage + " WHERE name = 'bad'")
			if report := w.pass(Deps{}); report.By[OK] != 1 || report.By[Unknown] != 1 {
				t.Errorf("the pass found %+v", report)
			}
			if got := w.names(); got != "bad good" {
				t.Errorf("the list has %q", got)
			}
			k := w.knockOne("bad")
			if k.Status != Unknown || !strings.Contains(k.Message, `heartbeat "bad"`) {
				t.Errorf("the knock found %s %q", k.Status, k.Message)
			}
			if _, err := w.Beat(t.Context(), "bad", Sign{}); err == nil || !strings.Contains(err.Error(), `heartbeat "bad"`) {
				t.Errorf("a beat: %v", err)
			}
			w.clock.jump(time.Hour)
			w.beat("good")
			w.must(w.Detach(t.Context(), "bad"))
		})
	}
}

// TestDamagedRunsAndAlerts: what is known of runs and alerts keeps nobody back either.
func TestDamagedRunsAndAlerts(t *testing.T) {
	w := newWorld(t, Config{Heartbeats: map[string]Target{"a": {OnAttack: []Reaction{{Task: "mail"}}}, "z": hourly()}})
	w.must(w.endRun(t.Context(), Run{Name: "a", Program: "true", State: RunSucceeded}, Client{}))
	w.beat("z")
	w.exec("UPDATE heartbeat_runs SET started_at = 'x'")
	w.exec("INSERT INTO heartbeat_alerts (name, alert, time, failures, message) VALUES ('a', 'down', 'x', 1, '')")
	var did heard
	deps := Deps{PushTask: func(_ context.Context, _ string, params []byte) error { did.note(string(params)); return nil }}
	if report := w.pass(deps); report.By[OK] != 1 || report.By[Unknown] != 1 {
		t.Errorf("the pass found %+v", report)
	}
	if k := w.knockOne("a"); k.Status != Unknown || !strings.Contains(k.Message, `cannot read the runs of "a"`) {
		t.Errorf("the knock found %s %q", k.Status, k.Message)
	}
	w.pass(deps)
	if got := did.String(); strings.Count(got, "cannot read the alert") != 1 {
		t.Errorf("did %q", got)
	}
}

// TestTalkativeCommand: what a command writes is kept nowhere, however much it is.
func TestTalkativeCommand(t *testing.T) {
	w := newWorld(t, Config{})
	r := reactor{list: w.List, deps: Deps{Host: newHost(t)}}
	if err := r.exec(t.Context(), proc.Command{"/bin/sh", "-c", "head -c 20000000 /dev/zero"}, delivery{Name: "a"}); err != nil {
		t.Error(err)
	}
}

// TestAlertIsDeliveredOnce has an alert be read before, and sent after, it was delivered.
func TestAlertIsDeliveredOnce(t *testing.T) {
	w := newWorld(t, Config{Heartbeats: map[string]Target{"a": {OnAttack: []Reaction{{Task: "mail"}}}}})
	w.pass(Deps{})
	_, err := w.Beat(t.Context(), "a", Sign{Failed: true})
	w.must(err)
	var did heard
	c := newCourier(w.List, Deps{PushTask: func(context.Context, string, []byte) error { did.note("told"); return nil }})
	open, err := w.openAlerts(t.Context(), 0)
	w.must(err)
	for _, alert := range append(open, open...) {
		if !c.send(t.Context(), alert) {
			t.Error("no courier is free")
		}
		c.wait()
	}
	if got := did.String(); got != "told" {
		t.Errorf("did %q", got)
	}
}

// TestDeliveryThatCannotBeRecorded has the disk be full after an alert was delivered: it
// is not delivered again with each pass.
func TestDeliveryThatCannotBeRecorded(t *testing.T) {
	w := newWorld(t, Config{Heartbeats: map[string]Target{"a": {OnAttack: []Reaction{{Task: "mail"}}}}})
	w.pass(Deps{})
	_, err := w.Beat(t.Context(), "a", Sign{Failed: true})
	w.must(err)
	w.exec("CREATE TRIGGER full BEFORE UPDATE ON heartbeat_alerts BEGIN SELECT RAISE(ABORT, 'the disk is full'); END")
	var did heard
	c := newCourier(w.List, Deps{PushTask: func(context.Context, string, []byte) error { did.note("told"); return nil }})
	for pass := range 4 {
		if pass == 2 {
			w.exec("DROP TRIGGER full")
		}
		w.must(c.deliver(t.Context()))
		c.wait()
	}
	open, err := w.openAlerts(t.Context(), 0)
	w.must(err)
	if got := did.String(); got != "told" || len(open) != 0 || len(c.brought) != 0 {
		t.Errorf("did %q; open are %v, not recorded %v", got, open, c.brought)
	}
}

// TestTheSameComplaintIsMadeOnce a minute.
func TestTheSameComplaintIsMadeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		m := &monitor{courier: newCourier(nil, Deps{Log: zerolog.New(&log)}), said: map[string]time.Time{}}
		for range 121 {
			m.complain(errors.New("the disk is full"), "cannot knock")
			<-time.After(time.Second)
		}
		m.complain(errors.New("it is locked"), "cannot knock")
		if n, all := strings.Count(log.String(), "full"), strings.Count(log.String(), "\n"); n != 3 || all != 4 {
			t.Errorf("%d of %d:\n%s", n, all, log.String())
		}
	})
}
