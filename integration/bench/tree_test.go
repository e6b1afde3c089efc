//go:build bench

package bench

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"procops/integration/harness"
)

// size is how large a tree is measured, and how often.
type size struct{ children, rounds int }

// The sizes of trees. runsvdir takes no more than a thousand.
var (
	middling = size{children: 300, rounds: 7}  //nolint:gochecknoglobals // constants, but for the language
	large    = size{children: 1000, rounds: 3} //nolint:gochecknoglobals // as above
)

// sample is what one round with one supervisor has shown.
type sample struct {
	up      time.Duration   // from its start until all children have been executed
	restart []time.Duration // from SIGKILL of a child to its successor's execution
	stop    time.Duration   // from its stop signal until nothing is left
	rss     int64           // bytes resident in all processes that are not children
	pss     int64           // the same, shared pages divided among their users
}

// TestTree keeps 300 sleeps up with each supervisor in turn.
func TestTree(t *testing.T) { measureTrees(t, middling) }

// TestLargeTree keeps 1,000 sleeps up with each supervisor in turn.
func TestLargeTree(t *testing.T) { measureTrees(t, large) }

func measureTrees(t *testing.T, size size) {
	t.Helper()
	samples := map[string][]sample{}
	for i := range size.rounds {
		for _, p := range peers() {
			t.Run(fmt.Sprintf("%s round %d", p.name, i+1), func(t *testing.T) {
				got := round(t, p, size.children)
				t.Logf("up %s, kill to exec %s, stop %s, RSS %.1f MB", got.up, median(got.restart), got.stop, megabytes(got.rss))
				samples[p.name] = append(samples[p.name], got)
			})
		}
	}
	if t.Failed() || len(samples) < len(peers()) { // -run has chosen some
		return
	}
	heading(fmt.Sprintf("%d supervised sleeps, medians of %d rounds", size.children, size.rounds))
	fmt.Printf("%-12s %12s %16s %12s %10s %10s\n", "", "all up", "kill to exec", "all stopped", "RSS", "PSS")
	for _, p := range peers() {
		s := samples[p.name]
		fmt.Printf("%-12s %9.1f ms %13.2f ms %9.1f ms %7.1f MB %7.1f MB\n", p.name,
			millis(up(s)), millis(restart(s)), millis(stop(s)), rss(s), pss(s))
	}
	procops, runit, s6, supervisord := samples["procops"], samples["runsvdir"], samples["s6-svscan"], samples["supervisord"]
	atMost(t, "all up, procops / runsvdir", ratio(up(procops), up(runit)), 1, "times")
	atMost(t, "all up, procops / s6-svscan", ratio(up(procops), up(s6)), 1, "times")
	atLeast(t, "all up, supervisord / procops", ratio(up(supervisord), up(procops)), 4, "times")
	atMost(t, "resident memory of procops and its guard", rss(procops), 40*float64(size.children)/float64(middling.children), "MB")
	atMost(t, "median from SIGKILL to the successor's exec", millis(restart(procops)), 10, "ms")
	atMost(t, "all stopped, procops / runsvdir", ratio(stop(procops), stop(runit)), 2, "times")
	atMost(t, "all stopped, procops / s6-svscan", ratio(stop(procops), stop(s6)), 2, "times")
}

func up(s []sample) time.Duration {
	return middle(s, func(s sample) []time.Duration { return []time.Duration{s.up} })
}

func restart(s []sample) time.Duration {
	return middle(s, func(s sample) []time.Duration { return s.restart })
}

func stop(s []sample) time.Duration {
	return middle(s, func(s sample) []time.Duration { return []time.Duration{s.stop} })
}

func rss(s []sample) float64 {
	return megabytes(middle(s, func(s sample) []int64 { return []int64{s.rss} }))
}

func pss(s []sample) float64 {
	return megabytes(middle(s, func(s sample) []int64 { return []int64{s.pss} }))
}

// middle returns the median of a figure over all rounds.
func middle[T ~int64](samples []sample, figure func(sample) []T) T {
	var all []T
	for _, s := range samples {
		all = append(all, figure(s)...)
	}
	return median(all)
}

func megabytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

// round starts a supervisor, kills children and stops it.
func round(t *testing.T, p peer, children int) (got sample) {
	t.Helper()
	s := harness.NewShipped(t)
	paths, executions := programs(t, filepath.Join(s.Dir, "bin"), children)
	command := p.command(t, s, paths)

	started := time.Now()
	supervisor := s.StartProgram(command[0], command[1:]...)
	seen := map[string]bool{}
	for len(seen) < children {
		e := next(t, executions, func(program string) bool { return !seen[program] })
		seen[e.program] = true
		got.up = e.at.Sub(started)
	}

	// runsv waits a second before it restarts what has run for less than one.
	<-time.After(1500 * time.Millisecond)
	var pids map[string]int
	pids, got.rss, got.pss = look(t, supervisor)
	if len(pids) != children {
		t.Fatalf("%d children run, want %d", len(pids), children)
	}
	got.restart = kill(t, pids, executions, p.kills)
	got.stop = end(t, s, supervisor, p.stop)
	return got
}

// family returns the children that run below a supervisor, by name, and the pids of
// its own processes: itself, its guard, its helpers.
func family(supervisor *harness.Process) (children map[string]int, own []int) {
	children, own = map[string]int{}, []int{supervisor.PID()}
	for _, r := range harness.Descendants(supervisor.PID()) {
		path, _, _ := strings.Cut(r.Command, " ")
		if program := filepath.Base(path); strings.HasPrefix(program, "sleep-") {
			children[program] = r.PID
		} else {
			own = append(own, r.PID)
		}
	}
	return children, own
}

// look returns the children that run, by name, and the memory of all others.
func look(t *testing.T, supervisor *harness.Process) (pids map[string]int, rss, pss int64) {
	t.Helper()
	pids, own := family(supervisor)
	for _, pid := range own {
		rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			t.Fatal(err)
		}
		rss += kilobytes(t, string(rollup), "Rss:")
		pss += kilobytes(t, string(rollup), "Pss:")
	}
	return pids, rss, pss
}

// kilobytes returns a figure of smaps_rollup in bytes.
func kilobytes(t *testing.T, rollup, name string) int64 {
	t.Helper()
	for l := range strings.Lines(rollup) {
		if fields := strings.Fields(l); len(fields) == 3 && fields[0] == name {
			n, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatalf("no %s in smaps_rollup:\n%s", name, rollup)
	return 0
}

// kill kills n children, one after the other, and returns how long each time
// the successor took to come.
func kill(t *testing.T, pids map[string]int, executions <-chan execution, n int) (took []time.Duration) {
	t.Helper()
	names := make([]string, 0, len(pids))
	for name := range pids {
		names = append(names, name)
	}
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names[:n] {
		killed := time.Now()
		if err := syscall.Kill(pids[name], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		took = append(took, next(t, executions, func(program string) bool { return program == name }).at.Sub(killed))
	}
	return took
}

// end stops the supervisor and returns how long it takes until it and all its
// children are gone.
func end(t *testing.T, s *harness.Sandbox, supervisor *harness.Process, sig syscall.Signal) time.Duration {
	t.Helper()
	var alive []unix.PollFd
	for _, r := range s.Left() {
		fd, err := unix.PidfdOpen(r.PID, 0)
		if err != nil {
			t.Fatalf("cannot watch %s: %v", r, err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		alive = append(alive, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	stopped := time.Now()
	supervisor.Signal(sig)
	for len(alive) > 0 {
		switch n, err := unix.Poll(alive, int(2*harness.Patience/time.Millisecond)); {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			t.Fatal(err)
		case n == 0:
			t.Fatalf("still running: %v", s.Left())
		}
		alive = slices.DeleteFunc(alive, func(p unix.PollFd) bool { return p.Revents != 0 })
	}
	return time.Since(stopped)
}
