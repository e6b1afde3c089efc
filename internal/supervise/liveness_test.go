package supervise

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"procops/internal/event"
	"procops/internal/proc"
	"procops/internal/unit"
)

// liveness is a check by a command, quick enough for a test.
func liveness(script string) *AliveConfig {
	return &AliveConfig{
		Exec:     proc.Command{"/bin/sh", "-c", script},
		Interval: unit.Duration(10 * time.Millisecond), Timeout: unit.Duration(10 * time.Second), Failures: 3,
	}
}

func TestNotAliveIsAFailure(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not wait
	if err != nil {
		t.Fatal(err)
	}
	p := with(sh("trap 'echo told to end; exit 0' TERM; while :; do sleep 0.01; done"), func(p *ProcessConfig) {
		p.Alive = &AliveConfig{
			TCP: l.Addr().String(), Failures: 3,
			Interval: unit.Duration(10 * time.Millisecond), Timeout: unit.Duration(10 * time.Second),
		}
	})
	r := newRig(t, processes(map[string]ProcessConfig{"p": p}))
	r.listed("p", "alive", func(p ProcessStatus) bool { return p.Alive != nil && p.Alive.Passed })
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	rep := r.report()
	const want = "not alive: 3 checks failed: connection refused"
	if len(rep.Failures) != 1 || rep.Failures[0].Text != want || rep.ExitCode() != 1 {
		t.Errorf("report %+v", rep)
	}
	if !strings.Contains(rep.Failures[0].Stdout, "told to end") {
		t.Errorf("the stop ladder was not used: %+v", rep)
	}
	for _, typ := range []string{"supervise.process.ending", "supervise.process.exited"} {
		if data, _ := r.await(typ, "p", 1).DataJSON(); !strings.Contains(string(data), want) {
			t.Errorf("%s has the data %s", typ, data)
		}
	}
}

// TestNotAliveIsRestarted: the restart policy applies, and the successor begins
// without the failures of its predecessor.
func TestNotAliveIsRestarted(t *testing.T) {
	dir := t.TempDir()
	p := with(forever(), func(p *ProcessConfig) {
		p.Dir, p.Restart = dir, RestartOnFailure
		p.Alive = liveness(`echo check >>checks; test $(wc -l <checks) -gt 5`)
	})
	r := newRig(t, processes(map[string]ProcessConfig{"p": p}))
	data, _ := r.await("supervise.process.backoff", "p", 1).DataJSON()
	if !strings.Contains(string(data), "not alive: 3 checks failed") {
		t.Errorf("backoff has the data %s", data)
	}
	// Checks 1 to 3 end the first run, 4 and 5 fail in the second, the 6th passes.
	got := r.listed("p", "alive again", func(p ProcessStatus) bool { return p.Alive != nil && p.Alive.Passed })
	if got.Restarts != 1 || got.Alive.Failures != 0 || got.Alive.Problem != "" {
		t.Errorf("status %+v, %+v", got, got.Alive)
	}
}

// TestFailuresInARow: a good answer between them makes the count begin anew.
func TestFailuresInARow(t *testing.T) {
	dir := t.TempDir()
	p := with(forever(), func(p *ProcessConfig) {
		p.Dir = dir
		p.Alive = liveness(`echo check >>checks; test $(($(wc -l <checks) % 3)) -eq 0`)
	})
	r := newRig(t, processes(map[string]ProcessConfig{"p": p}))
	r.listed("p", "checked", func(ProcessStatus) bool { return count(t, filepath.Join(dir, "checks")) >= 12 })
	if got := r.process("p"); got.State != StateRunning {
		t.Errorf("status %+v", got)
	}
}

func TestStartPeriod(t *testing.T) {
	dir := t.TempDir()
	p := with(forever(), func(p *ProcessConfig) {
		p.Dir = dir
		p.Alive = liveness(`echo check >>checks; test $(wc -l <checks) -eq 6`)
		p.Alive.StartPeriod = unit.Duration(time.Hour)
	})
	r := newRig(t, processes(map[string]ProcessConfig{"p": p}))
	// Five failures do not count, the sixth check passes, and that ends the
	// period: three more failures do count.
	if got := r.failure(); !strings.HasPrefix(got, "not alive: 3 checks failed: the command ended with 1") {
		t.Errorf("failure %q", got)
	}
	// A tenth may have begun before the loop heard of the ninth.
	if n := count(t, filepath.Join(dir, "checks")); n != 9 && n != 10 {
		t.Errorf("%d checks, want 9", n)
	}
}

// TestSlowCheckFails: a check that takes too long is a failed one.
func TestSlowCheckFails(t *testing.T) {
	p := with(forever(), func(p *ProcessConfig) {
		p.Alive = liveness(`exec sleep 1000`)
		p.Alive.Timeout, p.Alive.Failures = unit.Duration(50*time.Millisecond), 1
	})
	r := newRig(t, processes(map[string]ProcessConfig{"p": p}))
	if got := r.failure(); got != "not alive: 1 check failed: no answer within 50ms" {
		t.Errorf("failure %q", got)
	}
}

// TestHealthyDependency: web waits for db's liveness check, other only for its
// readiness; nocheck has none, so that healthy means ready.
func TestHealthyDependency(t *testing.T) {
	dir := t.TempDir()
	db := with(forever(), func(p *ProcessConfig) {
		p.Dir = dir
		p.Alive = liveness(`test -e well`)
		p.Alive.StartPeriod = unit.Duration(time.Hour)
	})
	healthy := func(name string) ProcessConfig {
		return with(forever(), func(p *ProcessConfig) { p.DependsOn = []DependencyConfig{{Name: name, Condition: ConditionHealthy}} })
	}
	other := with(forever(), func(p *ProcessConfig) { p.DependsOn = []DependencyConfig{{Name: "db", Condition: ConditionReady}} })
	r := newRig(t, processes(map[string]ProcessConfig{"db": db, "web": healthy("db"), "other": other, "last": healthy("other")}))
	r.await("supervise.process.running", "last", 1)
	got := r.listed("db", "checked", func(p ProcessStatus) bool { return p.Alive != nil && p.Alive.Problem != "" })
	if got.Alive.Passed || got.Alive.Failures != 0 {
		t.Errorf("db: %+v", got.Alive)
	}
	if web := r.process("web"); web.State != StateWaiting || web.Reason != "waits for db to be healthy" {
		t.Errorf("web: %+v", web)
	}
	if err := os.WriteFile(filepath.Join(dir, "well"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.await("supervise.process.running", "web", 1)
	if up := r.order("supervise.process.running"); !slices.Equal(up, []string{"db", "other", "last", "web"}) {
		t.Errorf("came up in order %v", up)
	}
}

// TestNoChecksWhileItSaysThatItStops: a server that drains does not answer any
// more, which is not to be held against it.
func TestNoChecksWhileItSaysThatItStops(t *testing.T) {
	dir := t.TempDir()
	p := with(speaker(`
say("READY=1")
while not os.path.exists("checks"): time.sleep(0.005)
say("STOPPING=1")
heard, barrier = os.pipe()
s.sendmsg([b"BARRIER=1"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [barrier]))])
os.close(barrier)
os.read(heard, 1)
open("draining", "w")
time.sleep(0.3)
os._exit(0)
`), func(p *ProcessConfig) {
		p.Dir = dir
		p.Alive = liveness(`echo check >>checks; test ! -e draining`)
		p.Alive.Failures = 1
	})
	r := newRig(t, processes(map[string]ProcessConfig{"p": p}))
	if rep := r.report(); rep.ExitCode() != 0 {
		t.Errorf("report %+v", rep)
	}
}

// TestReloadOfChecks: liveness is checked by the new rules at once, without a
// restart. A process that waits for a check of its readiness which has changed is
// started again.
func TestReloadOfChecks(t *testing.T) {
	dir := t.TempDir()
	config := func(alive *AliveConfig, ready string) Config {
		return processes(map[string]ProcessConfig{
			"p": with(forever(), func(p *ProcessConfig) { p.Dir, p.Alive, p.OnFail = dir, alive, []LinkConfig{{Settle: true}} }),
			"q": with(forever(), func(p *ProcessConfig) { p.Ready.Exec = proc.Command{ready} }),
		})
	}
	r := newRig(t, config(nil, "false"))
	r.await("supervise.process.running", "p", 1)
	r.await("supervise.process.starting", "q", 1)
	pid := r.process("p").PID
	plan := r.reload(config(liveness("test ! -e ill"), "true"))
	if !slices.Equal(plan.Updated, []string{"p"}) || !slices.Equal(plan.Restarted, []string{"q"}) {
		t.Errorf("plan %+v", plan)
	}
	r.await("supervise.process.running", "q", 1)
	got := r.listed("p", "checked", func(p ProcessStatus) bool { return p.Alive != nil && p.Alive.Passed })
	if got.PID != pid {
		t.Errorf("p was restarted: %+v, was pid %d", got, pid)
	}
	r.reload(config(nil, "true"))
	create(t, filepath.Join(dir, "ill"))
	if got := r.process("p"); got.State != StateRunning || got.Alive != nil {
		t.Errorf("p without a check is %+v", got)
	}
	r.reload(config(liveness("test ! -e ill"), "true"))
	if got := r.await("supervise.process.fatal", "p", 1); !strings.Contains(dataOf(t, got), "not alive: 3 checks failed") {
		t.Errorf("p failed with %s", dataOf(t, got))
	}
}

func dataOf(t *testing.T, e event.Event) string {
	t.Helper()
	data, err := e.DataJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
