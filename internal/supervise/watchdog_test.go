package supervise

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"procops/internal/proc"
	"procops/internal/sdnotify"
	"procops/internal/unit"
)

// watched makes p one that has to say WATCHDOG=1.
func watched(p ProcessConfig, limit time.Duration, changes ...func(*ProcessConfig)) ProcessConfig {
	p.Watchdog = unit.Duration(limit)
	return with(p, changes...)
}

// TestWatchdogTime counts on a clock of its own.
func TestWatchdogTime(t *testing.T) {
	const limit = 10 * time.Second
	limitOf := func(d time.Duration) *time.Duration { return &d }
	type said struct {
		at time.Duration
		n  notice
	}
	for name, c := range map[string]struct {
		said []said
		deaf []time.Duration // when the end of the time comes while procops does not hear
		want time.Duration   // when it is over; 0: never
	}{
		"nothing":                 {want: limit},
		"a sign":                  {said: []said{{4 * time.Second, notice{Message: sdnotify.Message{Alive: true}}}}, want: 14 * time.Second},
		"signs":                   {said: []said{{9 * time.Second, notice{Message: sdnotify.Message{Alive: true}}}, {18 * time.Second, notice{Message: sdnotify.Message{Alive: true}}}}, want: 28 * time.Second},
		"other words":             {said: []said{{4 * time.Second, notice{Message: sdnotify.Message{Ready: true}}}}, want: limit},
		"a longer time":           {said: []said{{4 * time.Second, notice{Message: sdnotify.Message{Watchdog: limitOf(time.Minute)}}}}, want: 64 * time.Second},
		"a shorter time":          {said: []said{{4 * time.Second, notice{Message: sdnotify.Message{Watchdog: limitOf(time.Second)}}}}, want: 5 * time.Second},
		"a shorter time and sign": {said: []said{{4 * time.Second, notice{Message: sdnotify.Message{Alive: true, Watchdog: limitOf(time.Second)}}}}, want: 5 * time.Second},
		"no time":                 {said: []said{{4 * time.Second, notice{Message: sdnotify.Message{Watchdog: limitOf(0)}}}}},
		"deaf once":               {deaf: []time.Duration{limit}, want: 20 * time.Second},
		"deaf twice":              {deaf: []time.Duration{limit, 20 * time.Second}, want: 30 * time.Second},
	} {
		begin := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
		w := watchdog{limit: limit, begun: true, since: begin}
		over := time.Duration(0)
		for at := time.Duration(0); at < 2*time.Minute && over == 0; at += time.Second / 2 {
			for _, s := range c.said {
				if s.at == at {
					w.hear(s.n, begin.Add(at))
				}
			}
			if w.isOver(begin.Add(at), slices.Contains(c.deaf, at)) {
				over = at
			}
		}
		if over != c.want {
			t.Errorf("%s: it is over after %s, want %s", name, over, c.want)
		}
	}
}

// TestSilenceIsAFailure: each process of one tree is silent in a way of its own. Those
// that say READY=1 have all the time they want before it.
func TestSilenceIsAFailure(t *testing.T) {
	const limit, silence = 200 * time.Millisecond, "no WATCHDOG=1 for 200ms"
	asked := func(ready ReadyConfig) func(*ProcessConfig) {
		return func(p *ProcessConfig) {
			ready.Interval, ready.TryTimeout, ready.Timeout = p.Ready.Interval, p.Ready.TryTimeout, p.Ready.Timeout
			p.Ready = ready
		}
	}
	list := map[string]ProcessConfig{
		"plain":   watched(forever(), limit),
		"tcp":     watched(forever(), limit, asked(ReadyConfig{TCP: "127.0.0.1:1"})),
		"fd":      watched(forever(), limit, asked(ReadyConfig{FD: 3})),
		"log":     watched(forever(), limit, asked(ReadyConfig{Log: "x"})),
		"notify":  watched(speaker(`say("WATCHDOG=1"); time.sleep(0.5); say("READY=1"); time.sleep(1000)`), limit),
		"once":    watched(speaker(`say("READY=1\nWATCHDOG=1"); time.sleep(1000)`), limit),
		"talks":   watched(speaker(`say("READY=1"); [(say("STATUS=busy"), time.sleep(0.01)) for _ in range(100000)]`), limit),
		"shorter": watched(speaker(`say("READY=1\nWATCHDOG_USEC=200000"); time.sleep(1000)`), time.Hour),
		"itself":  speaker(`say("READY=1\nWATCHDOG_USEC=200000"); time.sleep(1000)`), // as systemd has it
		"reloads": watched(speaker(`say("READY=1\nRELOADING=1"); time.sleep(1000)`), limit),
		// The time that it has asked for was not meant for an end that it ignores.
		"extended": watched(speaker(`
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
say("EXTEND_TIMEOUT_USEC=3600000000\nREADY=1"); time.sleep(1000)`), limit, func(p *ProcessConfig) { p.Stop.Grace = unit.Duration(limit) }),
	}
	for name, p := range list {
		p.OnFail = []LinkConfig{{Settle: true}}
		list[name] = p
	}
	r := newRig(t, processes(list))
	for name := range list {
		for _, typ := range []string{"supervise.process.ending", "supervise.process.exited", "supervise.process.fatal"} {
			if data := dataOf(t, r.await(typ, name, 1)); !strings.Contains(data, silence) {
				t.Errorf("%s has the data %s", typ, data)
			}
		}
	}
	up := r.order("supervise.process.running")
	for name, want := range map[string]bool{"plain": true, "tcp": false, "fd": false, "log": false, "notify": true} {
		if slices.Contains(up, name) != want {
			t.Errorf("%s has become ready: %t", name, !want)
		}
	}
}

// TestSignsOfLife: half the time is enough, from a descendant as well; and what is said
// before READY=1 is no mistake.
func TestSignsOfLife(t *testing.T) {
	const limit = 2 * time.Second
	beats := `
for n in range(5): say("WATCHDOG=1"); time.sleep(1)
say("WATCHDOG=trigger"); time.sleep(1000)`
	list := map[string]ProcessConfig{
		"early": watched(speaker(`say("WATCHDOG=1"); say("READY=1")`+beats), limit),
		"aside": watched(speaker(beats), limit, func(p *ProcessConfig) { p.Ready.Notify = false }),
		"tool": watched(sh(`for n in 1 2 3 4 5; do systemd-notify WATCHDOG=1; sleep 1; done
			systemd-notify WATCHDOG=trigger; exec sleep 1000`), limit),
		"off":  watched(speaker(`say("READY=1\nWATCHDOG_USEC=0"); time.sleep(3); say("WATCHDOG=trigger"); time.sleep(1000)`), limit),
		"ends": watched(speaker(`say("READY=1"); say("STOPPING=1"); time.sleep(3); os._exit(0)`), limit),
	}
	for name, p := range list {
		p.OnFail = []LinkConfig{{Settle: true}}
		list[name] = p
	}
	r := newRig(t, processes(list))
	for name := range list {
		if name == "ends" {
			r.await("supervise.process.completed", name, 1)
			continue
		}
		if data := dataOf(t, r.await("supervise.process.fatal", name, 1)); !strings.Contains(data, "it said WATCHDOG=trigger") {
			t.Errorf("%s failed with %s", name, data)
		}
	}
}

// TestTriggerIsAFailureAtOnce: also without a watchdog, and before it is ready.
func TestTriggerIsAFailureAtOnce(t *testing.T) {
	const script = `say("WATCHDOG=trigger"); time.sleep(1000)`
	for name, p := range map[string]ProcessConfig{
		"watched":  watched(speaker(`say("READY=1"); `+script), time.Hour),
		"starting": watched(speaker(script), time.Hour),
		"no time":  speaker(`say("READY=1"); ` + script),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, processes(map[string]ProcessConfig{"p": p}))
			if got := r.failure(); got != "it said WATCHDOG=trigger" {
				t.Errorf("failure %q", got)
			}
		})
	}
}

// TestWhatAWatchedProcessFinds: as under systemd; and on a socket that is there for the
// watchdog only, READY=1 does not stand for another check.
func TestWhatAWatchedProcessFinds(t *testing.T) {
	const env = `test "$WATCHDOG_USEC $WATCHDOG_PID" = "2500000 $$" && test -n "$NOTIFY_SOCKET" || exit 9; `
	dir := t.TempDir()
	list := map[string]ProcessConfig{
		"plain": sh(env + `sh -c 'test $WATCHDOG_PID != $$'`),
		"fd":    with(sh(env+`echo >&3; exec 3>&-`), func(p *ProcessConfig) { p.Ready.FD = 3 }),
		"notify": with(sh(env+`systemd-notify --ready`), func(p *ProcessConfig) {
			p.Ready.Notify, p.Env = true, map[string]string{"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}
		}),
		"log": with(sh(env+`systemd-notify --ready --status=said && touch said; until [ -e go ]; do sleep 0.01; done; echo up`), func(p *ProcessConfig) {
			p.Dir, p.Ready.Log = dir, "^up$"
		}),
		"exec": with(forever(), func(p *ProcessConfig) { // a check is not its process
			p.Ready.Exec = proc.Command{"/bin/sh", "-c", `test -z "$WATCHDOG_USEC$WATCHDOG_PID$NOTIFY_SOCKET"`}
		}),
	}
	for name, p := range list {
		list[name] = watched(p, 2500*time.Millisecond)
	}
	log, exec := list["log"], list["exec"]
	log.Watchdog = unit.Duration(time.Hour)
	log.Command[2] = strings.Replace(log.Command[2], "2500000", "3600000000", 1)
	exec.Watchdog = unit.Duration(time.Hour)
	list["log"], list["exec"] = log, exec
	r := newRig(t, processes(list))
	got := r.listed("log", "heard", func(p ProcessStatus) bool { return p.StatusText == "said" })
	if got.State != StateStarting || got.Watchdog == nil || got.Watchdog.Seconds != 3600 || !got.Watchdog.Last.IsZero() {
		t.Errorf("log is %+v, %+v", got, got.Watchdog)
	}
	touch(t, filepath.Join(dir, "go"))
	for _, name := range []string{"plain", "fd", "notify", "log"} {
		r.await("supervise.process.completed", name, 1)
	}
	r.await("supervise.process.running", "exec", 1)
}

// TestStoppedBySignalIsRestarted: SIGSTOP is what a process that hangs looks like. Its
// successor has all its time.
func TestStoppedBySignalIsRestarted(t *testing.T) {
	p := watched(speaker(`
say("WATCHDOG=1\nREADY=1")
while True: say("WATCHDOG=1"); time.sleep(0.1)
`), 2*time.Second, keep)
	r := newRig(t, processes(map[string]ProcessConfig{"p": p}))
	r.await("supervise.process.running", "p", 1)
	before := r.listed("p", "heard", func(p ProcessStatus) bool { return p.Watchdog != nil && !p.Watchdog.Last.IsZero() })
	if err := syscall.Kill(before.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if data := dataOf(t, r.await("supervise.process.backoff", "p", 1)); !strings.Contains(data, "no WATCHDOG=1 for 2s") {
		t.Errorf("backoff has the data %s", data)
	}
	r.await("supervise.process.running", "p", 2)
	after := r.listed("p", "heard again", func(p ProcessStatus) bool { return p.Watchdog != nil && p.Watchdog.Last.After(before.Watchdog.Last) })
	if after.Restarts != 1 || after.PID == before.PID {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

// TestWatchdogSignal: it takes the place of the first step of the ladder, and only when
// the watchdog is the reason. Without it the ladder is that of any stop.
func TestWatchdogSignal(t *testing.T) {
	const script = `trap 'echo abort; exit 3' ABRT; trap 'echo term; exit 0' TERM; systemd-notify --ready; while :; do sleep 0.01; done`
	signal := func(p *ProcessConfig) { p.WatchSignal = proc.Signal(syscall.SIGABRT) }
	settle := func(p *ProcessConfig) {
		p.Ready.Notify, p.OnFail = true, []LinkConfig{{Settle: true}}
	}
	command := func(p *ProcessConfig) {
		p.Stop.Command = proc.Command{"/bin/sh", "-c", "echo used >>used; kill -TERM {{pid}}"}
	}
	dir := t.TempDir()
	in := func(p *ProcessConfig) { p.Dir, p.Stop.Command[2] = dir, "cd "+dir+"; "+p.Stop.Command[2] }
	const short = 100 * time.Millisecond
	r := newRig(t, processes(map[string]ProcessConfig{
		"abort":   watched(sh(script), short, settle, signal, command, in),
		"term":    watched(sh(script), short, settle),
		"command": watched(sh(script), short, settle, command, in),
		"by-hand": watched(sh(script), time.Hour, settle, signal),
	}))
	r.await("supervise.process.running", "by-hand", 1)
	r.do(Request{Action: ActionStop, Names: []string{"by-hand"}})
	for name, want := range map[string]string{"abort": "abort", "term": "term", "command": "term"} {
		r.await("supervise.process.fatal", name, 1)
		if data := dataOf(t, r.await("supervise.process.exited", name, 1)); !strings.Contains(data, `"stdout":"`+want) {
			t.Errorf("%s ended with %s", name, data)
		}
	}
	if got := r.process("by-hand").LastExit; got == nil || got.Code != 0 {
		t.Errorf("by hand it ended with %+v", got)
	}
	if n := count(t, filepath.Join(dir, "used")); n != 1 {
		t.Errorf("the command was run %d times", n)
	}
}

// TestOthersCannotSpeakToTheWatchdog: neither to keep a process alive nor to end it.
func TestOthersCannotSpeakToTheWatchdog(t *testing.T) {
	dir := t.TempDir()
	tell := func(name string) string {
		return `open("` + filepath.Join(dir, name) + `.new", "w").write(os.environ["NOTIFY_SOCKET"]); os.rename("` +
			filepath.Join(dir, name) + `.new", "` + filepath.Join(dir, name) + `"); `
	}
	list := map[string]ProcessConfig{
		"silent": watched(speaker(tell("silent")+`time.sleep(1); say("READY=1"); time.sleep(1000)`), 300*time.Millisecond,
			func(p *ProcessConfig) { p.OnFail = []LinkConfig{{Settle: true}} }),
		"well": watched(speaker(tell("well")+`
while not os.path.exists("`+filepath.Join(dir, "done")+`"): time.sleep(0.005)
say("READY=1"); time.sleep(1000)`), time.Hour),
	}
	r := newRig(t, processes(list))
	dial := func(name string) net.Conn {
		waitFor(t, filepath.Join(dir, name))
		socket, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("unixgram", string(socket)) //nolint:noctx // it does not wait
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	well := dial("well")
	for range 5 {
		if _, err := well.Write([]byte("WATCHDOG=trigger\nWATCHDOG_USEC=1000")); err != nil {
			t.Fatal(err)
		}
	}
	touch(t, filepath.Join(dir, "done"))
	r.await("supervise.process.running", "well", 1) // said after what the stranger has sent
	silent := dial("silent")
	r.listed("silent", "given up", func(p ProcessStatus) bool {
		_, _ = silent.Write([]byte("WATCHDOG=1")) // the socket goes with the process
		return p.State == StateFatal
	})
	if got := r.process("silent").Reason; got != "no WATCHDOG=1 for 300ms" {
		t.Errorf("silent failed because of %q", got)
	}
	if got := r.process("well"); got.State != StateRunning || got.Watchdog.Seconds != 3600 {
		t.Errorf("well is %+v", got)
	}
}

// TestReloadOfWatchdog: a process was told its time, so that another one means another
// run; the signal concerns its end only.
func TestReloadOfWatchdog(t *testing.T) {
	config := func(limit time.Duration, sig syscall.Signal) Config {
		return processes(map[string]ProcessConfig{"p": watched(sh(`echo $WATCHDOG_USEC.; exec sleep 1000`), limit, keep, func(p *ProcessConfig) {
			p.WatchSignal = proc.Signal(sig)
		})})
	}
	r := newRig(t, config(0, 0))
	r.await("supervise.process.running", "p", 1)
	if got := r.process("p").Watchdog; got != nil {
		t.Errorf("watchdog %+v", got)
	}
	if plan := r.reload(config(time.Hour, 0)); !slices.Equal(plan.Restarted, []string{"p"}) {
		t.Errorf("plan %+v", plan)
	}
	r.await("supervise.process.running", "p", 2)
	pid := r.process("p").PID
	if plan := r.reload(config(time.Hour, syscall.SIGQUIT)); !slices.Equal(plan.Updated, []string{"p"}) || r.process("p").PID != pid {
		t.Errorf("plan %+v, status %+v", plan, r.process("p"))
	}
	if plan := r.reload(config(200*time.Millisecond, syscall.SIGQUIT)); !slices.Equal(plan.Restarted, []string{"p"}) {
		t.Errorf("plan %+v", plan)
	}
	exited := dataOf(t, r.await("supervise.process.exited", "p", 3)) // of the third run, by the watchdog
	if !strings.Contains(exited, "no WATCHDOG=1 for 200ms") || !strings.Contains(exited, `"signal":"QUIT"`) {
		t.Errorf("it ended with %s", exited)
	}
	r.reload(config(0, 0))
	r.listed("p", "free", func(p ProcessStatus) bool { return p.State == StateRunning && p.Watchdog == nil })
}

// TestUpgradeThatFailsSparesTheWatched: what is said while nobody listens is heard
// later, and the time begins anew.
func TestUpgradeThatFailsSparesTheWatched(t *testing.T) {
	const limit = 500 * time.Millisecond
	dir := t.TempDir()
	beats := `
while not os.path.exists("` + filepath.Join(dir, "quiet") + `"): say("WATCHDOG=1"); time.sleep(0.02)
time.sleep(1000)`
	settle := func(p *ProcessConfig) { p.OnFail = []LinkConfig{{Settle: true}} }
	r := newRig(t, processes(map[string]ProcessConfig{
		"notify": watched(speaker(`say("READY=1")`+beats), limit, settle),
		"aside":  watched(speaker(beats), limit, settle, func(p *ProcessConfig) { p.Ready.Notify, p.Ready.TCP = false, "127.0.0.1:1" }),
		"clock":  with(sh("until [ -e replacing ]; do sleep 0.01; done; sleep 1; touch late; exec sleep 1000"), func(p *ProcessConfig) { p.Dir = dir }),
		"own":    watched(speaker(`say("READY=1\nWATCHDOG_USEC=7200000000")`+beats), time.Hour, settle),
	}))
	for name, state := range map[string]State{"notify": StateRunning, "aside": StateStarting, "own": StateRunning} {
		r.listed(name, "heard", func(p ProcessStatus) bool { return p.State == state && p.Watchdog != nil && !p.Watchdog.Last.IsZero() })
	}
	err := r.s.Upgrade(t.Context(), func(h Handover) error {
		for _, p := range h.Processes {
			if p.Name == "clock" {
				continue
			}
			socket, other := p.Channel, p.Aside
			if p.Name == "aside" {
				socket, other = other, socket
			}
			if socket.FD == 0 || !strings.HasPrefix(socket.Name, sdnotify.Prefix) || other.FD != 0 || !slices.Contains(h.FDs(), socket.FD) {
				t.Errorf("%s is handed over as %+v and %+v", p.Name, p.Channel, p.Aside)
			}
			raw, err := json.Marshal(p.Run.Watchdog)
			if own := strings.Contains(string(raw), `"limit":7200000000000,"own":true`); err != nil || own != (p.Name == "own") {
				t.Errorf("the watchdog of %s is handed over as %s, %v", p.Name, raw, err)
			}
		}
		// The other program takes long to say that it cannot.
		touch(t, filepath.Join(dir, "replacing"))
		waitFor(t, filepath.Join(dir, "late"))
		return errNoSuchProgram
	})
	if !errors.Is(err, errNoSuchProgram) {
		t.Fatal(err)
	}
	seen := time.Now()
	for _, name := range []string{"notify", "aside"} {
		r.listed(name, "heard", func(p ProcessStatus) bool { return p.Watchdog != nil && p.Watchdog.Last.After(seen.Add(limit)) })
	}
	touch(t, filepath.Join(dir, "quiet"))
	for _, name := range []string{"notify", "aside"} { // the others keep supervision up
		r.await("supervise.process.fatal", name, 1)
		if got := r.process(name); got.Reason != "no WATCHDOG=1 for 500ms" || got.Restarts != 0 {
			t.Errorf("%s is %+v", name, got)
		}
	}
}

// waitFor waits until there is a file.
func waitFor(t *testing.T, path string) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for {
		if _, err := os.Stat(path); err == nil {
			return
		}
		select {
		case <-again.C:
		case <-deadline.C:
			t.Fatalf("there is no %s", path)
		}
	}
}
