package group

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"procops/internal/fault"
	"procops/internal/tasks/broker"
)

var (
	errAway = errors.New("away")
	errDial = &net.OpError{Op: "dial", Net: "tcp", Err: errAway}
	errRead = &net.OpError{Op: "read", Net: "tcp", Err: errAway}
)

func ofT() []string { return []string{"t"} }

// fake is a broker that does as it is told, and counts its calls.
type fake struct {
	mu    sync.Mutex
	tasks int           // that it has; it always has the same
	err   error         // of every call
	slow  time.Duration // of every call but Await
	push  error         // of Push
	calls map[string]int
}

func (f *fake) call(ctx context.Context, what string) error {
	f.mu.Lock()
	if f.calls == nil {
		f.calls = map[string]int{}
	}
	f.calls[what]++
	slow, err := f.slow, f.err
	f.mu.Unlock()
	if slow == 0 || what == "await" {
		return err
	}
	select {
	case <-time.After(slow):
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fake) count(what string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[what]
}

func (f *fake) Push(ctx context.Context, _ []broker.Message) error {
	return errors.Join(f.call(ctx, "push"), f.push)
}

func (f *fake) Claim(ctx context.Context, ask broker.Ask) ([]broker.Lease, error) {
	if err := f.call(ctx, "claim"); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	leases := make([]broker.Lease, min(f.tasks, ask.Max))
	for i := range leases {
		leases[i].ID, leases[i].Type = fmt.Sprint(i), "t"
	}
	return leases, nil
}

func (f *fake) Await(ctx context.Context, _ []string, patience time.Duration) (bool, error) {
	if err := f.call(ctx, "await"); err != nil {
		return false, err
	}
	f.mu.Lock()
	tasks := f.tasks
	f.mu.Unlock()
	if tasks > 0 {
		return true, nil
	}
	select {
	case <-time.After(patience):
		return false, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}

func (f *fake) Extend(ctx context.Context, leases []broker.Lease, _ time.Duration) ([]broker.Lease, error) {
	return leases[:1], f.call(ctx, "extend")
}

func (f *fake) Ack(ctx context.Context, _ []broker.Lease) ([]broker.Lease, error) {
	return nil, f.call(ctx, "ack")
}

func (f *fake) Nack(ctx context.Context, _ broker.Lease, _ broker.Again) error {
	return f.call(ctx, "nack")
}

func (f *fake) Bury(ctx context.Context, _ broker.Lease) error { return f.call(ctx, "bury") }

func (f *fake) Count(ctx context.Context, _ []string) (broker.Counts, error) {
	return broker.Counts{Ready: f.tasks}, f.call(ctx, "count")
}

func (f *fake) List(context.Context, []string) iter.Seq2[broker.Entry, error] { return nil }

// pair is a group of two brokers, and what it has said.
type pair struct {
	*Group
	a, b *fake
	said []string
}

func newPair(t *testing.T, change func(a, b *Member)) *pair {
	t.Helper()
	p := &pair{a: &fake{}, b: &fake{}}
	a, b := Member{Name: "a", Broker: p.a, Timeout: 10 * time.Second}, Member{Name: "b", Priority: 1, Broker: p.b, Timeout: 10 * time.Second}
	if change != nil {
		change(&a, &b)
	}
	p.Group = open(t, []Member{b, a}, Options{
		Rand: func() float64 { return 0.5 },
		Changed: func(c Change) {
			text := fmt.Sprint(c.Name, " ", c.To)
			if c.Err != nil {
				text += ": " + c.Err.Error()
			}
			p.said = append(p.said, text)
		},
	})
	return p
}

// claim claims and returns from which brokers, how often.
func (p *pair) claim(t *testing.T, n int) string {
	t.Helper()
	leases, err := p.Claim(t.Context(), broker.Ask{Types: ofT(), Max: n, Lease: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	var from []string
	for _, l := range leases {
		from = append(from, l.Broker)
	}
	slices.Sort(from)
	return strings.Join(from, "")
}

func (p *pair) wantSaid(t *testing.T, want ...string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Equal(p.said, want) {
		t.Errorf("it has said %q, want %q", p.said, want)
	}
}

// TestAwayAndBack: a broker that is down is tried again and again, more and more seldom; the
// other goes on; each change is told once.
func TestAwayAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		p.a.err, p.a.tasks, p.b.tasks = errAway, 10, 10
		for range 100 {
			if got := p.claim(t, 3); got != "bbb" {
				t.Fatalf("claimed from %q", got)
			}
			<-time.After(100 * time.Millisecond)
		}
		// At 0, 0.5, 1.5, 3.5 and 7.5 seconds, with a twentieth of each pause more.
		if n := p.a.count("claim"); n != 5 {
			t.Errorf("within 10 s it was tried %d times", n)
		}
		p.wantSaid(t, "a down: away", "b up")
		p.a.set(func() { p.a.err = nil })
		<-time.After(lastRetry)
		if got := p.claim(t, 100); !strings.Contains(got, "a") {
			t.Errorf("claimed from %q", got)
		}
		p.wantSaid(t, "a down: away", "b up", "a up: away")
		p.a.set(func() { p.a.err = errAway })
		p.claim(t, 100)
		p.claim(t, 100)
		if err := p.Push(t.Context(), []broker.Message{{Priority: -1}}); !errors.Is(err, errAway) || !strings.Contains(err.Error(), `broker "a": away`) {
			t.Error(err)
		}
		p.wantSaid(t, "a down: away", "b up", "a up: away", "a down: away")
	})
}

// TestAllAway: whoever waits waits for those that are down, too, without running round.
func TestAllAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		p.a.err, p.b.err = errAway, errAway
		began := time.Now()
		for time.Since(began) < time.Hour {
			if found, err := p.Await(t.Context(), ofT(), time.Minute); found || err != nil {
				t.Fatal(found, err)
			}
			if got := p.claim(t, 1); got != "" {
				t.Fatalf("claimed from %q", got)
			}
		}
		if calls := p.a.count("await") + p.a.count("claim"); calls > 260 {
			t.Errorf("a broker that is away was tried %d times in an hour", calls)
		}
		p.b.set(func() { p.b.err, p.b.tasks = nil, 1 })
		if found, err := p.Await(t.Context(), ofT(), time.Minute); !found || err != nil {
			t.Error("it is back, and nobody has noticed:", found, err)
		}
		if got := p.claim(t, 1); got != "b" {
			t.Errorf("claimed from %q", got)
		}
	})
}

// TestSlow: nobody waits for a slow broker while another has something, and what it brings
// is handed out later, with the time at which it was asked for.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		p.a.tasks, p.b.tasks, p.a.slow = 10, 10, 5*time.Second
		began := time.Now()
		for range 20 {
			if got := p.claim(t, 10); got != strings.Repeat("b", 10) {
				t.Fatalf("claimed from %q", got)
			}
		}
		if took := time.Since(began); took != hesitation {
			t.Errorf("20 claims took %s", took)
		}
		p.b.set(func() { p.b.tasks = 0 })
		p.claim(t, 10)
		if found, err := p.Await(t.Context(), ofT(), time.Minute); !found || err != nil || time.Since(began) != 5*time.Second {
			t.Errorf("%v, %v after %s", found, err, time.Since(began))
		}
		late, err := p.Claim(t.Context(), broker.Ask{Types: ofT(), Max: 1, Lease: time.Minute})
		if err != nil || len(late) != 1 || late[0].Broker != "a" || !late[0].Asked.Equal(began) {
			t.Errorf("%+v, %v", late, err)
		}
		p.wantSaid(t, "b up", "a up")
	})
}

// TestLateIsGivenBack: what nobody takes goes back before its lease ends, and when the group
// is closed.
func TestLateIsGivenBack(t *testing.T) {
	for _, closed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t, nil)
			p.a.tasks, p.a.slow = 3, 5*time.Second
			p.claim(t, 3)
			<-time.After(6 * time.Second)
			if p.a.count("nack") != 0 {
				t.Error("it was given back too early")
			}
			p.a.set(func() { p.a.slow = 0 })
			if closed {
				if err := p.Close(t.Context()); err != nil {
					t.Error(err)
				}
			} else {
				<-time.After(10 * time.Second)
			}
			if n := p.a.count("nack"); n != 3 {
				t.Errorf("%d were given back", n)
			}
		})
	}
}

// TestHung: a broker that does not answer has failed after its time limit.
func TestHung(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		p.a.slow = time.Hour
		began := time.Now()
		err := p.Push(t.Context(), []broker.Message{{ID: "x", Priority: -1}, {ID: "y", Priority: 1}})
		if err == nil || !strings.Contains(err.Error(), "no answer within 10s") || !fault.Is(err, fault.Unreachable) || time.Since(began) != 10*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		if partial, ok := errors.AsType[*broker.PartialError](err); !ok || !slices.Equal(partial.IDs, []string{"x"}) {
			t.Errorf("the other one has taken the other task: %#v", err)
		}
	})
}

// TestIdle: while nothing happens each broker is asked as often as the patience of the one
// who waits implies, and no more; and one that has nothing, while the other has, as often as
// EmptyFor implies.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, func(a, _ *Member) { a.EmptyFor = 200 * time.Millisecond })
		began := time.Now()
		for time.Since(began) < time.Hour {
			if found, err := p.Await(t.Context(), ofT(), 500*time.Millisecond); found || err != nil {
				t.Fatal(found, err)
			}
		}
		for name, f := range map[string]*fake{"a": p.a, "b": p.b} {
			if n := f.count("await"); n > 7201 || f.count("claim")+f.count("count") > 0 {
				t.Errorf("%s: in an hour it was asked %v", name, f.calls)
			}
		}
		p.b.set(func() { p.b.tasks = 10 })
		if found, err := p.Await(t.Context(), ofT(), 500*time.Millisecond); !found || err != nil {
			t.Fatal(found, err)
		}
		before := p.a.count("claim") + p.a.count("await")
		for range 10_000 { // for ten seconds
			if got := p.claim(t, 1); got != "b" {
				t.Fatalf("claimed from %q", got)
			}
			<-time.After(time.Millisecond)
		}
		if n := p.a.count("claim") + p.a.count("await") - before; n > 51 || n < 45 {
			t.Errorf("while the other one had tasks it was asked %d times in 10 s", n)
		}
	})
}

// TestSignEndsEmptiness: a broker that was empty is asked at once when it gives a sign.
func TestSignEndsEmptiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, func(a, b *Member) { a.EmptyFor, b.EmptyFor = time.Hour, time.Hour })
		if got := p.claim(t, 1); got != "" {
			t.Fatalf("claimed from %q", got)
		}
		p.a.set(func() { p.a.tasks = 1 })
		if got := p.claim(t, 1); got != "" {
			t.Fatalf("claimed from %q without a sign", got)
		}
		if found, err := p.Await(t.Context(), ofT(), time.Minute); !found || err != nil {
			t.Fatal(found, err)
		}
		if got := p.claim(t, 1); got != "a" {
			t.Errorf("after its sign claimed from %q", got)
		}
	})
}

// TestFallback: a push goes on only where the first broker has certainly not taken it.
func TestFallback(t *testing.T) {
	for _, c := range []struct {
		err   error
		taken string // by which
		state State
	}{
		{nil, "a", StateUp},
		{errDial, "b", StateDown},
		{errRead, "", StateDown},
		{errAway, "", StateDown},
		{fmt.Errorf("OOM: %w", broker.ErrRefused), "b", StateRefusing},
		{fmt.Errorf("WRONGPASS: %w", broker.ErrDenied), "b", StateDown},
		{fmt.Errorf("too large: %w", broker.ErrUnfit), "b", StateUp},
	} {
		p := newPair(t, func(a, b *Member) { a.Fallback, b.Fallback = "b", "a" })
		p.a.push = c.err
		err := p.Push(t.Context(), []broker.Message{{ID: "x"}})
		if (err == nil) != (c.taken != "") || (p.b.count("push") > 0) != (c.taken == "b") {
			t.Errorf("%v: %v, pushes to the other: %d", c.err, err, p.b.count("push"))
		}
		if got := p.find("a").status.State; got != c.state {
			t.Errorf("%v: the state is %q", c.err, got)
		}
		p.b.push = errDial
		if err := p.Push(t.Context(), []broker.Message{{ID: "x"}}); c.err != nil && err == nil {
			t.Errorf("%v: nobody has taken it, and that is no error", c.err)
		}
	}
}

// TestRefusing: what is full can be worked off, and that does not make it empty.
func TestRefusing(t *testing.T) {
	p := newPair(t, nil)
	p.a.push, p.a.tasks = broker.ErrRefused, 1
	_ = p.Push(t.Context(), []broker.Message{{ID: "x"}})
	p.claim(t, 1)
	p.a.push = nil
	if err := p.Push(t.Context(), []broker.Message{{ID: "x"}}); err != nil {
		t.Error(err)
	}
	p.wantSaid(t, "a refusing: it takes no new tasks", "a up: it takes no new tasks")
}

// TestExtendPartly: the leases of a broker that is away are named, those of the others
// extended.
func TestExtendPartly(t *testing.T) {
	p := newPair(t, nil)
	p.a.err = errAway
	lease := func(id, from string) broker.Lease {
		return broker.Lease{Message: broker.Message{ID: id}, Broker: from}
	}
	lost, err := p.Extend(t.Context(), []broker.Lease{lease("w", "b"), lease("x", "a"), lease("y", "b"), lease("z", "c")}, time.Minute)
	partial, ok := errors.AsType[*broker.PartialError](err)
	if !ok || !slices.Equal(slices.Sorted(slices.Values(partial.IDs)), []string{"x", "z"}) {
		t.Errorf("%#v", err)
	}
	if got := slices.IndexFunc(lost, func(l broker.Lease) bool { return l.ID == "w" }); got < 0 {
		t.Errorf("lost are %+v", lost)
	}
	if text := fmt.Sprint(err); !strings.Contains(text, `broker "a": away`) || !strings.Contains(text, `task "z" comes from the broker "c", which is not there`) {
		t.Error(text)
	}
}

// TestLook: each broker with what it has; one that is away holds up nobody.
func TestLook(t *testing.T) {
	p := newPair(t, nil)
	p.a.err, p.b.tasks = errAway, 3
	got := p.Look(t.Context(), nil)
	if len(got) != 2 || got[0].Name != "a" || got[0].State != StateDown || !errors.Is(got[0].Failed, errAway) || got[0].Counts.Ready != 0 ||
		got[1].State != StateUp || got[1].Counts.Ready != 3 || got[1].Failed != nil {
		t.Errorf("%+v", got)
	}
}
