package heartbeat

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"procops/internal/cron"
	"procops/internal/proc"
	"procops/internal/store"
	"procops/internal/unit"
)

func expression(tb testing.TB, text string) cron.Expression {
	tb.Helper()
	e, err := cron.Parse(text)
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

// hourly is a heartbeat that beats once an hour.
func hourly() Target {
	return Target{Period: unit.Duration(time.Hour), Grace: unit.Duration(10 * time.Minute)}
}

// pass has a monitor look once, and waits for its reactions.
func (w *world) pass(deps Deps) PassReport {
	w.t.Helper()
	m := &monitor{list: w.List, opt: MonitorOptions{}, courier: newCourier(w.List, deps)}
	report, err := m.pass(w.t.Context())
	w.must(err)
	w.must(m.courier.deliver(w.t.Context()))
	m.courier.wait()
	return report
}

// watchFor has a monitor look every ten seconds for a time.
func (w *world) watchFor(d time.Duration) {
	w.t.Helper()
	for range int(d / (10 * time.Second)) {
		w.clock.move(10 * time.Second)
		w.pass(Deps{})
	}
}

func (w *world) state(name string) State {
	w.t.Helper()
	all, err := w.All(w.t.Context(), nil)
	w.must(err)
	for _, h := range all {
		if h.Name == name {
			return h.State
		}
	}
	w.t.Fatalf("there is no %q", name)
	return ""
}

// alerts returns the alerts that were recorded, as "alert name".
func (w *world) alerts() string {
	w.t.Helper()
	var all []string
	w.must(w.store.View(context.Background(), func(tx *store.Tx) error {
		found, err := tx.Query("SELECT alert || ' ' || name FROM heartbeat_alerts ORDER BY id")
		if err != nil {
			return err
		}
		defer found.Close() //nolint:errcheck // it was read to its end
		for found.Next() {
			var text string
			if err := found.Scan(&text); err != nil {
				return err
			}
			all = append(all, text)
		}
		return found.Err()
	}))
	return strings.Join(all, ", ")
}

func (w *world) exec(query string, args ...any) {
	w.t.Helper()
	w.must(w.store.Update(context.Background(), func(tx *store.Tx) error {
		_, err := tx.Exec(query, args...)
		return err
	}))
}

func TestMonitorSeesDeadlines(t *testing.T) {
	w := newWorld(t, Config{Heartbeats: map[string]Target{"a": hourly(), "never": hourly()}})
	w.beat("a")
	w.pass(Deps{})
	w.watchFor(59 * time.Minute)
	if got := w.state("a"); got != StateUp {
		t.Errorf("a is %s", got)
	}
	w.watchFor(2 * time.Minute)
	if got := w.state("a"); got != StateLate {
		t.Errorf("a is %s", got)
	}
	w.watchFor(10 * time.Minute)
	w.beat("a")
	if got := w.alerts(); got != "down a, recovered a" || w.state("never") != StateNew {
		t.Errorf("alerts %q, never is %s", got, w.state("never"))
	}
}

// TestPulse has the monitor knock once in a pulse, with one entry in the history for
// each knock.
func TestPulse(t *testing.T) {
	target := hourly()
	target.Pulse = unit.Duration(10 * time.Minute)
	w := newWorld(t, Config{Heartbeats: map[string]Target{"a": target}})
	w.beat("a")
	knocked := w.pass(Deps{}).Knocked
	for range 6 * 60 {
		w.clock.move(10 * time.Second)
		knocked += w.pass(Deps{}).Knocked
	}
	history, err := w.History(t.Context(), "a", HistoryFilter{})
	w.must(err)
	if knocked != len(history) || knocked != 6 {
		t.Errorf("%d knocks, %d entries in an hour", knocked, len(history))
	}
}

// TestOutageIsNobodysFault has nobody watch for a day: nothing is down because of
// that, and what does not beat after it is.
func TestOutageIsNobodysFault(t *testing.T) {
	scheduled := Target{Schedule: new(expression(t, "0 3 * * *")), Timezone: "UTC", Grace: unit.Duration(10 * time.Minute)}
	w := newWorld(t, Config{Heartbeats: map[string]Target{"a": hourly(), "night": scheduled}})
	w.beat("a")
	w.beat("night")
	w.pass(Deps{})
	w.clock.move(24 * time.Hour)
	w.pass(Deps{})
	w.watchFor(5 * time.Minute)
	if got := w.alerts(); got != "" {
		t.Errorf("alerts %q after an outage", got)
	}
	w.watchFor(6 * time.Minute) // the nightly one had its grace
	if got := w.alerts(); got != "down night" {
		t.Errorf("alerts %q", got)
	}
	w.watchFor(time.Hour)
	if got := w.alerts(); got != "down night, down a" {
		t.Errorf("alerts %q", got)
	}
}

// TestRebootIsAnOutage is that with another boot id, soon after.
func TestRebootIsAnOutage(t *testing.T) {
	w := newWorld(t, Config{Heartbeats: map[string]Target{"a": hourly()}})
	w.beat("a")
	w.pass(Deps{})
	w.watchFor(59 * time.Minute)
	w.clock.boot = "another"
	w.clock.move(12 * time.Minute)
	w.pass(Deps{})
	if got := w.alerts(); got != "" {
		t.Errorf("alerts %q after a reboot", got)
	}
}

// TestClockJumps sets the wall clock on and back by hours: neither is anything down
// for that, nor is it missed.
func TestClockJumps(t *testing.T) {
	for _, jump := range []time.Duration{5 * time.Hour, -5 * time.Hour, 40 * 24 * time.Hour, -400 * 24 * time.Hour, 3 * time.Second} {
		t.Run(jump.String(), func(t *testing.T) {
			w := newWorld(t, Config{Heartbeats: map[string]Target{"a": hourly(), "b": hourly()}})
			w.beat("a")
			w.pass(Deps{})
			w.watchFor(30 * time.Minute)
			w.clock.jump(jump)
			w.beat("b")
			w.pass(Deps{})
			w.watchFor(29 * time.Minute)
			if k := w.knockOne("a"); k.Status != OK || k.Lag != 59*time.Minute {
				t.Errorf("a is %s, %s old", k.Status, k.Lag)
			}
			if got := w.alerts(); got != "" {
				t.Errorf("alerts %q", got)
			}
			w.watchFor(12 * time.Minute)
			if got := w.alerts(); got != "down a" {
				t.Errorf("alerts %q", got)
			}
		})
	}
}

// TestScheduleAndClockJumps sets the clock over the time of a schedule.
func TestScheduleAndClockJumps(t *testing.T) {
	target := Target{Schedule: new(expression(t, "0 13 * * *")), Timezone: "UTC", Grace: unit.Duration(10 * time.Minute)}
	w := newWorld(t, Config{Heartbeats: map[string]Target{"a": target}})
	w.beat("a") // at 12:00
	w.pass(Deps{})
	w.clock.jump(3 * time.Hour)
	w.pass(Deps{})
	w.watchFor(9 * time.Minute)
	w.beat("a") // the job that was left out has run after all
	w.watchFor(20 * time.Minute)
	if got := w.alerts(); got != "" {
		t.Errorf("alerts %q after a jump over the schedule", got)
	}
	w.clock.jump(-3 * time.Hour) // 12:30 again; the job has run for today
	w.watchFor(2 * time.Hour)
	if got := w.alerts(); got != "" {
		t.Errorf("alerts %q after a jump back over the schedule", got)
	}
}

// TestBrokenHeartbeatsKeepNobodyBack has one corrupt record and one broken storage
// among others: all are knocked at in the same pass.
func TestBrokenHeartbeatsKeepNobodyBack(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t, Config{Heartbeats: map[string]Target{
		"a": hourly(), "corrupt": hourly(), "file": {Storage: dir}, "zone": {Schedule: new(expression(t, "0 3 * * *")), Timezone: "No/Where"}, "z": hourly(),
	}})
	for _, name := range []string{"a", "corrupt", "z"} {
		w.beat(name)
	}
	w.must(os.WriteFile(filepath.Join(dir, "file.json"), []byte("{nonsense"), 0o644))
	w.exec("UPDATE heartbeats SET data = '{' WHERE name = 'corrupt'")
	report := w.pass(Deps{})
	if report.Knocked != 5 || report.By[OK] != 2 || report.By[Unknown] != 3 {
		t.Errorf("%+v", report)
	}
	history, err := w.History(t.Context(), "corrupt", HistoryFilter{})
	w.must(err)
	if len(history) != 1 || history[0].Status != Unknown || !strings.Contains(history[0].Message, `cannot read the data of heartbeat "corrupt"`) {
		t.Errorf("%+v", history)
	}
}

// heard collects what reactions do.
type heard struct {
	mu  sync.Mutex
	all []string
}

func (h *heard) note(text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, text)
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.all, ", ")
}

func newHost(t *testing.T) *proc.Host {
	t.Helper()
	host, err := proc.NewHost(proc.HostOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	})
	return host
}

// TestReactions goes through all that can be done about an alert, in order; one that
// fails or hangs keeps none of the others back.
func TestReactions(t *testing.T) {
	victim := exec.CommandContext(t.Context(), "sleep", "1000")
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- victim.Wait() }()
	out := filepath.Join(t.TempDir(), "out")
	kill := proc.Signal(9)
	target := hourly()
	target.OnAttack = []Reaction{
		{Exec: proc.Command{"/bin/sh", "-c", `echo "$PROCOPS_HEARTBEAT $PROCOPS_ALERT $PROCOPS_FAILURES" >"$0"; cat >>"$0"`, out}},
		{Exec: proc.Command{"/bin/sh", "-c", "echo oh >&2; exit 3"}},
		{Exec: proc.Command{"/bin/sleep", "1000"}, Timeout: unit.Duration(50 * time.Millisecond)},
		{Restart: "web"},
		{Task: "mail"},
		{Signal: &kill},
		{Log: "{{name}} is {{alert}}"},
	}
	w := newWorld(t, Config{})
	w.must(w.Attach(t.Context(), "a", Target{Period: target.Period, Grace: target.Grace, DetachDown: true}))
	w.cfg.OnAttack = target.OnAttack
	// A signal goes by the process's start, so here the clock is the machine's.
	w.clock.now = time.Now()
	client, err := ReadClient(victim.Process.Pid)
	w.must(err)
	_, err = w.Beat(t.Context(), "a", Sign{Client: client})
	w.must(err)
	w.pass(Deps{})
	w.watchFor(70 * time.Minute)
	w.exec("UPDATE heartbeats SET beat_time = ? WHERE name = 'a'", time.Now().UnixMicro())

	var did heard
	var log strings.Builder
	w.clock.move(10 * time.Second)
	w.pass(Deps{
		Host: newHost(t), Env: os.Environ(), Log: zerolog.New(&log),
		Restart: func(_ context.Context, name string) error {
			did.note("restart " + name)
			return errors.New("it is not there")
		},
		PushTask: func(_ context.Context, name string, params []byte) error {
			did.note("task " + name + string(params[:13]))
			return nil
		},
	})
	// The host of the reactions may have reaped it, as it does with all children.
	if err := <-ended; err == nil || err.Error() != "signal: killed" && !errors.Is(err, syscall.ECHILD) {
		t.Errorf("the process that beat ended with %v", err)
	}
	if got := did.String(); got != `restart web, task mail{"name":"a","` {
		t.Errorf("did %q", got)
	}
	if text, err := os.ReadFile(out); err != nil || !strings.HasPrefix(string(text), "a down 1\n{\"name\":\"a\",\"alert\":\"down\"") {
		t.Errorf("the command got %q, %v", text, err)
	}
	for _, want := range []string{"ended with 3 Unknown error: oh", "cut off after 50ms", "it is not there", "a is down"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q: %s", want, log.String())
		}
	}
	if got := w.names(); got != "" {
		t.Errorf("%q is still attached", got)
	}
	if n := strings.Count(strings.Join(w.events(), "\n"), "heartbeat.reaction_failed a"); n != 3 {
		t.Errorf("%d reactions have failed, want 3", n)
	}
}

// TestSignalMissesNobodyElse has a pid that belongs to another process by now.
func TestSignalMissesNobodyElse(t *testing.T) {
	h := Heartbeat{Last: &Beat{Time: time.Now(), Client: Client{PID: os.Getpid(), Uptime: time.Hour * 10000}}}
	if err := signalLast(h, proc.Signal(9)); err == nil || !strings.Contains(err.Error(), "is another one") {
		t.Error(err)
	}
	if err := signalLast(Heartbeat{}, proc.Signal(9)); err == nil {
		t.Error("a signal to nobody")
	}
}

// TestAlertIsDeliveredAgain has a monitor end in the middle of a reaction: the next
// one does it again.
func TestAlertIsDeliveredAgain(t *testing.T) {
	w := newWorld(t, Config{Heartbeats: map[string]Target{"a": {OnAttack: []Reaction{{Task: "mail"}}}}})
	w.pass(Deps{})
	w.must(w.store.Update(t.Context(), func(tx *store.Tx) error {
		h, _, err := w.expect(tx, "a", false)
		if err != nil {
			return err
		}
		_, err = w.saveSign(tx, h, Beat{Time: tx.Now(), Outcome: Bad, Message: "failed"}, "")
		return err
	}))
	ctx, cancel := context.WithCancel(t.Context())
	var did heard
	c := newCourier(w.List, Deps{PushTask: func(ctx context.Context, _ string, _ []byte) error {
		did.note("first")
		cancel()
		return ctx.Err()
	}})
	w.must(c.deliver(ctx))
	c.wait()
	again := Deps{PushTask: func(context.Context, string, []byte) error { did.note("again"); return nil }}
	w.pass(again)
	w.pass(again)
	if got := did.String(); got != "first, again" {
		t.Errorf("did %q", got)
	}
}

// TestPauseAndResume goes the way of an operator.
func TestPauseAndResume(t *testing.T) {
	w := newWorld(t, Config{Heartbeats: map[string]Target{"a": hourly()}})
	w.must(w.Pause(t.Context(), "a", w.clock.read().Add(time.Hour)))
	if k := w.knockOne("a"); k.Status != OK || !strings.HasPrefix(k.Message, "paused until 2026-03-01T13:00:00") {
		t.Errorf("%s %q", k.Status, k.Message)
	}
	w.must(w.Resume(t.Context(), "a"))
	if got := w.state("a"); got != StateNew {
		t.Errorf("a is %s", got)
	}
	if err := w.Resume(t.Context(), "a"); err == nil {
		t.Error("it was resumed twice")
	}
	if err := w.Pause(t.Context(), "a", w.clock.read().Add(-time.Hour)); err == nil {
		t.Error("it is paused until yesterday")
	}
	if err := w.Pause(t.Context(), "nobody", time.Time{}); err == nil {
		t.Error("nobody is paused")
	}
}

// TestPings goes through the kinds of pings.
func TestPings(t *testing.T) {
	w := newWorld(t, Config{})
	ping := func(kind PingKind, change func(*Ping)) Receipt {
		t.Helper()
		p := Ping{Kind: kind, Create: true}
		if change != nil {
			change(&p)
		}
		receipt, err := w.Ping(t.Context(), "a", p)
		w.must(err)
		return receipt
	}
	if !ping(PingLog, func(p *Ping) { p.Body = []byte("hello") }).Created || w.state("a") != StateNew {
		t.Errorf("a is %s after a log", w.state("a"))
	}
	if ping(PingStart, nil); w.state("a") != StateStarted {
		t.Errorf("a is %s after a start", w.state("a"))
	}
	if ping(PingFail, func(p *Ping) { p.ExitCode, p.HasCode = 3, true }); w.state("a") != StateDown {
		t.Errorf("a is %s after a failure", w.state("a"))
	}
	if k := w.knockOne("a"); k.Status != Critical || !strings.HasPrefix(k.Message, "failed with exit code 3, ") {
		t.Errorf("%s %q", k.Status, k.Message)
	}
	if ping(PingSuccess, nil); w.state("a") != StateUp {
		t.Errorf("a is %s after a success", w.state("a"))
	}
	all, err := w.All(t.Context(), nil)
	w.must(err)
	if name, err := w.NameOf(t.Context(), strings.ToUpper(all[0].UUID)); err != nil || name != "a" || !IsUUID(all[0].UUID) {
		t.Errorf("%q is %q, %v", all[0].UUID, name, err)
	}
	if _, err := w.NameOf(t.Context(), newUUID()); err == nil {
		t.Error("somebody has a new address")
	}
	if _, err := w.Ping(t.Context(), "nobody", Ping{Kind: PingSuccess}); err == nil {
		t.Error("nobody beats")
	}
	kept, err := w.Pings(t.Context(), "a", KeptFilter{})
	w.must(err)
	if len(kept) != 2 || string(kept[0].Body) != "hello" || kept[1].Kind != PingFail || kept[1].ExitCode != 3 {
		t.Errorf("kept %+v", kept)
	}
}

// TestAnySequenceWithClockJumps leads lives at random in the store, with a wall clock
// that is set again and again, and the same lives beside it with one that is not: the
// states and the alerts are the same.
func TestAnySequenceWithClockJumps(t *testing.T) {
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 2))
		w := newWorld(t, Config{Heartbeats: map[string]Target{"a": hourly()}})
		twin := newLife(t, func(e *expectation) { e.maxRuntime = 10 * time.Minute })
		w.pass(Deps{})
		both := func(trigger Trigger) {
			t.Helper()
			w.must(w.store.Update(t.Context(), func(tx *store.Tx) error {
				h, _, err := w.expect(tx, "a", false)
				if err != nil {
					return err
				}
				if trigger == TriggerStart {
					return w.live(tx, h, func(t *turn) error { return t.begin("", tx.Now()) })
				}
				outcome := map[Trigger]Outcome{TriggerSuccess: Good, TriggerFail: Bad}[trigger]
				_, err = w.saveSign(tx, h, Beat{Time: tx.Now(), Outcome: outcome}, "")
				return err
			}))
			if trigger == TriggerStart {
				twin.must(twin.begin("", twin.now))
			} else {
				twin.must(twin.end(trigger, "", twin.now))
			}
		}
		for range 40 {
			for range r.IntN(100) {
				w.clock.move(29 * time.Second)
				twin.after(29 * time.Second)
				w.pass(Deps{})
			}
			if r.IntN(3) == 0 {
				w.clock.jump(time.Duration(r.IntN(2000)-1000) * time.Hour / 10)
			}
			switch r.IntN(6) {
			case 0, 1, 2:
				both(TriggerSuccess)
			case 3:
				both(TriggerFail)
			case 4:
				both(TriggerStart)
			default:
				until := time.Duration(1+r.IntN(100)) * time.Minute
				w.must(w.Pause(t.Context(), "a", w.clock.read().Add(until)))
				twin.must(twin.pause(twin.now.Add(until), twin.now))
			}
			if got := w.state("a"); got != twin.state {
				t.Fatalf("seed %d: it is %s, and %s where no clock jumps: %s", seed, got, twin.state, twin.story())
			}
		}
		var want []string
		for _, n := range twin.notices {
			want = append(want, string(n.alert)+" a")
		}
		if got := w.alerts(); got != strings.Join(want, ", ") {
			t.Errorf("seed %d: alerts\n%s\nwant\n%s", seed, got, strings.Join(want, ", "))
		}
	}
}
