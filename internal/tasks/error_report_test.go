package tasks

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"procops/internal/proc"
	"procops/internal/sentry"
	"procops/internal/unit"
	"procops/internal/webhook"
)

// sentryServer takes envelopes as Sentry does, and refuses what Sentry refuses.
type sentryServer struct {
	mu     sync.Mutex
	events []map[string]any
	wrong  []string
}

func (s *sentryServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	auth := r.Header.Get("X-Sentry-Auth")
	switch {
	case r.Method != http.MethodPost || r.URL.Path != "/base/api/42/envelope/":
		s.refuse(w, r.Method+" "+r.URL.Path)
		return
	case !strings.HasPrefix(auth, "Sentry ") || !strings.Contains(auth, "sentry_version=7") || !strings.Contains(auth, "sentry_key=thekey"):
		s.refuse(w, "X-Sentry-Auth: "+auth)
		return
	case r.Header.Get("Content-Type") != "application/x-sentry-envelope":
		s.refuse(w, "Content-Type: "+r.Header.Get("Content-Type"))
		return
	}
	body := bufio.NewReader(r.Body)
	var envelope struct {
		ID string `json:"event_id"`
	}
	var item struct {
		Type   string `json:"type"`
		Length int    `json:"length"`
	}
	for _, into := range []any{&envelope, &item} {
		line, _ := body.ReadBytes('\n')
		if err := json.Unmarshal(line, into); err != nil {
			s.refuse(w, fmt.Sprintf("header %q: %v", line, err))
			return
		}
	}
	payload := make([]byte, item.Length)
	_, err := io.ReadFull(body, payload)
	var e map[string]any
	if err == nil {
		err = json.Unmarshal(payload, &e)
	}
	rest, _ := io.ReadAll(body)
	if err != nil || item.Type != "event" || string(rest) != "\n" || !regexp.MustCompile("^[0-9a-f]{32}$").MatchString(envelope.ID) || e["event_id"] != envelope.ID {
		s.refuse(w, fmt.Sprintf("item %+v of envelope %+v: %v, behind it %q", item, envelope, err, rest))
		return
	}
	s.events = append(s.events, e)
}

func (s *sentryServer) refuse(w http.ResponseWriter, why string) {
	s.wrong = append(s.wrong, why)
	w.WriteHeader(http.StatusBadRequest)
}

// TestErrorReports (T9): each failure is told, to all who want to hear of it, before the
// worker ends.
func TestErrorReports(t *testing.T) {
	var sentries sentryServer
	server := httptest.NewServer(&sentries)
	defer server.Close()
	var hooked []string
	hooks := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		hooked = append(hooked, string(body))
	}))
	defer hooks.Close()
	dsn := sentry.DSN(strings.Replace(server.URL, "://", "://thekey@", 1) + "/base/42")
	cfg := only(`echo why >&2; exit 3`)
	cfg.MaxAttempts = 2
	w := newWorld(t, cfg)
	told := filepath.Join(w.dir, "told")
	cfg.ErrorReport = []ErrorReport{
		{Sentry: dsn},
		{Webhook: &webhook.Config{URL: webhook.URL(hooks.URL), Timeout: unit.Duration(deadline)}, OnlyDead: true},
		{Exec: proc.Command{"/bin/sh", "-c", "cat >> " + told + "; echo >> " + told}},
		{Exec: proc.Command{"/bin/sh", "-c", "touch " + told + ".other"}, Types: []string{"x*"}},
	}
	w.Queue = New(w.store, w.broker, w.defaults(cfg))
	id, err := w.Push(t.Context(), Task{Type: "t", TimeLimit: time.Minute})
	w.must(err)
	w.until("the task is dead", func() bool { w.work(); return w.get(id).State == StateDead })
	if len(sentries.wrong) > 0 || len(sentries.events) != 2 {
		t.Fatalf("%d events, refused: %q", len(sentries.events), sentries.wrong)
	}
	e := sentries.events[1]
	if got := fmt.Sprintf("%v %v %v %v %v", e["platform"], e["level"], e["exception"], e["fingerprint"], e["tags"]); got !=
		"other error map[values:[map[type:t error value:3 Unknown error]]] [procops.tasks t error] map[attempt:2 dead:true exit_code:3 result:error task_id:"+id+" task_type:t]" {
		t.Errorf("the event is %s", got)
	}
	if _, err := time.Parse(time.RFC3339Nano, fmt.Sprint(e["timestamp"])); err != nil {
		t.Error(err)
	}
	if extra, ok := e["extra"].(map[string]any); !ok || extra["diagnostics"] != "why\n" || extra["time_limit_seconds"] != 60.0 {
		t.Errorf("beside it there is %v", e["extra"])
	}
	if len(hooked) != 1 || !strings.Contains(hooked[0], `"subject":"`+id+`"`) || !strings.Contains(hooked[0], `"dead":true`) {
		t.Errorf("the webhook got %q", hooked)
	}
	if lines := strings.Split(strings.TrimSpace(w.file("told")), "\n"); len(lines) != 2 || !strings.Contains(lines[0], `"attempt":1,`) || !strings.Contains(lines[0], `"dead":false`) {
		t.Errorf("the command got %q", lines)
	}
	if files, _ := filepath.Glob(told + ".*"); len(files) > 0 {
		t.Error("who wants to hear of other types was told")
	}
}

// TestReportsAreDropped: a report that hangs holds nobody up; what is too much is counted.
func TestReportsAreDropped(t *testing.T) {
	r := &reporter{queue: make(chan failure, 2), deps: Deps{}}
	for range 5 {
		r.offer(failure{})
	}
	if r.dropped != 3 || len(r.queue) != 2 {
		t.Errorf("%d dropped, %d queued", r.dropped, len(r.queue))
	}
}

func TestErrorReportCheck(t *testing.T) {
	for want, e := range map[string]ErrorReport{
		"want exactly one of exec, webhook and sentry": {Exec: proc.Command{"x"}, Sentry: "https://k@h/1"},
		"": {Sentry: "https://k@h/1"},
	} {
		got := ""
		e.check(func(err error, _ ...string) { got += err.Error() })
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	for text, want := range map[string]string{
		"https://key@sentry.example.org/42": "https://sentry.example.org/********",
		"https://sentry.example.org/42":     "********",
		"https://key@sentry.example.org":    "********",
		"key@host/1":                        "********",
	} {
		var d sentry.DSN
		err := d.UnmarshalText([]byte(text))
		if got := d.Masked(); got != want || (err == nil) != strings.Contains(want, "sentry") {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
}
