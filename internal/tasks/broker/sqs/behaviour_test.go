package sqs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"procops/integration/harness"
	"procops/internal/fault"
	"procops/internal/tasks/broker"
)

// message returns a message of type a that is ready.
func message(id string) broker.Message {
	return broker.Message{ID: id, Type: "a", RunAt: time.Now(), Body: []byte(`{"n":1}`)}
}

func push(t *testing.T, b *Broker, messages ...broker.Message) {
	t.Helper()
	if err := b.Push(t.Context(), messages); err != nil {
		t.Fatal(err)
	}
}

// next waits for a message of type a and claims it.
func next(t *testing.T, b *Broker) broker.Lease {
	t.Helper()
	return nextFor(t, b, time.Minute)
}

func nextFor(t *testing.T, b *Broker, lease time.Duration) broker.Lease {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		leases, err := b.Claim(ctx, broker.Ask{Types: []string{"a"}, Max: 1, Lease: lease})
		if err != nil {
			t.Fatal(err)
		}
		if len(leases) > 0 {
			return leases[0]
		}
	}
}

// none wants that nothing is ready.
func none(t *testing.T, b *Broker) {
	t.Helper()
	leases, err := b.Claim(t.Context(), broker.Ask{Types: []string{"a"}, Max: 1, Lease: 10 * time.Second})
	if err != nil || len(leases) > 0 {
		t.Errorf("claimed %+v, %v", leases, err)
	}
}

// TestIdleCosts: who has nothing to do makes one call for as long as SQS lets it wait.
func TestIdleCosts(t *testing.T) {
	t.Parallel()
	p := startProxy(t, startServer(t, harness.SQSServer), nil)
	b := open(t, Options{Endpoint: p.URL})
	none(t, b)
	for range 20 {
		if found, err := b.Await(t.Context(), []string{"a"}, 20*time.Millisecond); found || err != nil {
			t.Fatal(found, err)
		}
		none(t, b)
	}
	// The one call is still waiting. Now it is answered.
	push(t, open(t, Options{Endpoint: p.URL}), message("x"))
	if l := next(t, b); l.ID != "x" {
		t.Errorf("claimed %+v", l)
	}
	if n := p.count("ReceiveMessage"); n != 1 {
		t.Errorf("%d calls wait for messages, want 1", n)
	}
}

// TestHops: a message that is for later than SQS can delay one is sent again and again,
// each time before the old one is deleted, and comes when it is due.
func TestHops(t *testing.T) {
	t.Parallel()
	p := startProxy(t, startServer(t, harness.SQSServer), nil)
	b := open(t, Options{Endpoint: p.URL, MaxDelay: time.Second})
	m := message("x")
	m.RunAt = time.Now().Add(3500 * time.Millisecond)
	push(t, b, m)
	l := next(t, b)
	if time.Now().Before(m.RunAt) || l.ID != "x" || l.Crashes != 0 || l.Attempts != 0 {
		t.Errorf("at %s came %+v", time.Now(), l)
	}
	want := []string{"SendMessageBatch"}
	for range 3 {
		want = append(want, "SendMessageBatch", "DeleteMessageBatch")
	}
	if got := p.seen(); !slices.Equal(got, want) {
		t.Errorf("the calls are %q, want %q", got, want)
	}
	if _, err := b.Ack(t.Context(), []broker.Lease{l}); err != nil {
		t.Error(err)
	}
	none(t, b)
}

// TestDiesBetweenSendAndDelete: then a message is there twice, but it is not lost; and
// whoever gives it back does not send it a third time.
func TestDiesBetweenSendAndDelete(t *testing.T) {
	t.Parallel()
	var dead atomic.Bool
	p := startProxy(t, startServer(t, harness.SQSServer), func(w http.ResponseWriter, operation string, _ []byte) bool {
		return operation == "DeleteMessageBatch" && dead.Load() && refuse(w, http.StatusForbidden, "AccessDenied", "no deletes")
	})
	b := open(t, Options{Endpoint: p.URL})
	push(t, b, message("x"))
	l := nextFor(t, b, 2*time.Second)
	dead.Store(true)
	err := b.Nack(t.Context(), l, broker.Again{Failed: true})
	if !errors.Is(err, broker.ErrLost) || !strings.Contains(err.Error(), "comes once more") || !strings.Contains(err.Error(), "no deletes") {
		t.Errorf("it says %v", err)
	}
	dead.Store(false)
	again := next(t, b)
	if again.ID != "x" || again.Attempts != 1 || again.Number != 2 {
		t.Errorf("the new one is %+v", again)
	}
	if _, err := b.Ack(t.Context(), []broker.Lease{again}); err != nil {
		t.Fatal(err)
	}
	if old := next(t, b); old.ID != "x" || old.Attempts != 0 || old.Crashes != 1 {
		t.Errorf("the old one is %+v", old)
	}
}

// TestEntriesFail: of a batch what has failed is tried again, and nothing else.
func TestEntriesFail(t *testing.T) {
	t.Parallel()
	var batches []int
	server := startServer(t, harness.SQSServer)
	p := startProxy(t, server, func(w http.ResponseWriter, operation string, body []byte) bool {
		if operation != "SendMessageBatch" {
			return false
		}
		var asked struct {
			Entries []struct{ ID, MessageBody string }
		}
		if err := json.Unmarshal(body, &asked); err != nil {
			t.Error(err)
		}
		batches = append(batches, len(asked.Entries))
		if len(asked.Entries) == 1 {
			return false
		}
		// All but the last one are there, says the server.
		answer := map[string][]map[string]any{"Failed": {}}
		for i, e := range asked.Entries {
			if i == len(asked.Entries)-1 {
				answer["Failed"] = append(answer["Failed"], map[string]any{"Id": e.ID, "Code": "InternalError", "SenderFault": false})
			}
		}
		_ = json.NewEncoder(w).Encode(answer)
		return true
	})
	b := open(t, Options{Endpoint: p.URL})
	var many []broker.Message
	for i := range 24 {
		many = append(many, message(fmt.Sprintf("m%02d", i)))
	}
	push(t, b, many...)
	if want := []int{10, 1, 10, 1, 4, 1}; !slices.Equal(batches, want) {
		t.Errorf("batches of %d, want %d", batches, want)
	}
	var got []string
	for range 3 {
		got = append(got, next(t, b).ID)
	}
	if slices.Sort(got); !slices.Equal(got, []string{"m09", "m19", "m23"}) {
		t.Errorf("%q were tried again", got)
	}
}

// TestUnclaimed: what arrives and is not claimed is given back, and that is no crash.
func TestUnclaimed(t *testing.T) {
	t.Parallel()
	server := startServer(t, harness.SQSServer)
	busy, idle := open(t, Options{Endpoint: server}), open(t, Options{Endpoint: server})
	push(t, idle, message("x"))
	if found, err := busy.Await(t.Context(), []string{"a"}, 30*time.Second); !found || err != nil {
		t.Fatal(found, err)
	}
	if l := next(t, idle); l.ID != "x" || l.Crashes != 0 {
		t.Errorf("it came as %+v", l)
	}
}

// TestClosed: who ends gives back what has arrived at once.
func TestClosed(t *testing.T) {
	t.Parallel()
	server := startServer(t, harness.SQSServer)
	o := Options{Endpoint: server, Create: true, Getenv: keys, Lease: time.Hour}
	ends, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	other := open(t, o)
	push(t, other, message("x"))
	if found, err := ends.Await(t.Context(), []string{"a"}, 30*time.Second); !found || err != nil {
		t.Fatal(found, err)
	}
	if err := ends.Close(); err != nil {
		t.Fatal(err)
	}
	if l := next(t, other); l.ID != "x" || l.Crashes != 0 {
		t.Errorf("it came as %+v", l)
	}
}

// TestOtherTypes: a worker that does not run a type leaves it to others, and each time for
// longer.
func TestOtherTypes(t *testing.T) {
	t.Parallel()
	server := startServer(t, harness.SQSServer)
	wrong, right := open(t, Options{Endpoint: server}), open(t, Options{Endpoint: server})
	if found, err := wrong.Await(t.Context(), []string{"b"}, time.Millisecond); found || err != nil {
		t.Fatal(found, err)
	}
	push(t, right, message("x"))
	if found, err := wrong.Await(t.Context(), []string{"b"}, 2*time.Second); found || err != nil {
		t.Fatal(found, err)
	}
	if err := wrong.Close(); err != nil {
		t.Fatal(err)
	}
	if l := next(t, right); l.ID != "x" || l.Crashes != 0 || l.Number < 2 {
		t.Errorf("it came as %+v", l)
	}
	for received, want := range map[int64]time.Duration{1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 60: longestBounce} {
		if got := bounce(received); got != want {
			t.Errorf("received %d times it waits %s, want %s", received, got, want)
		}
	}
}

// TestGarbage: what is no task is put aside, said, and in nobody's way.
func TestGarbage(t *testing.T) {
	t.Parallel()
	server := startServer(t, harness.SQSServer)
	b := open(t, Options{Endpoint: server})
	push(t, b, message("first"))
	next(t, b)
	if err := firstOf(b.main.send(t.Context(), []letter{{text: `{"hello": 1}`}})); err != nil {
		t.Fatal(err)
	}
	_, err := b.Await(t.Context(), []string{"a"}, 30*time.Second)
	if err == nil || !strings.Contains(err.Error(), "no id or no type") || !strings.Contains(err.Error(), `it is in the queue "procops-dead" now`) {
		t.Errorf("it says %v", err)
	}
	if n, err := b.Count(t.Context(), nil); err != nil || n != (broker.Counts{Leased: 1, Buried: 1}) {
		t.Errorf("counted %+v, %v", n, err)
	}
	push(t, b, message("x"))
	if l := next(t, b); l.ID != "x" {
		t.Errorf("claimed %+v", l)
	}
}

// TestTypedServer has a server that answers batches as SQS does.
func TestTypedServer(t *testing.T) {
	t.Parallel()
	server := startServer(t, harness.SQSTypedServer)
	b := open(t, Options{Endpoint: server})
	push(t, b, message("x"))
	l := next(t, b)
	if l.ID != "x" || l.Number != 1 || string(l.Body) != `{"n":1}` {
		t.Errorf("claimed %+v", l)
	}
	nobody := l
	nobody.ID, nobody.Handle = "nobody", "nothing"
	lost, err := b.Extend(t.Context(), []broker.Lease{l, nobody}, time.Minute)
	if err != nil || len(lost) != 1 || lost[0].ID != "nobody" {
		t.Errorf("extended, and lost are %+v, %v", lost, err)
	}
	if err := b.Bury(t.Context(), l); err != nil {
		t.Error(err)
	}
	if lost, err := b.Extend(t.Context(), []broker.Lease{l}, time.Minute); err != nil || len(lost) != 1 {
		t.Errorf("a message that is gone could be extended: %+v, %v", lost, err)
	}
	push(t, b, message("y"))
	if err := b.Nack(t.Context(), next(t, b), broker.Again{Failed: true, At: time.Now()}); err != nil {
		t.Error(err)
	}
	l = next(t, b)
	if l.ID != "y" || l.Attempts != 1 {
		t.Errorf("claimed %+v", l)
	}
	if lost, err := b.Ack(t.Context(), []broker.Lease{l}); err != nil || len(lost) > 0 {
		t.Error(lost, err)
	}
}

// TestSmallQueue: a queue may be configured for less than SQS takes.
func TestSmallQueue(t *testing.T) {
	t.Parallel()
	b := open(t, Options{Endpoint: startServer(t, harness.SQSTypedServer), Queue: "small"})
	name := "small"
	if _, err := b.main.client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: map[string]string{"MaximumMessageSize": "1024"}}); err != nil {
		t.Fatal(err)
	}
	large := message("large")
	large.Body = []byte(`"` + strings.Repeat("x", 1024) + `"`)
	err := b.Push(t.Context(), []broker.Message{message("x"), large, message("y")})
	if err == nil || !strings.Contains(err.Error(), "2 of 3 are queued all the same") || !strings.Contains(err.Error(), "1024 bytes") {
		t.Errorf("it says %v", err)
	}
	large.Body = []byte(`"` + strings.Repeat("x", MaxMessage-reserve-50) + `"`)
	err = b.Push(t.Context(), []broker.Message{message("z"), large})
	if err == nil || !strings.Contains(err.Error(), `task "large" is too large for SQS`) || !fault.Is(err, fault.Usage) {
		t.Errorf("it says %v", err)
	}
	if n, err := b.Count(t.Context(), nil); err != nil || n.Ready != 2 {
		t.Errorf("counted %+v, %v", n, err)
	}
}

// TestServerGoesAway: whoever waits hears of it, each time.
func TestServerGoesAway(t *testing.T) {
	t.Parallel()
	p := startProxy(t, startServer(t, harness.SQSServer), nil)
	b := open(t, Options{Endpoint: p.URL})
	none(t, b)
	p.front.CloseClientConnections()
	p.front.Close()
	for range 3 {
		if _, err := b.Await(t.Context(), []string{"a"}, 30*time.Second); !fault.Is(err, fault.Unreachable) {
			t.Errorf("await says %v", err)
		}
		if _, err := b.Claim(t.Context(), broker.Ask{Types: []string{"a"}, Max: 1, Lease: time.Minute}); !fault.Is(err, fault.Unreachable) {
			t.Errorf("claim says %v", err)
		}
	}
}

// TestBuriedByID: one of many dead messages can be taken, and the others stay within reach.
func TestBuriedByID(t *testing.T) {
	t.Parallel()
	b := open(t, Options{Endpoint: startServer(t, harness.SQSServer)})
	var dead []broker.Message
	for i := range 25 {
		m := message(fmt.Sprintf("m%02d", i))
		m.Buried, m.Number, m.Crashes = true, 4, 2
		dead = append(dead, m)
	}
	push(t, b, dead...)
	if err := firstOf(b.dead.send(t.Context(), []letter{{text: "garbage"}})); err != nil {
		t.Fatal(err)
	}
	take := func(ids ...string) []broker.Lease {
		t.Helper()
		leases, err := b.Claim(t.Context(), broker.Ask{IDs: ids, From: broker.StateBuried, Max: 10, Lease: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return leases
	}
	for _, id := range []string{"m13", "m24", "m00"} {
		leases := take(id)
		if len(leases) != 1 || leases[0].ID != id || !leases[0].Buried || leases[0].Crashes != 2 {
			t.Fatalf("%s: claimed %+v", id, leases)
		}
		if err := b.Nack(t.Context(), leases[0], broker.Again{Fresh: true}); err != nil {
			t.Fatal(err)
		}
		if l := next(t, b); l.ID != id || l.Crashes != 0 || l.Number <= 5 || l.Buried {
			t.Errorf("requeued it is %+v", l)
		}
	}
	if leases := take("nobody", "m00"); len(leases) > 0 {
		t.Errorf("claimed %+v", leases)
	}
	if n, err := b.Count(t.Context(), nil); err != nil || n.Buried != 23 {
		t.Errorf("counted %+v, %v", n, err)
	}
}

// TestRenewed: a lease that was shorter, or has waited, is as long as was asked for once the
// message is claimed; a new one costs no call for that.
func TestRenewed(t *testing.T) {
	t.Parallel()
	p := startProxy(t, startServer(t, harness.SQSServer), nil)
	b := open(t, Options{Endpoint: p.URL, Lease: 10 * time.Second})
	for want, lease := range []time.Duration{10 * time.Second, time.Minute} {
		push(t, b, message("x"))
		if found, err := b.Await(t.Context(), []string{"a"}, 30*time.Second); !found || err != nil {
			t.Fatal(found, err)
		}
		l := nextFor(t, b, lease)
		if left := time.Until(l.Until); left < lease-fresh || left > lease {
			t.Errorf("a lease of %s ends in %s", lease, left)
		}
		if n := p.count("ChangeMessageVisibilityBatch"); n != want {
			t.Errorf("leases were extended %d times, want %d", n, want)
		}
	}
}

// TestNoRoom: what has arrived and may not run now takes the room of what else could arrive,
// so that a full queue is not received and sent again and again.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	p := startProxy(t, startServer(t, harness.SQSServer), nil)
	b := open(t, Options{Endpoint: p.URL, NoWait: true})
	claim := func(types ...string) []broker.Lease {
		t.Helper()
		leases, err := b.Claim(t.Context(), broker.Ask{Types: types, Max: 1, Lease: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		return leases
	}
	claim("a", "b") // without a wait
	push(t, b, message("x"), message("y"), message("z"))
	if found, err := b.Await(t.Context(), []string{"a"}, 30*time.Second); !found || err != nil {
		t.Fatal(found, err)
	}
	if leases := claim("b"); len(leases) > 0 {
		t.Errorf("claimed %+v", leases)
	}
	if found, err := b.Await(t.Context(), []string{"b"}, 300*time.Millisecond); found || err != nil {
		t.Errorf("%t, %v", found, err)
	}
	if n := p.count("ReceiveMessage"); n != 1 {
		t.Errorf("%d messages were received without room for them", n-1)
	}
	if leases := claim("a"); len(leases) != 1 {
		t.Errorf("claimed %+v", leases)
	}
	if found, err := b.Await(t.Context(), []string{"a"}, 30*time.Second); !found || err != nil {
		t.Error(found, err)
	}
}
