package heartbeat

import (
	"slices"
	"strings"
	"testing"
	"time"

	"procops/internal/fault"
	"procops/internal/store"
	"procops/internal/unit"
)

func minutes(n int) unit.Duration { return unit.Duration(time.Duration(n) * time.Minute) }

// wantFault checks the kind of an error and that its text and hints hold words.
func wantFault(t *testing.T, err error, kind fault.Kind, words ...string) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Errorf("error %v has exit code %d, want %d", err, fault.ExitCode(err), kind)
		return
	}
	text := err.Error() + "\n" + strings.Join(fault.Hints(err), "\n")
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("error %q lacks %q", text, word)
		}
	}
}

func TestAttachAndDetach(t *testing.T) {
	w := newWorld(t, Config{})
	ctx := t.Context()
	w.must(w.Attach(ctx, "backup", Target{Description: "nightly", Tags: []string{"db"}, Period: minutes(10)}))
	wantFault(t, w.Attach(ctx, "backup", Target{}), fault.Conflict, `cannot attach heartbeat "backup": it is already attached`)
	wantFault(t, w.Detach(ctx, "backpu"), fault.NotFound, `heartbeat "backpu" is not attached`, `did you mean "backup"?`)
	w.must(w.Attach(ctx, "queue", Target{}))
	if got := w.names(); got != "backup queue" {
		t.Errorf("list: %s", got)
	}
	w.must(w.Detach(ctx, "backup"))
	wantFault(t, w.Detach(ctx, "backup"), fault.NotFound)
	if got := w.names(); got != "queue" {
		t.Errorf("list: %s", got)
	}
	want := []string{"heartbeat.attached backup", "heartbeat.attached queue", "heartbeat.detached backup"}
	if got := w.events(); !slices.Equal(got, want) {
		t.Errorf("events: %q", got)
	}
}

func TestAttachRefusesBadNamesAndTargets(t *testing.T) {
	w := newWorld(t, Config{})
	for _, name := range []string{"", "../etc", "a b", "-x", ".x", strings.Repeat("x", 65), "a\x00b", "ä"} {
		wantFault(t, w.Attach(t.Context(), name, Target{}), fault.Usage, "invalid name of a heartbeat")
	}
	wantFault(t, w.Attach(t.Context(), "x", Target{WarnAfter: minutes(2), CriticalAfter: minutes(1)}), fault.Usage,
		"warn_after (2m) is later than critical_after (1m)")
	if got := w.names(); got != "" {
		t.Errorf("list: %s", got)
	}
}

func TestDeclaredAndAttachedAreOneList(t *testing.T) {
	w := newWorld(t, Config{
		DefaultPeriod: minutes(60),
		Heartbeats:    map[string]Target{"web": {Description: "declared", Tags: []string{"shop", "front"}}, "zero": {}},
	})
	ctx := t.Context()
	w.must(w.Attach(ctx, "queue", Target{Tags: []string{"shop"}}))
	if got := w.names(); got != "queue web zero" {
		t.Errorf("list: %s", got)
	}
	if got := w.names("shop"); got != "queue web" {
		t.Errorf("with tag shop: %s", got)
	}
	if got := w.names("shop", "front"); got != "web" {
		t.Errorf("with both tags: %s", got)
	}
	wantFault(t, w.Attach(ctx, "web", Target{}), fault.Conflict, "already attached, by the configuration")
	wantFault(t, w.Detach(ctx, "web"), fault.Conflict, "the configuration declares it", "[heartbeat.web]")
	if n := w.beat("web"); n != 1 {
		t.Errorf("the first beat of a declared heartbeat has number %d", n)
	}
	names, err := w.DetachAll(ctx)
	w.must(err)
	if !slices.Equal(names, []string{"queue"}) {
		t.Errorf("detached %q", names)
	}
	if got := w.names(); got != "web zero" {
		t.Errorf("list: %s", got)
	}
}

// TestDetachForgetsBeats attaches a name again: it must begin anew.
func TestDetachForgetsBeats(t *testing.T) {
	w := newWorld(t, Config{})
	w.must(w.Attach(t.Context(), "x", Target{}))
	w.beat("x")
	w.knockOne("x")
	w.must(w.Detach(t.Context(), "x"))
	w.must(w.Attach(t.Context(), "x", Target{}))
	if k := w.knockOne("x"); k.Status != Unknown {
		t.Errorf("status %s", k.Status)
	}
	if n := w.beat("x"); n != 1 {
		t.Errorf("number %d", n)
	}
	entries, err := w.History(t.Context(), "x", HistoryFilter{})
	w.must(err)
	if len(entries) != 2 {
		t.Errorf("the history has %d entries, want both", len(entries))
	}
}

// TestNoLongerDeclared takes a heartbeat out of the configuration that has
// beaten already.
func TestNoLongerDeclared(t *testing.T) {
	w := newWorld(t, Config{Heartbeats: map[string]Target{"x": {}}})
	w.beat("x")
	w.cfg.Heartbeats = nil
	if got := w.names(); got != "" {
		t.Errorf("list: %s", got)
	}
	_, err := w.Beat(t.Context(), "x", Sign{})
	wantFault(t, err, fault.NotFound)
	w.must(w.Attach(t.Context(), "x", Target{}))
	if k := w.knockOne("x"); k.Status != Unknown {
		t.Errorf("status %s: a beat of another life counts", k.Status)
	}
}

func TestThresholds(t *testing.T) {
	for _, test := range []struct {
		target   Target
		fallback time.Duration
		want     Thresholds
	}{
		{Target{}, 0, Thresholds{36 * time.Hour, 72 * time.Hour}},
		{Target{}, time.Hour, Thresholds{90 * time.Minute, 3 * time.Hour}},
		{Target{Period: minutes(10)}, time.Hour, Thresholds{15 * time.Minute, 30 * time.Minute}},
		{Target{Period: minutes(10), WarnAfter: minutes(1)}, 0, Thresholds{time.Minute, 30 * time.Minute}},
		{Target{Period: minutes(10), WarnAfter: minutes(60)}, 0, Thresholds{time.Hour, time.Hour}},
		{Target{Period: minutes(10), CriticalAfter: minutes(5)}, 0, Thresholds{5 * time.Minute, 5 * time.Minute}},
		{Target{WarnAfter: minutes(1), CriticalAfter: minutes(2)}, 0, Thresholds{time.Minute, 2 * time.Minute}},
		{Target{Period: 1<<63 - 1}, 0, Thresholds{longest * 3 / 2, longest * 3}},
	} {
		if got := test.target.Thresholds(test.fallback); got != test.want {
			t.Errorf("%+v: %v, want %v", test.target, got, test.want)
		}
	}
}

func TestConfigCheck(t *testing.T) {
	cfg := Config{HistoryKeep: 0, Heartbeats: map[string]Target{
		"a": {WarnAfter: minutes(5), CriticalAfter: minutes(1)},
		"b": {Period: minutes(1), MinInterval: minutes(2)},
		"c": {Tags: []string{"x", ""}},
		"d": {Period: minutes(1), MinInterval: minutes(1)},
		"e": {UUID: "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"},
		"f": {UUID: "F81D4FAE-7dec-11d0-a765-00a0c91e6bf6"},
	}}
	var got []string
	cfg.Check(func(err error, path ...string) { got = append(got, strings.Join(path, ".")+": "+err.Error()) })
	want := []string{
		"default_period: default_period must be longer than 0",
		"history_keep: history_keep must be at least 1",
		"a.warn_after: warn_after (5m) is later than critical_after (1m)",
		"b.min_interval: min_interval (2m) must be shorter than warn_after (1m30s)",
		"c.tags: a tag must not be empty",
		`f.uuid: heartbeat "e" has the same uuid: a ping would be for either`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("reported:\n%s", strings.Join(got, "\n"))
	}
}

// TestMonitorList reads the view as SQL clients of component_heartbeat do.
func TestMonitorList(t *testing.T) {
	w := newWorld(t, Config{})
	w.must(w.Attach(t.Context(), "a", Target{}))
	w.must(w.Attach(t.Context(), "b", Target{}))
	w.clock.move(90 * time.Second)
	_, err := w.Beat(t.Context(), "b", Sign{Client: Client{PID: 7, Uptime: 61 * time.Second, Memory: 4096}})
	w.must(err)
	w.must(w.store.View(t.Context(), func(tx *store.Tx) error {
		var (
			identity, created, updated string
			timestamp, uptime, memory  int64
			known                      int
		)
		err := tx.QueryRow("SELECT heartbeat_identity, timestamp, uptime, memory_usage, created_at, updated_at FROM monitor_list WHERE timestamp IS NOT NULL").
			Scan(&identity, &timestamp, &uptime, &memory, &created, &updated)
		if err != nil {
			return err
		}
		if identity != "b" || timestamp != w.clock.now.Unix() || uptime != 61 || memory != 4096 ||
			created != "2026-03-01 12:00:00" || updated != "2026-03-01 12:01:30" {
			t.Error(identity, timestamp, uptime, memory, created, updated)
		}
		err = tx.QueryRow("SELECT count(*) FROM monitor_list").Scan(&known)
		if known != 2 {
			t.Errorf("%d rows", known)
		}
		return err
	}))
}
