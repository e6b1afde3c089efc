package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"procops/internal/fault"
	"procops/internal/proc"
	"procops/internal/unit"
	"procops/internal/webhook"
)

// queue stands in for the tasks and the job servers that links hand work to.
type queue struct {
	mu       sync.Mutex
	failures []error // of the first attempts
	tasks    []TaskLink
	jobs     []JobLink
	payloads []string
	attempts int
}

func (q *queue) connect(d *Deps) {
	d.PushTask = func(_ context.Context, l TaskLink, payload []byte) error {
		return q.take(payload, func() { q.tasks = append(q.tasks, l) })
	}
	d.SubmitJob = func(_ context.Context, l JobLink, payload []byte) error {
		return q.take(payload, func() { q.jobs = append(q.jobs, l) })
	}
}

func (q *queue) take(payload []byte, keep func()) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.attempts++
	if q.attempts <= len(q.failures) {
		return q.failures[q.attempts-1]
	}
	keep()
	q.payloads = append(q.payloads, string(payload))
	return nil
}

// hook is a webhook's receiver that keeps what it gets.
func hook(t *testing.T, answer func(http.ResponseWriter, *http.Request)) (url webhook.URL, got func() []string) {
	t.Helper()
	var mu sync.Mutex
	var bodies []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		bodies = append(bodies, string(body))
		mu.Unlock()
		if answer != nil {
			answer(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return webhook.URL(server.URL + "/secret-path"), func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(bodies)
	}
}

func hookConfig(url webhook.URL) *webhook.Config {
	return &webhook.Config{URL: url, Timeout: unit.Duration(patience)}
}

// TestLinksEverywhere: each kind of link works in both chains of a process and of a
// group, and the next link takes over.
func TestLinksEverywhere(t *testing.T) {
	places := map[string]func(links []LinkConfig) Config{
		"process on_fail": func(links []LinkConfig) Config {
			return processes(map[string]ProcessConfig{"p": with(sh("exit 7"), func(p *ProcessConfig) { p.OnFail = links })})
		},
		"process on_pass": func(links []LinkConfig) Config {
			return processes(map[string]ProcessConfig{"p": with(sh("exit 0"), func(p *ProcessConfig) { p.OnPass = links })})
		},
		"group on_fail": func(links []LinkConfig) Config {
			cfg := processes(map[string]ProcessConfig{"p": sh("exit 7")})
			cfg.Group = map[string]GroupConfig{"g": {Children: []string{"p"}, OnFail: links}}
			return cfg
		},
		"group on_pass": func(links []LinkConfig) Config {
			cfg := processes(map[string]ProcessConfig{"p": sh("exit 0")})
			cfg.Group = map[string]GroupConfig{"g": {Children: []string{"p"}, OnPass: links}}
			return cfg
		},
	}
	for place, config := range places {
		for _, kind := range []string{"exec", "webhook", "task", "job", "start", "stop", "restart"} {
			t.Run(place+"/"+kind, func(t *testing.T) {
				t.Parallel()
				testLink(t, kind, place, config)
			})
		}
	}
}

func testLink(t *testing.T, kind, place string, config func([]LinkConfig) Config) {
	note := filepath.Join(t.TempDir(), "note")
	url, posted := hook(t, nil)
	var q queue
	link := map[string]LinkConfig{
		"exec":    {Exec: proc.Command{"/bin/sh", "-c", "cat >>" + note + "; echo >>" + note}},
		"webhook": {Webhook: hookConfig(url)},
		"task":    {Task: &TaskLink{Type: "mail.send"}},
		"job":     {Job: &JobLink{Function: "f"}},
		"start":   {Start: Names{"down"}},
		"stop":    {Stop: Names{"up"}},
		"restart": {Restart: Names{"up"}},
	}[kind]
	cfg := config([]LinkConfig{link, {Log: "next"}, {Settle: true}})
	cfg.Process["up"] = with(forever(), func(p *ProcessConfig) {
		p.Ready.Log = "^x$"
		p.Command = proc.Command{"/bin/sh", "-c", "echo x; exec sleep 1000"}
	})
	cfg.Process["down"] = with(forever(), func(p *ProcessConfig) { p.Autostart = false })
	p := cfg.Process["p"]
	p.DependsOn = needs("up")
	cfg.Process["p"] = p
	r := newRigWith(t, t.TempDir(), cfg, alone, q.connect)
	subject := "p"
	if strings.HasPrefix(place, "group on_pass") {
		subject = "g"
	}
	r.await("supervise.process.log", subject, 1)
	failed, group := strings.HasSuffix(place, "on_fail"), strings.HasPrefix(place, "group")
	switch kind {
	case "exec":
		if n := count(t, note); n != 1 {
			t.Errorf("the command ran %d times, want 1", n)
		}
	case "webhook":
		checkPosted(t, posted(), failed, group)
	case "task":
		if len(q.tasks) != 1 || q.tasks[0].Type != "mail.send" {
			t.Errorf("tasks %+v", q.tasks)
		}
	case "job":
		if len(q.jobs) != 1 || q.jobs[0].Function != "f" || q.jobs[0].Unique == "" {
			t.Errorf("jobs %+v", q.jobs)
		}
	case "start":
		r.await("supervise.process.running", "down", 1)
	case "stop":
		r.await("supervise.process.stopped", "up", 1)
	case "restart":
		r.await("supervise.process.running", "up", 2)
	}
	for _, payload := range q.payloads {
		var f Failure
		if err := json.Unmarshal([]byte(payload), &f); err != nil || failed && f.Code != 7 || (f.Group == "g") != group {
			t.Errorf("payload %s, %v", payload, err)
		}
	}
	if got := r.order("supervise.link.failed"); len(got) > 0 {
		t.Errorf("links of %v have failed", got)
	}
}

// checkPosted checks the one CloudEvent that a webhook has got.
func checkPosted(t *testing.T, bodies []string, failed, group bool) {
	t.Helper()
	want := map[bool]string{false: "supervise.process", true: "supervise.group"}[group] + map[bool]string{false: ".passed", true: ".failed"}[failed]
	var m webhook.Message
	if len(bodies) != 1 {
		t.Fatalf("posted %q", bodies)
	}
	if err := json.Unmarshal([]byte(bodies[0]), &m); err != nil {
		t.Fatal(err)
	}
	var f Failure
	if err := json.Unmarshal(m.Data, &f); err != nil {
		t.Fatal(err)
	}
	subject := map[bool]string{false: "p", true: "g"}[group]
	if m.Type != want || m.Subject != subject || failed && f.Code != 7 {
		t.Errorf("posted %s", bodies[0])
	}
}

// TestFailedLinks: a link that fails is told of, and the next one takes over.
func TestFailedLinks(t *testing.T) {
	url, _ := hook(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	host := strings.TrimSuffix(string(url), "/secret-path")
	for name, c := range map[string]struct {
		link         LinkConfig
		target, says string
	}{
		"exec":         {LinkConfig{Exec: proc.Command{"/bin/sh", "-c", "echo no >&2; exit 3"}}, "echo no >&2; exit 3", "ended with 3 Unknown error: no"},
		"missing exec": {LinkConfig{Exec: proc.Command{"/no/such"}}, "/no/such", `cannot start \"/no/such\"`},
		"webhook":      {LinkConfig{Webhook: hookConfig(url)}, host + "/********", "cannot deliver an event to " + host + ": it is refused: the answer is 418 I'm a teapot"},
		"task":         {LinkConfig{Task: &TaskLink{Type: "t"}}, "t", `cannot queue task \"t\": this procops has nothing that takes it`},
		"job":          {LinkConfig{Job: &JobLink{Function: "f"}}, "f", `cannot submit job \"f\": this procops has nothing that takes it`},
		"start":        {LinkConfig{Start: Names{"gone"}}, "gone", `there is no process or group \"gone\"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRigWith(t, t.TempDir(), processes(map[string]ProcessConfig{"p": with(sh("exit 7"), func(p *ProcessConfig) {
				p.OnFail = []LinkConfig{c.link, {Log: "next", Settle: true}}
			})}), alone)
			r.report()
			r.await("supervise.process.log", "p", 1)
			data, _ := r.await("supervise.link.failed", "p", 1).DataJSON()
			kind := strings.Fields(name)
			wantLink, wantTarget := kind[len(kind)-1], c.target
			var got linkFailedData
			if err := json.Unmarshal(data, &got); err != nil {
				t.Fatal(err)
			}
			if got.Link != wantLink || got.Target != wantTarget || !strings.Contains(string(data), c.says) {
				t.Errorf("the event says %s", data)
			}
			if strings.Contains(string(data), "secret-path") {
				t.Errorf("the event tells the path of the webhook: %s", data)
			}
		})
	}
}

// TestQueueIsTriedAgain: a task or job is handed over in a few attempts, except
// where they would not help.
func TestQueueIsTriedAgain(t *testing.T) {
	busy := errors.New("it is busy")
	for name, c := range map[string]struct {
		failures []error
		attempts int
		taken    bool
	}{
		"at once":    {nil, 1, true},
		"later":      {[]error{busy, busy}, 3, true},
		"never":      {[]error{busy, busy, busy, busy, busy}, 4, false},
		"no sense":   {[]error{fault.New(fault.Usage, "no such type"), busy}, 1, false},
		"not there":  {[]error{fault.New(fault.NotFound, "no such queue"), busy}, 1, false},
		"after that": {[]error{busy, fault.New(fault.Usage, "no such type")}, 2, false},
	} {
		for kind, link := range map[string]LinkConfig{"task": {Task: &TaskLink{Type: "t"}}, "job": {Job: &JobLink{Function: "f"}}} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				q := queue{failures: c.failures}
				r := newRigWith(t, t.TempDir(), processes(map[string]ProcessConfig{"p": with(sh("exit 7"), func(p *ProcessConfig) {
					p.OnFail = []LinkConfig{link, {Settle: true}}
				})}), alone, q.connect)
				r.report()
				if q.attempts != c.attempts || (len(q.payloads) == 1) != c.taken {
					t.Errorf("%d attempts, took %q", q.attempts, q.payloads)
				}
				if n := len(r.order("supervise.link.failed")); (n == 0) != c.taken {
					t.Errorf("%d links have failed", n)
				}
			})
		}
	}
}

// TestFilledPayload: parameters and workloads say what is filled in.
func TestFilledPayload(t *testing.T) {
	var q queue
	params := Params{"to": "ops", "text": "{{name}}: {{exit_code}}", "list": []any{"{{exit_text}}", int64(1)}, "deep": map[string]any{"x": "{{name}}", "y": true}}
	r := newRigWith(t, t.TempDir(), processes(map[string]ProcessConfig{"p": with(sh("exit 7"), func(p *ProcessConfig) {
		p.OnFail = []LinkConfig{
			{Task: &TaskLink{Type: "t", Params: params}},
			{Job: &JobLink{Function: "f", Workload: "{{name}}\x00{{exit_code}}", Unique: "down-{{name}}"}, Settle: true},
		}
	})}), q.connect)
	r.report()
	want := []string{`{"deep":{"x":"p","y":true},"list":["7 Unknown error",1],"text":"p: 7","to":"ops"}`, "p\x007"}
	if !slices.Equal(q.payloads, want) || q.jobs[0].Unique != "down-p" {
		t.Errorf("got %q, %+v", q.payloads, q.jobs)
	}
	if params["text"] != "{{name}}: {{exit_code}}" {
		t.Errorf("the config has changed: %v", params)
	}
}

// TestLinkDoesNotHoldTheLoop: while a receiver says nothing, operators are
// answered and others restart; a stop of the tree cuts it off.
func TestLinkDoesNotHoldTheLoop(t *testing.T) {
	free, asked := make(chan struct{}), make(chan struct{}, 1)
	url, _ := hook(t, func(http.ResponseWriter, *http.Request) { asked <- struct{}{}; <-free })
	t.Cleanup(func() { close(free) })
	cfg := hookConfig(url)
	cfg.Timeout = unit.Duration(time.Hour)
	r := newRig(t, processes(map[string]ProcessConfig{
		"p":     with(sh("exit 7"), func(p *ProcessConfig) { p.OnFail = []LinkConfig{{Webhook: cfg}, {Log: "next", Settle: true}} }),
		"other": forever(),
	}))
	<-asked
	r.do(Request{Action: ActionRestart, Names: []string{"other"}})
	if st := r.process("p").State; st != StateEnding {
		t.Errorf("p is %s", st)
	}
	r.cancel()
	r.report()
	if n := len(r.order("supervise.process.log")); n != 0 {
		t.Error("the chain went on")
	}
}

// stubborn is a command that ignores SIGTERM and leaves a mark when it does.
func stubborn(mark string) proc.Command {
	return proc.Command{"/bin/sh", "-c", "trap '' TERM; touch " + mark + "; while :; do sleep 0.01; done"}
}

// TestHurryEndsWhatIgnoresSIGTERM: neither the command of a link nor one that is to
// stop a process holds the end up.
func TestHurryEndsWhatIgnoresSIGTERM(t *testing.T) {
	for _, kind := range []string{"link", "stop command"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			mark := filepath.Join(t.TempDir(), "mark")
			p := with(forever(), func(p *ProcessConfig) {
				p.Stop.Command, p.Stop.Grace = stubborn(mark), unit.Duration(time.Hour)
			})
			if kind == "link" {
				p = with(sh("exit 7"), func(p *ProcessConfig) { p.OnFail = []LinkConfig{{Exec: stubborn(mark)}} })
			}
			watcher := with(sh("while ! test -e "+mark+"; do sleep 0.01; done; echo up; exec sleep 1000"), func(p *ProcessConfig) { p.Ready.Log = "^up$" })
			r := newRigWith(t, t.TempDir(), processes(map[string]ProcessConfig{"p": p, "watcher": watcher}), alone)
			if kind != "link" {
				r.await("supervise.process.running", "p", 1)
				r.do(Request{Action: ActionStop, Names: []string{"p"}, NoWait: true})
			}
			r.await("supervise.process.running", "watcher", 1)
			r.cancel()
			began := time.Now()
			r.s.Hurry()
			r.report()
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("the end took %s; the time for SIGTERM is 10s", took)
			}
		})
	}
}
