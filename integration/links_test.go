package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

// TestLinksOfARealTree: a failure is posted, signed, to a webhook that first refuses
// it for lack of time; then its chain starts a spare, stops it again and ends the
// run. The secret and the path stay secret.
func TestLinksOfARealTree(t *testing.T) {
	t.Parallel()
	type request struct {
		header http.Header
		body   []byte
	}
	requests := make(chan request, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		requests <- request{r.Header, body}
		if len(requests) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer hook.Close()
	s := harness.New(t)
	s.Setenv("HOOK_SECRET", "t0psecret")
	port := harness.FreePort(t)
	server := harness.Gearmand(port)
	gearmand := s.StartProgram(server[0], server[1:]...)
	harness.Eventually(t, "gearmand answers", func() bool { return harness.GearmandAnswers(port) })
	s.Config(fmt.Sprintf(`
[worker]
servers = ["127.0.0.1:1", "127.0.0.1:%d"]
[tasks.type."mail.send"]
command = "cat"
[supervise.process.job]
command = "echo out; echo err >&2; exit 7"
on_fail = [
  { webhook = { url = "%s/p4th", secret = "${HOOK_SECRET}", timeout = "20s" } },
  { task = "mail.send" },
  { job = { function = "page", workload = "{{name}} failed with {{exit_code}}" } },
  { job = { function = "page", servers = ["127.0.0.1:1"] } },
  { start = "spare", settle = true },
]
[supervise.process.spare]
command   = "exit 0"
autostart = false
on_pass   = [{ stop = ["helper"] }]
[supervise.process.helper]
command = "exec sleep 1000"
`, port, hook.URL))
	r := s.Want(7, "supervise", "run")
	if len(requests) != 2 {
		t.Fatalf("%d requests, want 2: %s", len(requests), r)
	}
	first, second := <-requests, <-requests
	if !bytes.Equal(first.body, second.body) || first.header.Get("webhook-id") != second.header.Get("webhook-id") ||
		!strings.HasPrefix(second.header.Get("webhook-signature"), "v1,") {
		t.Errorf("first %s\nthen %s, %v", first.body, second.body, second.header)
	}
	var e struct {
		Type, Subject string
		Data          struct {
			Code           int
			Stdout, Stderr string
		}
	}
	if err := json.Unmarshal(second.body, &e); err != nil || e.Type != "supervise.process.failed" || e.Subject != "job" || e.Data.Code != 7 || e.Data.Stderr != "err\n" {
		t.Errorf("%v: %s", err, second.body)
	}
	events := s.Want(0, "events", "-n", "100").Stdout
	for _, want := range []string{"supervise.link.failed", "tasks.task.pushed", "supervise.link.ordered", "action=stop"} {
		if !strings.Contains(strings.ReplaceAll(events, `\"`, `"`), want) {
			t.Errorf("the events lack %q:\n%s", want, events)
		}
	}
	if r := s.Want(0, "tasks", "work", "--until-empty", "--timeout", "20s"); r.Stderr != "" && strings.Contains(r.Stderr, "error") {
		t.Error(r)
	}
	if list := s.Want(0, "tasks", "list", "--json").Stdout; !strings.Contains(list, `"mail.send"`) || !strings.Contains(list, `"done"`) {
		t.Errorf("tasks: %s", list)
	}
	if got := s.Run("gearman", "-h", "127.0.0.1", "-p", strconv.Itoa(port), "-w", "-c", "1", "-f", "page", "--", "tee", "paged"); s.ReadFile("paged") != "job failed with 7" {
		t.Errorf("the job got %q: %s", s.ReadFile("paged"), got)
	}
	shown := s.Want(0, "config", "show").Stdout
	for _, text := range []string{events, shown, r.Stderr} {
		if strings.Contains(text, "t0psecret") || strings.Contains(text, "p4th") {
			t.Errorf("a secret is shown:\n%s", text)
		}
	}
	gearmand.Signal(syscall.SIGKILL) // sometimes it does not heed TERM
	gearmand.WantExit(137)
	wantNothing(t, s)
}
