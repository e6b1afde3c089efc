package integration

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"procops/integration/harness"
)

// killPoints is how often procops is killed in TestKilledAtAThousandPoints.
const killPoints = 1000

// phases are what procops is killed in the middle of.
func phases() []string { return []string{"start", "run", "restart", "reload", "stop"} }

// killTree has processes that are and that are not to outlive procops, and of both
// kinds one that ends and is started again all the time. Each holds a lock as long
// as it, or anybody of its group, lives; whoever finds it taken is the second copy
// and says so. The variant changes what a reload finds.
func killTree(variant int) string {
	const single = `exec 9> %[1]s.lock; flock -n 9 || { echo %[1]s $$ >> doubles; exit 99; }; `
	const up = "sleep 1000 & echo up; exec sleep 1000"
	var b strings.Builder
	process := func(name, rest, keys string) {
		fmt.Fprintf(&b, "[supervise.process.%s]\ncommand = '''"+single+"%[2]s'''\n%[3]s\n", name, rest, keys)
	}
	const steady = "ready.log = '^up$'\nstop.grace = '2s'\n"
	process("plain", up, steady+fmt.Sprintf("env = { VARIANT = '%d' }", variant%2))
	process("kept", up, steady+"adopt = true")
	process("late", up, steady+"adopt = true\ndepends_on = ['plain']")
	process("churn", "sleep 0.005", "restart = 'always'\nbackoff.initial = '0s'")
	process("keptchurn", "sleep 0.005", "adopt = true\nrestart = 'always'\nbackoff.initial = '0s'")
	return b.String()
}

// TestKilledAtAThousandPoints kills procops a thousand times while it starts, runs,
// restarts, reloads and stops, and runs it again: nobody may be orphaned, nothing
// may run twice, and what has adopt = true goes on and is taken back.
func TestKilledAtAThousandPoints(t *testing.T) {
	t.Parallel()
	k := &killing{t: t, s: harness.NewShipped(t)}
	t.Cleanup(k.tell)
	k.s.Config(killTree(0))
	for n := range killPoints {
		k.round(n, phases()[n%len(phases())])
		if t.Failed() {
			t.Fatalf("in round %d (%s)", n, phases()[n%len(phases())])
		}
	}
	t.Logf("the one that is kept was taken back %d times", k.taken)
	if k.taken < killPoints/4 {
		t.Error("it was seldom taken back: the test shows little")
	}
	p := k.s.Start("supervise", "run", "--quiet", "--json")
	k.awaitReady(p)
	p.Signal(syscall.SIGTERM)
	p.WantExit(0)
	k.wantSingle()
	wantNothing(t, k.s)
}

// killing is a supervisor that is killed again and again.
type killing struct {
	t     *testing.T
	s     *harness.Sandbox
	kept  int                // pid of kept, if the next run has to take it back; otherwise 0
	taken int                // how often it was
	said  []*harness.Process // the last two supervisors
}

// tell logs what the last two supervisors have said.
func (k *killing) tell() {
	if !k.t.Failed() {
		return
	}
	for _, p := range k.said {
		said := p.Output()
		k.t.Logf("a supervisor said, at last:\n%s", said[max(0, len(said)-8<<10):])
	}
}

func (k *killing) round(n int, phase string) {
	p := k.s.Start("supervise", "run", "--quiet", "--json")
	k.said = append(k.said, p)[max(0, len(k.said)-1):]
	if phase != "start" {
		k.awaitReady(p)
		now := k.running(p)["kept"]
		if k.kept != 0 && now != k.kept {
			k.t.Errorf("kept ran as pid %d when procops was killed, and runs as pid %d now", k.kept, now)
		}
		if k.kept != 0 {
			k.taken++
		}
		k.kept = now
	}
	order := k.begin(n, phase, p)
	<-time.After(rand.N(25 * time.Millisecond))
	p.Signal(syscall.SIGKILL)
	p.WantExit(137)
	if order != nil {
		order.Wait() // or the next supervisor would get it
	}
	k.wantSingle()
	if n%2 == 0 { // otherwise the next run begins while what is left still ends
		harness.Eventually(k.t, "only those are left that are to survive", func() bool { return len(k.orphans()) == 0 })
	}
}

// begin has procops begin with what it is to be killed in the middle of, and
// returns the command that asks for it, if there is one.
func (k *killing) begin(n int, phase string, p *harness.Process) (order *harness.Process) {
	switch phase {
	case "restart":
		name := []string{"plain", "kept", "late"}[n/len(phases())%3]
		order = k.s.Start("supervise", "restart", "--no-wait", name)
		if name == "kept" {
			k.kept = 0
		}
	case "reload":
		k.s.Config(killTree(n / len(phases())))
		p.Signal(syscall.SIGHUP)
	case "stop":
		p.Signal(syscall.SIGTERM)
		k.kept = 0
	}
	return order
}

// awaitReady waits until the three that run for long are ready.
func (k *killing) awaitReady(p *harness.Process) {
	k.t.Helper()
	defer func() {
		if k.t.Failed() {
			k.t.Logf("running: %v", k.s.Left())
		}
	}()
	harness.Eventually(k.t, "all are ready", func() bool {
		running := k.running(p)
		return running["plain"] != 0 && running["kept"] != 0 && running["late"] != 0
	})
}

// running returns the pids of the processes that procops has told to be ready, and
// not to have changed since. What it tells is recorded.
func (k *killing) running(p *harness.Process) map[string]int {
	pids := map[string]int{}
	for line := range strings.Lines(p.Stderr()) {
		var e struct {
			ID            int64
			Type, Subject string
			Data          struct{ PID int }
		}
		if json.Unmarshal([]byte(line), &e) != nil || e.ID == 0 {
			continue
		}
		if state, ok := strings.CutPrefix(e.Type, "supervise.process."); ok {
			delete(pids, e.Subject)
			if state == "running" {
				pids[e.Subject] = e.Data.PID
			}
		}
	}
	return pids
}

// orphans returns who is left of a procops that was killed, and is not to be.
func (k *killing) orphans() (list []harness.Running) {
	for _, r := range k.s.Left() {
		name := harness.Variable(r.PID, "PROCOPS_PROCESS")
		if name == "" || name == "plain" || name == "churn" {
			list = append(list, r)
		}
	}
	return list
}

func (k *killing) wantSingle() {
	k.t.Helper()
	if doubles := k.s.ReadFile("doubles"); doubles != "" {
		k.t.Errorf("started beside a running copy (process, pid): %s", doubles)
	}
}
