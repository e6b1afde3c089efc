//go:build bench

package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"procops/integration/harness"
)

const (
	// idleTime is how long the supervisors are watched while nothing happens.
	idleTime = time.Minute
	// settling is what they get before: procops looks once at each process that has
	// run for healthy_after, 10 s.
	settling = 15 * time.Second
)

// idler is a supervisor with nothing to do.
type idler struct {
	peer
	sandbox *harness.Sandbox
	process *harness.Process
	before  idleCost
	cost    idleCost
}

// idleCost is what all processes of a supervisor have used so far.
type idleCost struct {
	cpu     time.Duration // on a processor
	wakeups int           // how often the kernel gave one of their threads a processor
}

// TestIdle keeps 300 sleeps up with all supervisors at the same time and lets a
// minute pass.
func TestIdle(t *testing.T) {
	var idlers []*idler
	for _, p := range peers() {
		i := &idler{peer: p, sandbox: harness.NewShipped(t)}
		i.start(t)
		idlers = append(idlers, i)
	}
	<-time.After(settling)
	for _, i := range idlers {
		i.before = i.look(t)
	}
	<-time.After(idleTime)
	for _, i := range idlers {
		now := i.look(t)
		i.cost = idleCost{now.cpu - i.before.cpu, now.wakeups - i.before.wakeups}
	}
	heading(fmt.Sprintf("%d supervised sleeps for %v", middling.children, idleTime))
	fmt.Printf("%-12s %12s %10s\n", "", "processor", "wake-ups")
	costs := map[string]idleCost{}
	for _, i := range idlers {
		fmt.Printf("%-12s %9.2f ms %10d\n", i.name, millis(i.cost.cpu), i.cost.wakeups)
		costs[i.name] = i.cost
	}
	atMost(t, "processor time, procops / runsvdir", ratio(costs["procops"].cpu, costs["runsvdir"].cpu), 1, "times")
}

// start starts the supervisor and returns when all its children run.
func (i *idler) start(t *testing.T) {
	t.Helper()
	paths, executions := programs(t, filepath.Join(i.sandbox.Dir, "bin"), middling.children)
	command := i.command(t, i.sandbox, paths)
	i.process = i.sandbox.StartProgram(command[0], command[1:]...)
	t.Cleanup(func() { end(t, i.sandbox, i.process, i.stop) })
	seen := map[string]bool{}
	for len(seen) < middling.children {
		seen[next(t, executions, func(program string) bool { return !seen[program] }).program] = true
	}
}

// look adds up what the threads of the supervisor's processes have used, the guard's
// included.
func (i *idler) look(t *testing.T) (cost idleCost) {
	t.Helper()
	_, own := family(i.process)
	for _, pid := range own {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		if err != nil || len(tasks) == 0 {
			t.Fatalf("process %d has no threads: %v", pid, err)
		}
		for _, task := range tasks {
			text, err := os.ReadFile(task)
			if err != nil {
				continue // a thread that has ended
			}
			cost.cpu += time.Duration(number(t, string(text), 0))
			cost.wakeups += int(number(t, string(text), 2))
		}
	}
	return cost
}

// number reads a field of schedstat: nanoseconds on a processor, nanoseconds of
// waiting for one, and how often it got one.
func number(t *testing.T, text string, field int) int64 {
	t.Helper()
	n, err := strconv.ParseInt(strings.Fields(text)[field], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
