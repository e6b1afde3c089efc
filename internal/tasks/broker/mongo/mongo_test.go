package mongo

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"procops/integration/harness"
	"procops/internal/tasks/broker"
	"procops/internal/tasks/broker/conformance"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for i, check := range conformance.Checks() {
		t.Run(check.Name, func(t *testing.T) {
			t.Parallel()
			o, clock := Options{URL: s.url, Collection: "check" + strconv.Itoa(i)}, newFakeClock()
			check.Run(t, conformance.Bench{Broker: clock.by(open(t, o)), Other: clock.by(open(t, o)), Now: clock.now, Pass: clock.pass})
		})
	}
}

// claimIDs claims all that there is of type a and returns the IDs.
func claimIDs(t *testing.T, b *Broker) string {
	t.Helper()
	leases, err := b.Claim(t.Context(), broker.Ask{Types: []string{"a"}, Max: 100, Lease: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(idsOf(leases), " ")
}

func wantCounts(t *testing.T, b *Broker, want broker.Counts) {
	t.Helper()
	if got, err := b.Count(t.Context(), nil); err != nil || got != want {
		t.Errorf("counted %+v (%v), want %+v", got, err, want)
	}
}

// TestPusherDies: what somebody pushes together is there whole or not at all, wherever
// between two commands he dies.
func TestPusherDies(t *testing.T) {
	t.Parallel()
	s, clock := startServer(t), newFakeClock()
	b := clock.by(open(t, Options{URL: s.url}))
	c, err := b.queue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	two := messages("a", clock.now(), 3)
	two[2].Buried = true
	dies := func(id string, before bool) {
		t.Helper()
		var documents []document
		for i := range two {
			documents = append(documents, newDocument(&two[i], clock.now().UnixMicro()))
			documents[i].ID += id
		}
		err := arrive(t.Context(), c, documents, document{ID: "batch:" + id, State: statePushed, RunAt: clock.now().UnixMicro()})
		if err == nil && before {
			_, err = c.DeleteOne(t.Context(), is("_id", "batch:"+id))
		}
		if err != nil {
			t.Fatal(err)
		}
	}

	dies("before", true)
	if got := claimIDs(t, b); got != "" {
		t.Errorf("claimed %q of what has only begun to come", got)
	}
	again := messages("a", clock.now(), 1)
	again[0].ID += "before"
	if err := b.Push(t.Context(), again); err == nil || !strings.Contains(err.Error(), "is being queued by somebody else") {
		t.Errorf("pushed once more, it says %v", err)
	}
	if err := b.Push(t.Context(), append(messages("b", clock.now(), 2), again...)); err == nil || !strings.Contains(err.Error(), again[0].ID) {
		t.Errorf("pushed with others, it says %v", err)
	}
	if left, err := c.CountDocuments(t.Context(), in("_id", []string{"b000", "b001"})); left > 0 || err != nil {
		t.Errorf("of a push that has failed %d are there (%v)", left, err)
	}
	clock.pass(batchDead + sweepInterval)
	if got := claimIDs(t, b); got != "" {
		t.Errorf("claimed %q of what never came", got)
	}
	wantCounts(t, b, broker.Counts{})
	if err := b.Push(t.Context(), again); err != nil {
		t.Error(err)
	}

	dies("after", false)
	if got := claimIDs(t, b); got != "a000before" {
		t.Errorf("claimed %q while he may be alive", got)
	}
	clock.pass(batchDead)
	clock.by(open(t, Options{URL: s.url})) // nobody but a worker needs to come
	if got := claimIDs(t, b); got != "a000before a000after a001after" {
		t.Errorf("claimed %q after he has died", got)
	}
	if left, err := c.CountDocuments(t.Context(), is("batch", is("$gt", ""))); left > 0 || err != nil {
		t.Errorf("%d documents are still of a batch (%v)", left, err)
	}
	wantCounts(t, b, broker.Counts{Leased: 3, Buried: 1})
}

// TestAwayAndBack: what is queued survives the server, and a broker is there again with it.
func TestAwayAndBack(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := open(t, Options{URL: s.url + "/?serverSelectionTimeoutMS=100"})
	if err := b.Push(t.Context(), messages("a", time.Now(), 2)); err != nil {
		t.Fatal(err)
	}
	leases, err := b.Claim(t.Context(), broker.Ask{Types: []string{"a"}, Max: 1, Lease: time.Hour})
	if err != nil || len(leases) != 1 {
		t.Fatal(leases, err)
	}
	s.stop()
	for what, err := range map[string]error{
		"queue":   b.Push(t.Context(), messages("b", time.Now(), 1)),
		"bury":    b.Bury(t.Context(), leases[0]),
		"count":   second(b.Count(t.Context(), nil)),
		"claim":   second(b.Claim(t.Context(), broker.Ask{Types: []string{"a"}, Max: 1, Lease: time.Hour})),
		"wait":    second(b.Await(t.Context(), []string{"a"}, time.Minute)),
		"extend":  second(b.Extend(t.Context(), leases, time.Hour)),
		"acknowl": second(b.Ack(t.Context(), leases)),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), "cannot "+what) || !strings.Contains(err.Error(), harness.Loopback(s.port)+": ") {
			t.Errorf("nobody is there, and: %v", err)
		}
	}
	s.start(t)
	harness.Eventually(t, "the broker is there again", func() bool { return second(b.Count(t.Context(), nil)) == nil })
	if lost, err := b.Ack(t.Context(), leases); len(lost) > 0 || err != nil {
		t.Error(lost, err)
	}
	if got := claimIDs(t, b); got != "a001" {
		t.Errorf("then claimed %q", got)
	}
}

func second[T any](_ T, err error) error { return err }

// TestClaimOfWhoStops: a lease that the server has given is known, whatever happens here.
func TestClaimOfWhoStops(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := open(t, Options{URL: s.url})
	if err := b.Push(t.Context(), messages("a", time.Now(), 1)); err != nil {
		t.Fatal(err)
	}
	c, err := b.collection()
	if err != nil {
		t.Fatal(err)
	}
	ask := broker.Ask{Types: []string{"a"}, Max: 1, Lease: time.Minute}
	ctx, stop := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	stop(enough)
	if _, err := claimOne(ctx, c, due(time.Now()), time.Now(), ask); !errors.Is(err, enough) {
		t.Errorf("who has stopped claims: %v", err)
	}
	if leases, err := b.Claim(ctx, ask); !errors.Is(err, enough) {
		t.Error(leases, err)
	}
	if got := claimIDs(t, b); got != "a000" {
		t.Errorf("claimed %q", got)
	}
}

// TestServersClock: what is due and which lease has ended the clock of the server says.
func TestServersClock(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := open(t, Options{URL: s.url})
	db, err := b.database()
	if err != nil {
		t.Fatal(err)
	}
	var c clock
	if now, err := c.now(t.Context(), db); err != nil || time.Since(now).Abs() > time.Second || c.behind != 0 {
		t.Errorf("on one host the clocks differ by %s and %s (%v)", time.Since(now), c.behind, err)
	}
	c.behind = time.Hour
	if now, err := c.now(t.Context(), db); err != nil || time.Until(now) < 59*time.Minute {
		t.Errorf("what was measured is not believed: %s (%v)", time.Until(now), err)
	}
	c.asked = c.asked.Add(-clockTrust)
	if now, err := c.now(t.Context(), db); err != nil || time.Until(now).Abs() > time.Second {
		t.Errorf("it is believed for ever: %s (%v)", time.Until(now), err)
	}
}

func TestBehind(t *testing.T) {
	at := func(ms float64) time.Time { return time.Unix(1_700_000_000, int64(ms*1e6)) }
	for _, c := range []struct {
		before, server, after float64 // milliseconds
		want                  int     // microseconds
	}{
		{0.2, 0, 0.3, 0},      // the same clock, cut to the millisecond
		{0.9, 1, 1.1, 0},      // the same
		{0, 5, 10, 0},         // somewhere between
		{0, 10, 10, 0},        // just so
		{0, 1000, 10, 995500}, // of 990 to 1001
		{1000, 0, 1010, -1004500},
	} {
		if got := behind(at(c.before), at(c.server), at(c.after)); got.Microseconds() != int64(c.want) {
			t.Errorf("asked at %v, told %v, heard at %v: %s behind, want %d µs", c.before, c.server, c.after, got, c.want)
		}
	}
}

func TestBadURL(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"http://x", "mongodb://", "mongodb://x:y:z", "mongodb://u:p@ss@x"} {
		if _, err := New(Options{URL: url}); err == nil || !strings.Contains(err.Error(), "invalid URL of a MongoDB server: ") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

// TestRefused: who is not let in is told so, and not of the topology.
func TestRefused(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := open(t, Options{URL: strings.Replace(s.url, "://", "://ann:secret@", 1)})
	err := b.Push(t.Context(), messages("a", time.Now(), 1))
	if err == nil || !strings.HasPrefix(err.Error(), "cannot queue tasks: the server refuses the login: ") || strings.Contains(err.Error(), "secret") {
		t.Errorf("it says %v", err)
	}
}

// TestIndexes: they are made once, and what a claim looks for they have.
func TestIndexes(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for range 2 {
		b := open(t, Options{URL: s.url})
		c, err := b.queue(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		list, err := c.Indexes().ListSpecifications(t.Context())
		if err != nil || len(list) != 1+len(indexes()) {
			t.Errorf("there are the indexes %+v (%v)", list, err)
		}
	}
	claims := indexes()["claim"]
	for i, key := range append([]string{"state", "type"}, keysOf(inOrder())...) {
		if claims[i].Key != key {
			t.Errorf("the index of claims has %v", claims)
		}
	}
}

func keysOf(d bson.D) (keys []string) {
	for _, e := range d {
		keys = append(keys, e.Key)
	}
	return keys
}
