// Package conformance is what every broker must pass. A broker's test runs each
// of Checks against a queue of its own.
package conformance

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"procops/internal/tasks/broker"
)

// TB is what a check needs of a *testing.T.
type TB interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Bench is an empty queue under test.
type Bench struct {
	Broker broker.Broker
	Other  broker.Broker       // the same queue, opened once more, as another process would
	Now    func() time.Time    // the queue's clock
	Pass   func(time.Duration) // lets time pass: moves that clock, or sleeps

	Lacks   Lacks
	Step    time.Duration // what the checks let pass at a time, leases are two of them; 0: 200 ms
	MaxBody int           // how large the body of a message may be; 0: 1 MB at least

	// Body returns a body that the format of the broker has a place for, another one for each
	// seed; nil: any bytes are one.
	Body func(seed string) []byte
}

// Lacks says what a broker cannot promise, because its server cannot do it. The zero value
// promises all. Whoever sets one says in the documentation of the broker what that means.
type Lacks struct {
	Order      bool // what is claimed comes in about the order of time, without regard to priorities
	Unique     bool // a message whose ID is queued already is queued again
	Loss       bool // that a lease is lost is not always noticed
	Types      bool // a message is out of reach for some steps after it came to who asked for other types
	TypeCounts bool // counts are of all types, whichever are asked for
	Lists      bool // List, Ask.From and Ask.IDs may be errors.ErrUnsupported
}

// Check is one promise of a broker.
type Check struct {
	Name string
	Run  func(TB, Bench)
}

// Checks returns all promises.
func Checks() []Check {
	return []Check{
		{"priority, then time, then order of push", order},
		{"only the types that are asked for", types},
		{"a message is queued once", once},
		{"a claim is for one only", exclusive},
		{"at most what is asked for", atMost},
		{"a scheduled message waits", scheduled},
		{"a lease that ends comes back as a crash", crash},
		{"an extended lease holds", extended},
		{"a lost lease can do nothing", lost},
		{"a lease that has ended and was not taken still holds", unclaimed},
		{"a message given back comes again", givenBack},
		{"a buried message stays buried", buried},
		{"counts", counts},
		{"a body is kept as it is", bodies},
		{"many are acknowledged at once", ackMany},
		{"a message brings its past along", past},
		{"a message can be queued as a buried one", pushBuried},
		{"no types are all types", anyType},
		{"what is scheduled can be taken, and is again what it was", takeScheduled},
		{"what is buried can be taken, and is again what it was", takeBuried},
		{"what is buried can be given back as new", requeue},
		{"messages can be taken by their IDs", byID},
		{"a list has each message once", listed},
		{"await sees a push", await},
		{"await ends with its patience", awaitPatience},
	}
}

// step is how far the checks let time pass; a broker that cannot move its clock
// sleeps so long.
func (b Bench) step() time.Duration { return cmp.Or(b.Step, 200*time.Millisecond) }

// check is a check under way.
type check struct {
	TB
	Bench
}

func (c check) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatalf("%v", err)
	}
}

// message returns a message that is ready.
func (c check) message(id string) broker.Message {
	return broker.Message{ID: id, Type: "a", RunAt: c.Now(), Body: c.body(id)}
}

// body returns the body of a message.
func (c check) body(seed string) []byte {
	if c.Body == nil {
		return []byte(seed)
	}
	return c.Body(seed)
}

// push queues messages of these IDs, in this order.
func (c check) push(ids ...string) {
	c.Helper()
	for _, id := range ids {
		c.pushAll(c.message(id))
	}
}

func (c check) pushAll(messages ...broker.Message) {
	c.Helper()
	c.must(c.Broker.Push(c.Context(), messages))
}

// claim claims up to so many of type a.
func (c check) claim(n int) []broker.Lease {
	c.Helper()
	return c.claimFrom(c.Broker, n, "a")
}

func (c check) claimFrom(b broker.Broker, n int, types ...string) []broker.Lease {
	c.Helper()
	leases, err := b.Claim(c.Context(), broker.Ask{Types: types, Max: n, Lease: 2 * c.step()})
	c.must(err)
	return leases
}

// one claims the only message.
func (c check) one() broker.Lease {
	c.Helper()
	leases := c.claim(10)
	if len(leases) != 1 {
		c.Fatalf("claimed %q, want one message", ids(leases))
	}
	return leases[0]
}

func (c check) want(leases []broker.Lease, want string) {
	c.Helper()
	if got := ids(leases); got != want {
		c.Errorf("claimed %q, want %q", got, want)
	}
}

// wantLost wants each use of a lease to be refused.
func (c check) wantLost(l broker.Lease) {
	c.Helper()
	if c.Lacks.Loss {
		return
	}
	gone, err := c.Broker.Extend(c.Context(), []broker.Lease{l}, c.step())
	c.must(err)
	if len(gone) != 1 {
		c.Errorf("%s: it could be extended", l.ID)
	}
	gone, err = c.Broker.Ack(c.Context(), []broker.Lease{l})
	c.must(err)
	if len(gone) != 1 {
		c.Errorf("%s: it could be acknowledged", l.ID)
	}
	for what, err := range map[string]error{
		"nack": c.Broker.Nack(c.Context(), l, broker.Again{}),
		"bury": c.Broker.Bury(c.Context(), l),
	} {
		if !errors.Is(err, broker.ErrLost) {
			c.Errorf("%s: %s returned %v, want ErrLost", l.ID, what, err)
		}
	}
}

// ack acknowledges messages, of which none is lost.
func (c check) ack(b broker.Broker, leases ...broker.Lease) {
	c.Helper()
	gone, err := b.Ack(c.Context(), leases)
	c.must(err)
	if len(gone) > 0 {
		c.Errorf("%q were lost", ids(gone))
	}
}

func ids(leases []broker.Lease) string {
	list := make([]string, len(leases))
	for i, l := range leases {
		list[i] = l.ID
	}
	return strings.Join(list, " ")
}

func order(tb TB, bench Bench) {
	c := check{tb, bench}
	now := c.Now()
	messages := []broker.Message{
		{ID: "late", Type: "a", Priority: 1, RunAt: now},
		{ID: "later", Type: "b", Priority: 1, RunAt: now},
		{ID: "early", Type: "b", Priority: 1, RunAt: now.Add(-time.Second)},
		{ID: "urgent", Type: "a", Priority: -1, RunAt: now},
		{ID: "normal", Type: "b", RunAt: now},
	}
	for i := range messages {
		messages[i].Body = c.body("")
	}
	c.pushAll(messages...)
	leases, want := c.claimFrom(c.Broker, 10, "a", "b"), "urgent normal early late later"
	if c.Lacks.Order {
		slices.SortFunc(leases, func(x, y broker.Lease) int { return strings.Compare(x.ID, y.ID) })
		want = "early late later normal urgent"
	}
	c.want(leases, want)
}

func types(tb TB, bench Bench) {
	c := check{tb, bench}
	c.push("x")
	c.want(c.claimFrom(c.Broker, 10, "b", "A", "aa"), "")
	leases := c.claimFrom(c.Broker, 10, "b", "a")
	for n := 0; c.Lacks.Types && len(leases) == 0 && n < 10; n++ {
		c.Pass(c.step())
		leases = c.claimFrom(c.Broker, 10, "b", "a")
	}
	c.want(leases, "x")
}

func once(tb TB, bench Bench) {
	c := check{tb, bench}
	if c.Lacks.Unique {
		return
	}
	c.push("x", "x")
	twin := c.message("y")
	c.pushAll(twin, twin)
	c.want(c.claim(10), "x y")
	c.push("x")
	c.want(c.claim(10), "")
}

func exclusive(tb TB, bench Bench) {
	c := check{tb, bench}
	var pushed []broker.Message
	for i := range 200 {
		pushed = append(pushed, c.message(fmt.Sprintf("m%03d", i)))
	}
	c.pushAll(pushed...)
	got := make(chan []broker.Lease)
	failed := make(chan error, 4)
	for i := range 4 {
		from := []broker.Broker{c.Broker, c.Other}[i%2]
		go func() {
			for {
				leases, err := from.Claim(c.Context(), broker.Ask{Types: []string{"a"}, Max: 7, Lease: time.Minute})
				if err != nil || len(leases) == 0 {
					failed <- err
					return
				}
				got <- leases
			}
		}()
	}
	var all []string
	for ended := 0; ended < 4; {
		select {
		case leases := <-got:
			for _, l := range leases {
				all = append(all, l.ID)
			}
		case err := <-failed:
			c.must(err)
			ended++
		}
	}
	slices.Sort(all)
	if len(all) != 200 || len(slices.Compact(all)) != 200 {
		c.Errorf("%d claims of 200 messages: %q", len(all), all)
	}
}

func atMost(tb TB, bench Bench) {
	c := check{tb, bench}
	c.push("x", "y", "z")
	c.want(c.claim(2), "x y")
	c.want(c.claim(2), "z")
}

func scheduled(tb TB, bench Bench) {
	c := check{tb, bench}
	m := c.message("x")
	m.RunAt = m.RunAt.Add(c.step())
	c.pushAll(m)
	c.want(c.claim(1), "")
	c.Pass(c.step())
	if l := c.one(); l.Crashes != 0 || l.Attempts != 0 || l.Number != 1 {
		c.Errorf("the first lease is %+v", l)
	}
}

func crash(tb TB, bench Bench) {
	c := check{tb, bench}
	c.push("x")
	first := c.one()
	c.want(c.claim(1), "")
	c.Pass(2 * c.step())
	second := c.one()
	if second.Crashes != 1 || second.Attempts != 0 || second.Number <= first.Number {
		c.Errorf("after %+v came %+v", first, second)
	}
	c.Pass(2 * c.step())
	if third := c.one(); third.Crashes != 2 {
		c.Errorf("the third lease is %+v", third)
	}
}

func extended(tb TB, bench Bench) {
	c := check{tb, bench}
	c.push("x", "y")
	leases := c.claim(2)
	for range 3 {
		c.Pass(c.step())
		gone, err := c.Other.Extend(c.Context(), leases[:1], 2*c.step())
		c.must(err)
		if len(gone) > 0 {
			c.Fatalf("%q was lost", ids(gone))
		}
	}
	c.want(c.claimFrom(c.Other, 10, "a"), "y")
	c.ack(c.Other, leases[0])
}

func lost(tb TB, bench Bench) {
	c := check{tb, bench}
	if c.Lacks.Loss {
		return
	}
	c.push("x")
	old := c.one()
	c.Pass(2 * c.step())
	held := c.one()
	c.wantLost(old)
	c.ack(c.Broker, held)
	c.wantLost(held)
	c.Pass(2 * c.step())
	c.want(c.claim(1), "")

	// A message of the same ID is another one.
	c.push("x")
	again := c.one()
	c.ack(c.Broker, again)
}

func unclaimed(tb TB, bench Bench) {
	c := check{tb, bench}
	c.push("x")
	l := c.one()
	c.Pass(3 * c.step())
	c.ack(c.Broker, l)
	c.want(c.claim(1), "")
}

func givenBack(tb TB, bench Bench) {
	c := check{tb, bench}
	c.push("x")
	c.must(c.Broker.Nack(c.Context(), c.one(), broker.Again{}))
	l := c.one()
	if l.Attempts != 0 || l.Crashes != 0 {
		c.Errorf("after it was given back without a failure: %+v", l)
	}
	c.must(c.Broker.Nack(c.Context(), l, broker.Again{At: c.Now().Add(c.step()), Failed: true}))
	c.want(c.claim(1), "")
	c.wantLost(l)
	c.Pass(c.step())
	if l := c.one(); l.Attempts != 1 || l.Crashes != 0 || !bytes.Equal(l.Body, c.body("x")) {
		c.Errorf("after a failure: %+v", l)
	}
}

func buried(tb TB, bench Bench) {
	c := check{tb, bench}
	c.push("x")
	l := c.one()
	c.must(c.Broker.Bury(c.Context(), l))
	c.wantLost(l)
	c.Pass(3 * c.step())
	c.want(c.claim(1), "")
	if !c.Lacks.Unique {
		c.push("x") // its ID is still in use
		c.want(c.claim(1), "")
	}
}

func counts(tb TB, bench Bench) {
	c := check{tb, bench}
	want := func(want broker.Counts) {
		c.Helper()
		got, err := c.Other.Count(c.Context(), []string{"a", "b"})
		c.must(err)
		if got != want {
			c.Errorf("counted %+v, want %+v", got, want)
		}
	}
	want(broker.Counts{})
	later := c.message("later")
	later.Type, later.RunAt = "b", c.Now().Add(c.step())
	other := c.message("other")
	other.Type = "c"
	c.push("x", "y", "z")
	c.pushAll(later)
	if !c.Lacks.TypeCounts {
		c.pushAll(other)
	}
	want(broker.Counts{Ready: 3, Scheduled: 1})
	leases := c.claim(2)
	c.must(c.Broker.Bury(c.Context(), leases[0]))
	want(broker.Counts{Ready: 1, Scheduled: 1, Leased: 1, Buried: 1})
	c.Pass(2 * c.step())
	want(broker.Counts{Ready: 3, Buried: 1})
}

func bodies(tb TB, bench Bench) {
	c := check{tb, bench}
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	large := strings.Repeat("\x00ä", 300_000)
	all := [][]byte{nil, every, []byte("{}"), []byte(large)}
	if c.Body != nil {
		all = [][]byte{c.Body(""), c.Body(large)}
	}
	for _, body := range all {
		if c.MaxBody > 0 {
			body = body[:min(len(body), c.MaxBody)]
		}
		m := c.message(fmt.Sprint("m", len(body)))
		m.Body = body
		c.pushAll(m)
		l := c.one()
		if !bytes.Equal(l.Body, body) || l.Type != m.Type || !l.RunAt.Equal(m.RunAt) {
			c.Errorf("a message of %d bytes came back with %d", len(body), len(l.Body))
		}
		c.ack(c.Broker, l)
	}
}

// longPatience is longer than any check takes.
const longPatience = time.Minute

func await(tb TB, bench Bench) {
	c := check{tb, bench}
	done := make(chan error, 1)
	go func() {
		found, err := c.Broker.Await(c.Context(), []string{"b", "a"}, longPatience)
		if err == nil && !found {
			err = errors.New("await has seen nothing")
		}
		done <- err
	}()
	c.must(c.Other.Push(c.Context(), []broker.Message{c.message("x")}))
	select {
	case err := <-done:
		c.must(err)
	case <-time.After(longPatience / 4):
		c.Fatalf("await does not see the push")
	}
	c.want(c.claim(1), "x")
}

func awaitPatience(tb TB, bench Bench) {
	c := check{tb, bench}
	found, err := c.Broker.Await(c.Context(), []string{"a"}, time.Millisecond)
	c.must(err)
	if found {
		c.Errorf("await has found something in an empty queue")
	}
	ctx, cancel := context.WithCancelCause(c.Context())
	enough := errors.New("enough")
	cancel(enough)
	if _, err := c.Broker.Await(ctx, []string{"a"}, longPatience); !errors.Is(err, enough) {
		c.Errorf("await ended with %v, want %v", err, enough)
	}
}
