package redis

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"procops/internal/tasks/broker"
	"procops/internal/tasks/broker/conformance"
	"procops/internal/tasks/leptir"
)

func openLeptir(tb testing.TB, url, key string) *Leptir {
	tb.Helper()
	q, err := NewLeptir(LeptirOptions{URL: url, Key: key, Poll: 20 * time.Millisecond})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := q.Close(); err != nil {
			tb.Error(err)
		}
	})
	return q
}

// taskBody returns the body of a task with one parameter.
func taskBody(seed string) []byte {
	raw, err := json.Marshal(map[string]string{"seed": seed})
	if err != nil {
		panic(err)
	}
	params, err := leptir.EncodeValue(raw)
	if err != nil {
		panic(err)
	}
	body, err := json.Marshal(broker.Body{Params: params})
	if err != nil {
		panic(err)
	}
	return body
}

func TestLeptirConformance(t *testing.T) {
	url := startServer(t)
	for i, check := range conformance.Checks() {
		t.Run(check.Name, func(t *testing.T) {
			key := "tasks-" + strconv.Itoa(i)
			check.Run(t, conformance.Bench{
				Broker: openLeptir(t, url, key), Other: openLeptir(t, url, key),
				Now: func() time.Time { return time.Now().Truncate(time.Microsecond) }, Pass: func(d time.Duration) { <-time.After(d) },
				Lacks: conformance.Lacks{Order: true}, Body: taskBody,
			})
		})
	}
}

// shared is a queue of leptir, and a look at what others see of it.
type shared struct {
	*Leptir
	t *testing.T
}

func newShared(t *testing.T) shared {
	t.Helper()
	return shared{openLeptir(t, startServer(t), ""), t}
}

func (s shared) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// add puts documents into the set as somebody else would, all due.
func (s shared) add(documents ...string) {
	s.t.Helper()
	for i, d := range documents {
		s.must(s.server.client.ZAdd(s.t.Context(), "leptir:ztasks", redis.Z{Score: float64(1386125013 + i), Member: d}).Err())
	}
}

// members returns what is in the set.
func (s shared) members() []string {
	s.t.Helper()
	list, err := s.server.client.ZRange(s.t.Context(), "leptir:ztasks", 0, -1).Result()
	s.must(err)
	return list
}

func (s shared) claim(most int, types ...string) []broker.Lease {
	s.t.Helper()
	leases, err := s.Claim(s.t.Context(), broker.Ask{Types: types, Max: most, Lease: time.Minute})
	s.must(err)
	return leases
}

func doc(class, id, parameters string) string {
	return fmt.Sprintf(`{"cn":%q,"pr":0,"tl":0,"toex":"","td":{"id":%q,"parameters":%s}}`, class, id, parameters)
}

// TestLeptirDocuments: what is in the set is to the byte what leptir has there, under its
// times, and comes back as it was.
func TestLeptirDocuments(t *testing.T) {
	s := newShared(t)
	later := time.Now().Add(time.Hour).Truncate(time.Second)
	s.must(s.Push(t.Context(), []broker.Message{
		{ID: "later", Type: "a.b", Priority: 2, RunAt: later, Body: []byte(`{"params":{"x":"ä/"},"time_limit":30}`)},
		{ID: "now", Type: "a", RunAt: time.UnixMicro(1386125013_250000), Body: []byte(`{"params":{}}`)},
	}))
	want := []redis.Z{
		{Score: 1386125013.25, Member: doc("a", "now", "[]")},
		{Score: float64(later.Unix()), Member: `{"cn":"a\\b","pr":2,"tl":30,"toex":` + strconv.FormatInt(later.Unix(), 10) + `,"td":{"id":"later","parameters":{"x":"\u00e4\/"}}}`},
	}
	got, err := s.server.client.ZRangeWithScores(t.Context(), "leptir:ztasks", 0, -1).Result()
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("the set is %v (%v), want %v", got, err, want)
	}
	l := s.claim(9, "a")
	if len(l) != 1 || len(s.members()) != 1 {
		t.Fatalf("claimed %+v, in the set is %q", l, s.members())
	}
	s.must(s.Nack(t.Context(), l[0], broker.Again{}))
	if got, err = s.server.client.ZRangeWithScores(t.Context(), "leptir:ztasks", 0, -1).Result(); err != nil || !slices.Equal(got, want) {
		t.Errorf("then the set is %v (%v), want %v", got, err, want)
	}
}

// TestLeptirOrder: by time, whatever the priorities.
func TestLeptirOrder(t *testing.T) {
	s := newShared(t)
	var messages []broker.Message
	for i := range 50 {
		messages = append(messages, broker.Message{ID: fmt.Sprintf("%02d", i), Type: "a", Priority: -i, RunAt: time.Now().Add(time.Duration(i-50) * time.Millisecond), Body: taskBody("")})
	}
	slices.Reverse(messages)
	s.must(s.Push(t.Context(), messages))
	var got []string
	for range 5 {
		for _, l := range s.claim(10, "a") {
			got = append(got, l.ID)
		}
	}
	if len(got) != 50 || !slices.IsSorted(got) {
		t.Errorf("they came as %q", got)
	}
}

// TestLeptirForeign: what others have in the set stays there; what lies behind it is found,
// and nobody keeps looking for nothing.
func TestLeptirForeign(t *testing.T) {
	s := newShared(t)
	var foreign []string
	for i := range 3000 {
		foreign = append(foreign, doc("Other", strconv.Itoa(i), "[]"))
	}
	foreign = append(foreign, "?", `{"cn":5}`, doc("Ärger", "x", "[]"))
	s.add(foreign...)
	if found, err := s.Await(t.Context(), []string{"a"}, time.Millisecond); err != nil || !found {
		t.Errorf("at first there may be something: %t, %v", found, err)
	}
	if l := s.claim(5, "a"); len(l) > 0 {
		t.Errorf("claimed %+v", l)
	}
	if found, err := s.Await(t.Context(), []string{"a"}, 50*time.Millisecond); err != nil || found {
		t.Errorf("there is nothing for it: %t, %v", found, err)
	}
	waiting := make(chan error, 1)
	go func() {
		found, err := s.Await(t.Context(), []string{"a"}, time.Minute)
		if err == nil && !found {
			err = context.DeadlineExceeded
		}
		waiting <- err
	}()
	s.must(s.server.client.ZAdd(t.Context(), "leptir:ztasks", redis.Z{Score: float64(time.Now().Unix()), Member: doc("a", "mine", "[]")}).Err())
	s.must(<-waiting) // who has added it has told nobody
	l := s.claim(5, "a")
	if len(l) != 1 || l[0].ID != "mine" {
		t.Fatalf("claimed %+v", l)
	}
	if got := s.members(); len(got) != len(foreign) {
		t.Errorf("%d of %d are left", len(got), len(foreign))
	}
	n, err := s.Count(t.Context(), nil)
	if want := (broker.Counts{Ready: len(foreign), Leased: 1}); err != nil || n != want {
		t.Errorf("counted %+v (%v), want %+v", n, err, want)
	}
}

// TestLeptirWithoutID: a document without an id gets one when it is claimed, another one
// each time that it is queued.
func TestLeptirWithoutID(t *testing.T) {
	s := newShared(t)
	seen := map[string]bool{}
	for range 2 {
		s.add(`{"cn":"a","pr":0,"tl":0,"toex":"","td":{"parameters":{"n":1}}}`)
		l := s.claim(5, "a")
		if len(l) != 1 || l[0].ID == "" || seen[l[0].ID] {
			t.Fatalf("claimed %+v", l)
		}
		seen[l[0].ID] = true
		if _, ok := leptir.IDTime(l[0].ID); !ok {
			t.Errorf("its id is %q", l[0].ID)
		}
		s.must(s.Nack(t.Context(), l[0], broker.Again{}))
		if got := s.members(); len(got) != 1 || got[0] != doc("a", l[0].ID, `{"n":1}`) {
			t.Errorf("it came back as %q", got)
		}
		again := s.claim(5, "a")
		if len(again) != 1 || again[0].ID != l[0].ID || again[0].Number != 2 {
			t.Fatalf("then claimed %+v", again)
		}
		if lost, err := s.Ack(t.Context(), again); err != nil || len(lost) > 0 {
			t.Error(lost, err)
		}
	}
}

// TestLeptirUnreadable: what cannot be read can be claimed once its type is known, so that
// it can be put aside, as it is.
func TestLeptirUnreadable(t *testing.T) {
	s := newShared(t)
	bad := `{"cn":"a","td":{"id":"x","parameters":"?"}}`
	s.add(bad)
	l := s.claim(5, "a")
	if len(l) != 1 || l[0].Body != nil || !strings.HasPrefix(l[0].ID, "unreadable-") {
		t.Fatalf("claimed %+v", l)
	}
	s.must(s.Bury(t.Context(), l[0]))
	if member, err := s.server.client.HGet(t.Context(), "{leptir:ztasks}:procops:task:"+l[0].ID, "member").Result(); err != nil || member != bad {
		t.Errorf("kept is %q (%v)", member, err)
	}
	for e, err := range s.List(t.Context(), nil) {
		if err != nil || e.State != broker.StateBuried || e.ID != l[0].ID || e.Type != "a" {
			t.Errorf("listed %+v (%v)", e, err)
		}
	}
}

// TestLeptirTwins: of two documents with one id the second waits until the first is done
// with, and nobody spins meanwhile.
func TestLeptirTwins(t *testing.T) {
	s := newShared(t)
	s.add(doc("a", "x", `{"n":1}`), doc("a", "x", `{"n":2}`))
	l := s.claim(5, "a")
	if len(l) != 1 || len(s.members()) != 1 {
		t.Fatalf("claimed %+v", l)
	}
	if more := s.claim(5, "a"); len(more) > 0 {
		t.Fatalf("claimed %+v too", more)
	}
	if found, err := s.Await(t.Context(), []string{"a"}, 50*time.Millisecond); err != nil || found {
		t.Errorf("there is nothing to claim: %t, %v", found, err)
	}
	if lost, err := s.Ack(t.Context(), l); err != nil || len(lost) > 0 {
		t.Error(lost, err)
	}
	if l = s.claim(5, "a"); len(l) != 1 || !strings.Contains(string(l[0].Body), `"n":2`) {
		t.Errorf("then claimed %+v", l)
	}
}

// TestLeptirTakenByOthers: what is kept of a task that somebody else takes goes by itself.
func TestLeptirTakenByOthers(t *testing.T) {
	s := newShared(t)
	s.add(doc("a", "x", "[]"))
	s.must(s.Nack(t.Context(), s.claim(1, "a")[0], broker.Again{Failed: true}))
	if ttl := s.server.client.TTL(t.Context(), "{leptir:ztasks}:procops:task:x").Val(); ttl < 29*24*time.Hour || ttl > 31*24*time.Hour {
		t.Errorf("what is kept of it ends after %s", ttl)
	}
	if l := s.claim(1, "a"); len(l) != 1 || l[0].Attempts != 1 || s.server.client.TTL(t.Context(), "{leptir:ztasks}:procops:task:x").Val() != -1 {
		t.Errorf("claimed %+v", l)
	}
}

func TestLeptirOptions(t *testing.T) {
	for key, want := range map[string]string{"leptir:ztasks": "{leptir:ztasks}:procops", "{a}:b": "{a}:b:procops"} {
		if got := beside(key); got != want {
			t.Errorf("beside %q is %q, want %q", key, got, want)
		}
	}
	if _, err := NewLeptir(LeptirOptions{URL: "http://x"}); err == nil || !strings.Contains(err.Error(), "invalid URL of a Redis server") {
		t.Error(err)
	}
	q := openLeptir(t, "redis://127.0.0.1:1?max_retries=-1", "")
	if err := q.Push(t.Context(), []broker.Message{{ID: "x", Type: "a", RunAt: time.Now(), Body: []byte(`{"params":[]}`)}}); err == nil || !strings.Contains(err.Error(), `cannot queue tasks: task "x"`) {
		t.Error(err)
	}
	if err := q.Push(t.Context(), []broker.Message{{ID: "x", Type: "a", RunAt: time.Now(), Body: taskBody("")}}); err == nil {
		t.Error("nobody is there, and it is queued")
	}
}
