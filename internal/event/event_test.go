package event

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

type exitData struct {
	PID    int            `json:"pid" doc:"process id"`
	Code   *int           `json:"code,omitempty" doc:"exit code"`
	Tags   []string       `json:"tags" doc:"labels"`
	At     time.Time      `json:"at" doc:"when"`
	More   struct{}       `json:"more" doc:"more"`
	Share  float64        `json:"share" doc:"share"`
	OK     bool           `json:"ok" doc:"well"`
	Hidden string         `json:"-"`
	Labels map[string]any `json:"labels" doc:"any"`
}

func TestMatch(t *testing.T) {
	for _, test := range []struct {
		pattern, typ string
		want         bool
	}{
		{"", "a.b", true},
		{"*", "a.b", true},
		{"a.b", "a.b", true},
		{"a.b", "a.bc", false},
		{"a.*", "a.b.c", true},
		{"a.*", "ab.c", false},
		{"*.c", "a.b.c", true},
		{"a.*.c", "a.b.c", true},
		{"a.*.c", "a.c", false},
		{"a*b*c", "aXbYc", true},
		{"a*b*c", "aXcYb", false},
		{"*a*a*", "xaxax", true},
		{"*a*a*", "xax", false},
		{"ab*ba", "aba", false},
		{"a**b", "ab", true},
		{"*failed*", "tasks.task.failed", true},
	} {
		if got := Match(test.pattern, test.typ); got != test.want {
			t.Errorf("Match(%q, %q) = %v", test.pattern, test.typ, got)
		}
	}
}

// FuzzMatch compares with a slow way to say the same.
func FuzzMatch(f *testing.F) {
	f.Add("a*b*c", "aXbYc")
	f.Add("**", "")
	f.Fuzz(func(t *testing.T, pattern, typ string) {
		if len(pattern) > 20 || len(typ) > 40 {
			return
		}
		if got, want := Match(pattern, typ), pattern == "" || slowMatch(pattern, typ); got != want {
			t.Errorf("Match(%q, %q) = %v", pattern, typ, got)
		}
	})
}

func slowMatch(pattern, typ string) bool {
	if pattern == "" {
		return typ == ""
	}
	if pattern[0] != '*' {
		return typ != "" && typ[0] == pattern[0] && slowMatch(pattern[1:], typ[1:])
	}
	rest := strings.TrimLeft(pattern, "*")
	for i := 0; i <= len(typ); i++ {
		if slowMatch(rest, typ[i:]) {
			return true
		}
	}
	return false
}

func TestSubscribersHearInOrder(t *testing.T) {
	b := NewBus("test[1]")
	var heard []string
	note := func(who string) func(Event) {
		return func(e Event) { heard = append(heard, who+":"+e.Type) }
	}
	cancelAll := b.Subscribe("", note("all"))
	b.Subscribe("a.*", note("a"))
	b.Publish(Event{Type: "a.x"})
	b.Publish(Event{Type: "b.x"})
	cancelAll()
	b.Publish(Event{Type: "a.y"})
	cancelAll() // may be called twice
	if want := []string{"all:a.x", "a:a.x", "all:b.x", "a:a.y"}; !slices.Equal(heard, want) {
		t.Errorf("heard %q", heard)
	}
}

func TestPublishFillsIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBus("test[1]")
		var got []Event
		b.Subscribe("", func(e Event) { got = append(got, e) })
		then := time.Now().Add(-time.Hour)
		b.Publish(Event{Type: "a.x"})
		b.Publish(Event{Type: "a.x", Time: then, Source: "other"})
		if !got[0].Time.Equal(time.Now()) || got[0].Source != "test[1]" {
			t.Errorf("%+v", got[0])
		}
		if !got[1].Time.Equal(then) || got[1].Source != "other" {
			t.Errorf("%+v", got[1])
		}
	})
}

// TestSubscriberMaySubscribe changes the listeners while they are called.
func TestSubscriberMaySubscribe(t *testing.T) {
	b := NewBus("test")
	heard := 0
	var cancel func()
	cancel = b.Subscribe("", func(Event) {
		cancel()
		b.Subscribe("", func(Event) { heard++ })
	})
	b.Publish(Event{Type: "a.x"})
	b.Publish(Event{Type: "a.x"})
	if heard != 1 {
		t.Errorf("heard %d events", heard)
	}
}

func TestBusIsSafeForConcurrentUse(t *testing.T) {
	b := NewBus("test")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				b.Publish(Event{Type: "a.x"})
			}
		})
		wg.Go(func() {
			for range 200 {
				b.Subscribe("a.*", func(Event) {})()
			}
		})
	}
	wg.Wait()
	if n := len(*b.listeners.Load()); n != 0 {
		t.Errorf("%d listeners are left", n)
	}
}

func TestTypePublishesOnlyToListeners(t *testing.T) {
	b := NewBus("test")
	typ := Define[exitData]("test.exited", "A process has ended.")
	typ.Publish(b, "web", exitData{PID: 1})
	var got []Event
	b.Subscribe("test.*", func(e Event) { got = append(got, e) })
	typ.Publish(b, "web", exitData{PID: 2})
	if len(got) != 1 || got[0].Subject != "web" || got[0].Time.IsZero() {
		t.Fatalf("%+v", got)
	}
	if data, ok := got[0].Data.(exitData); !ok || data.PID != 2 {
		t.Errorf("data %+v", got[0].Data)
	}
}

func TestDescribe(t *testing.T) {
	d := Define[exitData]("test.exited", "A process has ended.").Describe()
	var fields []string
	for _, f := range d.Fields {
		fields = append(fields, fmt.Sprintf("%s %s (%s)", f.Name, f.Kind, f.Doc))
	}
	want := []string{
		"pid number (process id)", "code number (exit code)", "tags array of string (labels)", "at time (when)",
		"more object (more)", "share number (share)", "ok boolean (well)", "labels object (any)",
	}
	if d.Name != "test.exited" || d.Doc != "A process has ended." || !slices.Equal(fields, want) {
		t.Errorf("%+v", d)
	}
	if none := Define[struct{}]("a.b", "").Describe().Fields; none == nil || len(none) != 0 {
		t.Errorf("fields of nothing: %#v", none)
	}
}

func TestJSON(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 123000, time.UTC)
	for _, test := range []struct {
		event Event
		want  string
	}{
		{Event{Time: at, Type: "a.b"}, `{"time":"2026-03-01T12:00:00.000123Z","type":"a.b"}`},
		{
			Event{ID: 7, Time: at, Type: "a.b", Source: "s[1]", Subject: "web", Data: map[string]int{"n": 1}},
			`{"id":7,"time":"2026-03-01T12:00:00.000123Z","type":"a.b","source":"s[1]","subject":"web","data":{"n":1}}`,
		},
	} {
		raw, err := json.Marshal(test.event)
		if err != nil || string(raw) != test.want {
			t.Errorf("%s, %v", raw, err)
		}
		var back Event
		if err := json.Unmarshal(raw, &back); err != nil {
			t.Error(err)
		}
		again, err := json.Marshal(back)
		if err != nil || string(again) != test.want {
			t.Errorf("read back: %s, %v", again, err)
		}
	}
	if _, err := json.Marshal(Event{Type: "a.b", Data: make(chan int)}); err == nil || !strings.Contains(err.Error(), "cannot encode the data of event a.b") {
		t.Errorf("error %v", err)
	}
	var e Event
	if err := json.Unmarshal([]byte(`{"time": 5}`), &e); err == nil || !strings.Contains(err.Error(), "cannot decode event") {
		t.Errorf("error %v", err)
	}
}

func TestCheckType(t *testing.T) {
	for _, good := range []string{"a.b", "deploy.done", "my_app.order.paid2"} {
		if err := CheckType(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "a", "a.", ".a", "a..b", "A.b", "a.b c", "a-b.c", "a.b\n", "ä.b", "a.*", strings.Repeat("a.", 60) + "b"} {
		if err := CheckType(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestSinkHandlesInOrder(t *testing.T) {
	b := NewBus("test")
	var got []int64
	s := NewSink(b, []string{"a.*"}, 100, func(e Event) { got = append(got, e.ID) })
	for i := range 50 {
		b.Publish(Event{ID: int64(i), Type: "a.x"})
		b.Publish(Event{ID: -1, Type: "b.x"})
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(got) != 50 || !slices.IsSorted(got) || got[0] != 0 {
		t.Errorf("handled %v", got)
	}
	b.Publish(Event{Type: "a.x"}) // nobody hears it
	if err := s.Close(t.Context()); err != nil || len(got) != 50 || s.Dropped() != 0 {
		t.Errorf("closing twice: %v, handled %d, dropped %d", err, len(got), s.Dropped())
	}
}

func TestFullSinkDropsAndNeverBlocks(t *testing.T) {
	b := NewBus("test")
	working, free := make(chan struct{}, 1), make(chan struct{})
	handled := 0
	s := NewSink(b, []string{""}, 3, func(Event) {
		select {
		case working <- struct{}{}:
		default:
		}
		<-free
		handled++
	})
	b.Publish(Event{Type: "a.x"})
	<-working // the queue is empty again
	for range 10 {
		b.Publish(Event{Type: "a.x"})
	}
	if n := s.Dropped(); n != 7 {
		t.Errorf("%d events were dropped, want 7", n)
	}
	cause := errors.New("too slow")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if err := s.Close(ctx); !errors.Is(err, cause) {
		t.Errorf("closing beside a handler that hangs: %v", err)
	}
	close(free)
	if err := s.Close(t.Context()); err != nil || handled != 4 {
		t.Errorf("closing: %v, handled %d", err, handled)
	}
}

func TestSinkClosesBesidePublishers(t *testing.T) {
	b := NewBus("test")
	for range 50 {
		s := NewSink(b, []string{""}, 1, func(Event) {})
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { b.Publish(Event{Type: "a.x"}) })
		}
		wg.Go(func() {
			if err := s.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
	}
}

// TestPublishWithoutListenersDoesNotAllocate keeps the promise that makes noisy
// types affordable.
func TestPublishWithoutListenersDoesNotAllocate(t *testing.T) {
	b := NewBus("test")
	typ := Define[exitData]("test.exited", "")
	b.Subscribe("", func(Event) {})() // nobody listens any more
	if n := testing.AllocsPerRun(100, func() { typ.Publish(b, "web", exitData{PID: 1, Share: 0.5}) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { b.Publish(Event{Type: "a.x", Subject: "web"}) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPublishWithoutListeners(b *testing.B) {
	bus := NewBus("bench")
	typ := Define[exitData]("test.exited", "")
	b.ReportAllocs()
	for b.Loop() {
		typ.Publish(bus, "web", exitData{PID: 1, Share: 0.5})
	}
}

func BenchmarkPublishToOneSubscriber(b *testing.B) {
	bus := NewBus("bench")
	typ := Define[exitData]("test.exited", "")
	n := 0
	bus.Subscribe("test.*", func(Event) { n++ })
	b.ReportAllocs()
	for b.Loop() {
		typ.Publish(bus, "web", exitData{PID: 1, Share: 0.5})
	}
}
