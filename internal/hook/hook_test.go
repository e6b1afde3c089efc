package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"procops/internal/event"
	"procops/internal/proc"
	"procops/internal/unit"
	"procops/internal/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world records what hooks do.
type world struct {
	mu     sync.Mutex
	done   []string
	events []event.Event
	log    bytes.Buffer
	block  chan struct{} // a task waits for it; nil: it does not
}

func (w *world) did(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = append(w.done, what)
}

func (w *world) deps() Deps {
	log := zerolog.New(zerolog.SyncWriter(&w.log))
	return Deps{
		Log: func() zerolog.Logger { return log },
		PushTask: func(ctx context.Context, typ string, params []byte) error {
			if w.block != nil {
				select {
				case <-w.block:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			w.did("task " + typ + " " + string(params))
			return nil
		},
		SubmitJob: func(_ context.Context, function string, _ []byte) error { w.did("job " + function); return nil },
		Beat: func(_ context.Context, name string, ok bool, message string) error {
			w.did("beat " + name + " " + map[bool]string{true: "ok", false: "fail: "}[ok] + message)
			return nil
		},
		Control: func(_ context.Context, action Action, name string) error {
			w.did(string(action) + " " + name)
			return errors.New("nobody supervises here")
		},
		Record: func(_ context.Context, e event.Event) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.events = append(w.events, e)
			return nil
		},
	}
}

func (w *world) recorded(t *testing.T) string {
	t.Helper()
	var all []string
	for _, e := range w.events {
		text, err := json.Marshal(e.Data)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e.Type+" "+e.Subject+" "+string(text))
	}
	return strings.Join(all, "\n")
}

func closeHooks(t *testing.T, h *Hooks) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := h.Close(ctx); err != nil {
		t.Error(err)
	}
}

func TestActions(t *testing.T) {
	var w world
	bus := event.NewBus("test[1]")
	h := New(Rules{
		{On: Patterns{"a.*"}, Task: "mail.send"},
		{On: Patterns{"a.b"}, Job: "resize"},
		{On: Patterns{"a.b"}, Beat: "backup"},
		{On: Patterns{"a.b"}, Fail: "backup"},
		{On: Patterns{"a.b"}, Restart: "web", Name: "again"},
		{On: Patterns{"a.b"}, Log: "look at {{subject}}: {{n}}"},
		{On: Patterns{"other.*"}, Start: "web"},
		{On: Patterns{"*", "a.b"}, Where: map[string]Condition{"n": {want: "2"}}, Stop: "web"},
	}, bus, w.deps())
	bus.Publish(event.Event{Type: "a.b", Subject: "x", Data: map[string]int{"n": 1}})
	closeHooks(t, h)
	bus.Publish(event.Event{Type: "a.b"}) // nobody hears it
	for _, want := range []string{"task mail.send {", "job resize", "beat backup ok", "beat backup fail: a.b x", "restart web"} {
		n := 0
		for _, did := range w.done {
			if strings.HasPrefix(did, want) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%q was done %d times: %q", want, n, w.done)
		}
	}
	if len(w.done) != 5 {
		t.Errorf("done: %q", w.done)
	}
	if want := `hook.failed again {"action":"restart","on":"a.b","about":"x","error":"nobody supervises here"}`; w.recorded(t) != want {
		t.Errorf("recorded %s, want %s", w.recorded(t), want)
	}
	if !strings.Contains(w.log.String(), "look at x: 1") {
		t.Errorf("the log has %s", w.log.String())
	}
}

// TestNoLoop: hooks do not hear of hooks, and an event that matches twice is heard once.
func TestNoLoop(t *testing.T) {
	var w world
	bus := event.NewBus("test[1]")
	h := New(Rules{{On: Patterns{"*", "hook.*", "a.b"}, Beat: "x"}}, bus, w.deps())
	bus.Publish(eventFailed.New("1", failData{}))
	bus.Publish(event.Event{Type: "a.b"})
	closeHooks(t, h)
	if len(w.done) != 1 {
		t.Errorf("done: %q", w.done)
	}
}

// TestRate: what comes too often is dropped, and that is told once.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w world
		bus := event.NewBus("test[1]")
		h := New(Rules{{On: Patterns{"a.b"}, Beat: "x", Rate: Rate{2, time.Minute}}}, bus, w.deps())
		for range 5 {
			bus.Publish(event.Event{Type: "a.b"})
		}
		synctest.Wait()
		if len(w.done) != 2 || len(w.events) != 0 {
			t.Errorf("done: %q, recorded %s", w.done, w.recorded(t))
		}
		<-time.After(time.Minute)
		bus.Publish(event.Event{Type: "a.b"})
		synctest.Wait()
		if want := `hook.dropped 1 {"rate":3}`; len(w.done) != 3 || w.recorded(t) != want {
			t.Errorf("done: %q, recorded %s, want %s", w.done, w.recorded(t), want)
		}
		closeHooks(t, h)
	})
}

// TestFullQueue: a hook that hangs holds up nobody, and is cut off.
func TestFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world{block: make(chan struct{})}
		bus := event.NewBus("test[1]")
		h := New(Rules{{On: Patterns{"a.b"}, Task: "x", Timeout: unit.Duration(time.Second), Rate: Rate{1, time.Hour}}}, bus, w.deps())
		bus.Publish(event.Event{Type: "a.b"})
		synctest.Wait()
		for range queued + 7 {
			bus.Publish(event.Event{Type: "a.b"})
		}
		<-time.After(time.Second)
		synctest.Wait()
		closeHooks(t, h)
		if got := w.recorded(t); !strings.Contains(got, `"error":"it was cut off after 1s"`) || !strings.HasSuffix(got, `hook.dropped 1 {"rate":1000,"queue":7}`) {
			t.Errorf("recorded %s", got)
		}
	})
}

// TestCloseCutsOff: what does not end in time is cut off, and what waits then is counted.
func TestCloseCutsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world{block: make(chan struct{})}
		bus := event.NewBus("test[1]")
		h := New(Rules{{On: Patterns{"a.b"}, Task: "x", Timeout: unit.Duration(time.Hour)}}, bus, w.deps())
		for range 3 {
			bus.Publish(event.Event{Type: "a.b"})
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := h.Close(ctx); err == nil {
			t.Error("it was waited for")
		}
		if got := w.recorded(t); !strings.Contains(got, errLate.Error()) || !strings.HasSuffix(got, `hook.dropped 1 {"end":2}`) {
			t.Errorf("recorded %s", got)
		}
	})
}

func TestExec(t *testing.T) {
	host, err := proc.NewHost(proc.HostOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	})
	var w world
	deps := w.deps()
	deps.Host = func(context.Context) (*proc.Host, error) { return host, nil }
	deps.Env = []string{"EXTRA=1"}
	dir := t.TempDir()
	script := `cat >"$0/input"; echo "$PROCOPS_HOOK $PROCOPS_EVENT_TYPE $PROCOPS_EVENT_SUBJECT $EXTRA" >"$0/env"; echo no good >&2; exit 3`
	bus := event.NewBus("test[1]")
	h := New(Rules{{Name: "page", On: Patterns{"a.b"}, Exec: proc.Command{"/bin/sh", "-c", script, dir}}}, bus, deps)
	bus.Publish(event.Event{Type: "a.b", Subject: "x", Data: map[string]int{"n": 1}})
	closeHooks(t, h)
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}
	var got event.Event
	if err := json.Unmarshal([]byte(read("input")), &got); err != nil || got.Type != "a.b" || got.Source != "test[1]" {
		t.Errorf("it read %+v, %v", got, err)
	}
	if env := read("env"); env != "page a.b x 1\n" {
		t.Errorf("its environment has %q", env)
	}
	if got := w.recorded(t); !strings.Contains(got, ": no good") {
		t.Errorf("recorded %s", got)
	}
}

// TestExecWaitsForAHost: some processes have no children until their end, which may be later
// than a command may take.
func TestExecWaitsForAHost(t *testing.T) {
	host, err := proc.NewHost(proc.HostOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var w world
	deps := w.deps()
	deps.Host = func(ctx context.Context) (*proc.Host, error) {
		select {
		case <-time.After(2 * time.Second): // more than it may take, and a start under load fits in
			return host, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	bus := event.NewBus("test[1]")
	h := New(Rules{{On: Patterns{"a.b"}, Exec: proc.Command{"/bin/true"}, Timeout: unit.Duration(1900 * time.Millisecond)}}, bus, deps)
	bus.Publish(event.Event{Type: "a.b"})
	closeHooks(t, h)
	if err := host.Close(); err != nil {
		t.Error(err)
	}
	if len(w.events) > 0 {
		t.Error(w.recorded(t))
	}
}

func TestWebhook(t *testing.T) {
	posted := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		posted <- string(body)
	}))
	defer server.Close()
	var w world
	bus := event.NewBus("daemon[1]")
	h := New(Rules{{On: Patterns{"a.b"}, Webhook: &webhook.Config{URL: webhook.URL(server.URL), Timeout: unit.Duration(time.Minute)}}}, bus, w.deps())
	bus.Publish(event.Event{Type: "a.b", Subject: "x"})
	closeHooks(t, h)
	if len(w.events) > 0 {
		t.Fatal(w.recorded(t))
	}
	var m webhook.Message
	if err := json.Unmarshal([]byte(<-posted), &m); err != nil || m.Type != "a.b" || m.Subject != "x" || !strings.HasSuffix(m.Source, "/daemon") {
		t.Errorf("posted %+v, %v", m, err)
	}
}

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		rules Rules
		want  string // empty: nothing is wrong
	}{
		"nothing":           {Rules{{On: Patterns{"a.b"}}}, "0: want exactly one of"},
		"two things":        {Rules{{On: Patterns{"a.b"}, Beat: "x", Log: "y"}}, "0: want exactly one of"},
		"its own tasks":     {Rules{{On: Patterns{"tasks.*"}, Task: "x"}}, "0 on: it would listen to what it causes itself (tasks.task.pushed)"},
		"its own restarts":  {Rules{{On: Patterns{"supervise.process.exited"}, Restart: "web"}}, "0 on: it would listen to what it causes itself (supervise.process.exited)"},
		"of one process":    {Rules{{On: Patterns{"supervise.*"}, Restart: "web", Where: map[string]Condition{"subject": {want: "w*"}}}}, "0 on: it would listen"},
		"of another":        {Rules{{On: Patterns{"supervise.process.exited"}, Restart: "web", Where: map[string]Condition{"subject": {want: "db"}}}}, ""},
		"unexpected ends":   {Rules{{On: Patterns{"supervise.process.exited"}, Restart: "web", Where: map[string]Condition{"expected": {want: "false"}}}}, ""},
		"other tasks":       {Rules{{On: Patterns{"tasks.task.dead"}, Task: "x"}}, ""},
		"its own beats":     {Rules{{On: Patterns{"heartbeat.*"}, Fail: "x"}}, "0 on: it would listen"},
		"hooks":             {Rules{{On: Patterns{"hook.failed"}, Log: "x"}}, "0 on: there are no hooks on events of hooks"},
		"one name":          {Rules{{On: Patterns{"a.b"}, Log: "x", Name: "n"}, {On: Patterns{"a.b"}, Log: "x", Name: "n"}}, "1 name: hook 1 has this name already"},
		"bad webhook":       {Rules{{On: Patterns{"a.b"}, Webhook: &webhook.Config{URL: "ftp://x"}}}, "0 webhook url: invalid URL"},
		"nothing is wrong":  {Rules{{On: Patterns{"a.b"}, Log: "x"}, {On: Patterns{"a.b"}, Log: "x"}}, ""},
		"everything, twice": {Rules{{On: Patterns{"a.b", "tasks.task.pushed"}, Task: "x"}}, "0 on: it would listen"},
	} {
		var got []string
		c.rules.Check(func(err error, path ...string) { got = append(got, strings.Join(path, " ")+": "+err.Error()) })
		text := strings.Join(got, "\n")
		if c.want == "" && text != "" || !strings.HasPrefix(text, c.want) || len(got) > 1 {
			t.Errorf("%s: %q, want %q", name, text, c.want)
		}
	}
}
