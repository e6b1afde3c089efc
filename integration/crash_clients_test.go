package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"procops/integration/harness"
)

// clients are programs beside a supervisor that beat and emit events on its
// state, and a ledger of what procops has acknowledged to them.
type clients struct {
	sandbox *harness.Sandbox
	finish  func() // returns when all clients have ended
	stop    chan struct{}
	running sync.WaitGroup

	mu       sync.Mutex
	events   map[int64]string // subject of each acknowledged event, by its id
	beats    []beats
	attempts int
	problems []string
}

// beats are those that one client has sent with its heartbeat.
type beats struct {
	name     string
	attempts int
	number   int64 // of the last one acknowledged
	seq      int   // what was sent with it
}

// startClients starts n clients that beat, and one that emits events.
func startClients(t *testing.T, state string, n int) *clients {
	t.Helper()
	c := &clients{
		sandbox: harness.NewShipped(t), // its own, so that what it runs does not pass for an orphan
		stop:    make(chan struct{}),
		events:  map[int64]string{},
		beats:   make([]beats, n),
	}
	c.finish = sync.OnceFunc(func() {
		close(c.stop)
		c.running.Wait()
	})
	t.Cleanup(c.finish)
	c.sandbox.Setenv("PROCOPS_STATE_DIR", state)
	for i := range c.beats {
		c.beats[i].name = "client" + strconv.Itoa(i)
		c.running.Go(func() { c.until(func() { c.beat(&c.beats[i]) }) })
	}
	c.running.Go(func() { c.until(c.emit) })
	return c
}

func (c *clients) until(do func()) {
	for {
		select {
		case <-c.stop:
			return
		default:
			do()
		}
	}
}

// beat sends one beat. Their numbers ascend: one that comes twice means that an
// acknowledged beat was lost.
func (c *clients) beat(b *beats) {
	b.attempts++
	var receipt struct{ Number int64 }
	if !c.call(&receipt, "heartbeat", "beat", b.name, "--create", "--json", "--data", fmt.Sprintf("seq=%d", b.attempts)) {
		return
	}
	if receipt.Number <= b.number {
		c.problem("%s: beat %d was acknowledged after beat %d", b.name, receipt.Number, b.number)
	}
	b.number, b.seq = receipt.Number, b.attempts
}

// emit emits one event, each with another subject.
func (c *clients) emit() {
	c.attempts++
	subject := "s" + strconv.Itoa(c.attempts)
	var e struct{ ID int64 }
	if !c.call(&e, "events", "emit", "crash.test", "--subject", subject, "--json") {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if other, taken := c.events[e.ID]; taken {
		c.problems = append(c.problems, fmt.Sprintf("event %d was acknowledged for %s and %s", e.ID, other, subject))
	}
	c.events[e.ID] = subject
}

// call runs procops and reads its answer. Now and then it kills it at a random
// moment. It reports whether procops has acknowledged.
func (c *clients) call(answer any, args ...string) bool {
	cmd := exec.Command(harness.Shipped(c.sandbox.TB()), args...) //nolint:noctx // it is short, and killed at will
	cmd.Dir, cmd.Env = c.sandbox.Dir, c.sandbox.Env()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		c.problem("cannot start: %v", err)
		return false
	}
	killed := rand.IntN(20) == 0
	if killed {
		timer := time.AfterFunc(rand.N(6*time.Millisecond), func() { _ = cmd.Process.Signal(syscall.SIGKILL) })
		defer timer.Stop()
	}
	if err := cmd.Wait(); err != nil {
		if !killed {
			c.problem("procops %v: %v: %s", args, err, &stderr)
		}
		return false
	}
	if err := json.Unmarshal(stdout.Bytes(), answer); err != nil {
		c.problem("procops %v: %v in %q", args, err, &stdout)
		return false
	}
	return true
}

func (c *clients) problem(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

// check compares the ledger with what the state holds.
func (c *clients) check(t *testing.T) {
	t.Helper()
	for _, p := range c.problems {
		t.Error(p)
	}
	c.checkEvents(t)
	var list []struct {
		Name string
		Last struct {
			Number int64
			Data   struct{ Seq string }
		}
	}
	r := c.sandbox.Want(0, "heartbeat", "list", "--json")
	if err := json.Unmarshal([]byte(r.Stdout), &list); err != nil || len(list) != len(c.beats) {
		t.Fatalf("%v: %s", err, r)
	}
	for i, b := range c.beats {
		got := list[i]
		if got.Name != b.name || got.Last.Number < b.number || got.Last.Number > int64(b.attempts) {
			t.Errorf("%+v: %d beats were sent and beat %d acknowledged last", got, b.attempts, b.number)
		}
		if seq := strconv.Itoa(b.seq); got.Last.Number == b.number && got.Last.Data.Seq != seq {
			t.Errorf("%+v: beat %d was acknowledged with %s", got, b.number, seq)
		}
		t.Logf("%s: %d beats sent, %d recorded", b.name, b.attempts, got.Last.Number)
	}
}

func (c *clients) checkEvents(t *testing.T) {
	t.Helper()
	logged := loggedEvents(t, c.sandbox, "crash.test")
	times := map[string]int{}
	for _, e := range logged {
		times[e.Subject]++
	}
	for id, subject := range c.events {
		if logged[id].Subject != subject {
			t.Errorf("event %d was acknowledged for %s; the log has %+v", id, subject, logged[id])
		}
	}
	for subject, n := range times {
		if n > 1 {
			t.Errorf("the event for %s is %d times in the log", subject, n)
		}
	}
	t.Logf("%d events sent, %d acknowledged, %d recorded", c.attempts, len(c.events), len(logged))
}

type loggedEvent struct {
	ID            int64
	Type, Subject string
}

// loggedEvents returns the events whose type matches the pattern, by their ids.
func loggedEvents(t *testing.T, s *harness.Sandbox, pattern string) map[int64]loggedEvent {
	t.Helper()
	all := map[int64]loggedEvent{}
	for _, e := range eventLines(t, s.Want(0, "events", "--json", "-n", "0", "--type", pattern).Stdout) {
		all[e.ID] = e
	}
	return all
}

// eventLines reads events, one JSON object a line.
func eventLines(t *testing.T, lines string) (events []loggedEvent) {
	t.Helper()
	d := json.NewDecoder(bytes.NewBufferString(lines))
	for d.More() {
		var e loggedEvent
		if err := d.Decode(&e); err != nil {
			t.Fatalf("%v in %q", err, lines)
		}
		events = append(events, e)
	}
	return events
}
