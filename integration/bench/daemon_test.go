//go:build bench

package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"procops/integration/harness"
)

const (
	// daemonRounds of daemonRound each are timed: procops and the bare loop take turns.
	daemonRounds = 7
	daemonRound  = 2 * time.Second
	// daemonRest is how long an idle daemon is watched.
	daemonRest = 20 * time.Second
)

// TestDaemonTurn measures a turn of a daemon that does not sleep beside a loop in Go that
// starts the same program and waits for it.
func TestDaemonTurn(t *testing.T) {
	var turns, bare []time.Duration
	for range daemonRounds {
		turns = append(turns, daemonTurn(t))
		bare = append(bare, bareTurn(t))
	}
	heading(fmt.Sprintf("a turn of /bin/true, medians of %d rounds of %v", daemonRounds, daemonRound))
	fmt.Printf("%-28s %7.3f ms\n%-28s %7.3f ms\n", "procops daemon", millis(median(turns)), "fork, exec, wait in Go", millis(median(bare)))
	atMost(t, "a turn / a bare loop", ratio(median(turns), median(bare)), 1.15, "times")
}

// daemonTurn returns how long a turn takes, from start to start.
func daemonTurn(t *testing.T) time.Duration {
	t.Helper()
	s := harness.NewShipped(t)
	s.Config("[daemon.report]\ncommand = [\"/bin/true\"]\nsleep = \"0\"\nhistory_keep = 100000\n")
	p := s.Start("daemon", "run", "report")
	<-time.After(daemonRound) // nobody looks meanwhile: that would disturb
	p.Signal(syscall.SIGTERM)
	p.WantExit(0)
	starts := turnStarts(t, s)
	if len(starts) < 2 {
		t.Fatalf("%d turns in %v", len(starts), daemonRound)
	}
	last := len(starts) - 1
	return starts[last].Sub(starts[0]) / time.Duration(last)
}

// turnStarts returns when the turns began.
func turnStarts(t *testing.T, s *harness.Sandbox) (starts []time.Time) {
	t.Helper()
	var turns []struct{ Started time.Time }
	r := s.Procops("daemon", "history", "report", "--json", "-n", "100000")
	if err := json.Unmarshal([]byte(r.Stdout), &turns); r.Code == 0 && err != nil {
		t.Fatalf("%v: %s", err, r)
	}
	for _, turn := range turns {
		starts = append(starts, turn.Started)
	}
	return starts
}

// bareTurn returns the same of the loop.
func bareTurn(t *testing.T) time.Duration {
	t.Helper()
	turns, begun := 0, time.Now()
	for ; time.Since(begun) < daemonRound; turns++ {
		p, err := os.StartProcess("/bin/true", []string{"/bin/true"}, &os.ProcAttr{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	return time.Since(begun) / time.Duration(turns)
}

// TestDaemonIdle watches a daemon between two turns: nothing of it wakes up, and it is
// small.
func TestDaemonIdle(t *testing.T) {
	s := harness.NewShipped(t)
	s.Config("[daemon.report]\ncommand = [\"/bin/true\"]\nsleep = \"1h\"\n")
	p := s.Start("daemon", "run", "report")
	harness.Eventually(t, "its first turn", func() bool { return len(turnStarts(t, s)) == 1 })
	<-time.After(settling)
	before := switches(t, p.PID())
	<-time.After(daemonRest)
	woken := switches(t, p.PID()) - before
	heading(fmt.Sprintf("an idle daemon for %v", daemonRest))
	atMost(t, "wake-ups", float64(woken), 0, "context switches")
	fmt.Printf("of its memory %.1f MB are its own, %.1f MB pages of the program's file\n",
		float64(status(t, p.PID(), "RssAnon"))/1024, float64(status(t, p.PID(), "RssFile"))/1024)
	atMost(t, "resident memory", float64(status(t, p.PID(), "VmRSS"))/1024, 15, "MB")
	p.Signal(syscall.SIGTERM)
	p.WantExit(0)
}

// switches adds up the voluntary context switches of the threads of a process.
func switches(t *testing.T, pid int) (n int64) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("process %d has no threads: %v", pid, err)
	}
	for _, task := range tasks {
		n += statusIn(t, task, "voluntary_ctxt_switches")
	}
	return n
}

func status(t *testing.T, pid int, key string) int64 {
	t.Helper()
	return statusIn(t, fmt.Sprintf("/proc/%d", pid), key)
}

// statusIn returns the number in a line of a status file of /proc.
func statusIn(t *testing.T, dir, key string) int64 {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut("\n"+string(text), "\n"+key+":")
	return number(t, rest, 0)
}
