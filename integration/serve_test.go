package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"procops/integration/harness"
)

const pingKey = "a-key-that-nobody-knows"

// pingServer is a procops that serves the ping API.
type pingServer struct {
	t   *testing.T
	s   *harness.Sandbox
	p   *harness.Process
	url string // of the API, with the key
}

func newPingServer(t *testing.T, config string) *pingServer {
	t.Helper()
	v := &pingServer{t: t, s: harness.New(t)}
	v.s.Config("[serve]\nping_key = '" + pingKey + "'\n" + config)
	v.start()
	return v
}

func (v *pingServer) start() {
	v.t.Helper()
	at := harness.Loopback(harness.FreePort(v.t))
	v.p = v.s.Start("serve", "--listen", at)
	v.p.WaitLine("^listening on ")
	v.url = "http://" + at + "/ping/" + pingKey + "/"
}

// heartbeats returns what list --json knows, by name.
func (v *pingServer) heartbeats() map[string]heartbeatView {
	v.t.Helper()
	var all []heartbeatView
	if err := json.Unmarshal([]byte(v.s.Want(0, "heartbeat", "list", "--json").Stdout), &all); err != nil {
		v.t.Fatal(err)
	}
	byName := map[string]heartbeatView{}
	for _, h := range all {
		byName[h.Name] = h
	}
	return byName
}

// heartbeatView is of `heartbeat list --json` what the tests look at.
type heartbeatView struct {
	Name, State, Message, UUID string
	Last                       *struct{ Number int }
}

// TestPingsByCurl pings as lines of a crontab do, by key and name and by UUID.
func TestPingsByCurl(t *testing.T) {
	t.Parallel()
	v := newPingServer(t, "[heartbeat.backup]\nperiod = '1d'\n")
	v.s.Want(0, "heartbeat", "attach", "job")
	id := v.heartbeats()["job"].UUID
	base := strings.TrimSuffix(v.url, pingKey+"/")
	for _, step := range []struct {
		curl, url   string
		code, state string // of the heartbeat of the step
		name        string
	}{
		{"-X POST -d log", v.url + "backup/log", "200", "new", "backup"},
		{"", v.url + "backup/start", "200", "started", "backup"},
		{"-d 'all is well'", v.url + "backup", "200", "up", "backup"},
		{"--head", v.url + "backup/fail", "200", "down", "backup"},
		{"", base + id, "200", "up", "job"},
		{"", base + id + "/7", "200", "down", "job"},
		{"", base + id + "/0", "200", "up", "job"},
		{"", base + id + "/start?rid=123e4567-e89b-12d3-a456-426614174000", "200", "started", "job"},
		{"", base + id + "?rid=223e4567-e89b-12d3-a456-426614174000", "200", "started", "job"}, // another run's end
		{"", base + id + "?rid=123e4567-e89b-12d3-a456-426614174000", "200", "up", "job"},
		{"", base + id + "?rid=odd", "400", "up", "job"},
		{"", base + id + "/256", "400", "up", "job"},
		{"", v.url + "made", "404", "", "made"},
		{"", v.url + "made?create=1", "201", "up", "made"},
		{"", base + "another-key-that-is-not/backup", "404", "down", "backup"},
	} {
		r := v.s.Run("sh", "-c", "curl -sS -o answer -w '%{http_code}' "+step.curl+" '"+step.url+"'")
		if r.Code != 0 || r.Stdout != step.code {
			t.Errorf("%s: %s", step.url, r)
		}
		if got := v.heartbeats()[step.name].State; got != step.state {
			t.Errorf("after %s %s is %q, want %q", step.url, step.name, got, step.state)
		}
	}
	v.s.Want(2, "heartbeat", "knock", "backup")
	v.p.Signal(syscall.SIGTERM)
	v.p.WantExit(0)
	if said := v.p.Output(); strings.Contains(said, pingKey) || strings.Contains(said, id) {
		t.Errorf("a secret is told: %s", said)
	}
}

// TestPingStates: what pings mean while runs overlap, in a pause, and where they are
// refused.
func TestPingStates(t *testing.T) {
	t.Parallel()
	v := newPingServer(t, "[heartbeat.runs]\nperiod = '1d'\n[heartbeat.paused]\n[heartbeat.Same]\n[heartbeat.SAME]\n"+
		"[heartbeat.fast]\nmin_interval = '1h'\non_fast = 'refuse'\n")
	const one, other = "?rid=123e4567-e89b-12d3-a456-426614174000", "?rid=223e4567-e89b-12d3-a456-426614174000"
	pause := func(name string) { v.s.Want(0, "heartbeat", "pause", name) }
	for _, step := range []struct {
		url         string
		code, state string
		name        string
		before      func(name string)
	}{
		{"runs/start" + one, "200", "started", "runs", nil},
		{"runs/start" + other, "200", "started", "runs", nil},
		{"runs/fail" + one, "200", "down", "runs", nil}, // whatever the other one does
		{"runs" + other, "200", "up", "runs", nil},
		{"paused/log", "200", "paused", "paused", pause},
		{"paused/start", "200", "started", "paused", nil},
		{"paused/fail", "200", "down", "paused", pause},
		{"paused", "200", "up", "paused", pause},
		{"same", "409", "new", "Same", nil},
		{"fast", "200", "up", "fast", nil},
		{"fast", "429", "up", "fast", nil},
		{"fast/fail", "200", "down", "fast", nil}, // bad news is never too fast
	} {
		if step.before != nil {
			step.before(step.name)
		}
		r := v.s.Run("sh", "-c", "curl -sS -o answer -w '%{http_code}' '"+v.url+step.url+"'")
		if r.Code != 0 || r.Stdout != step.code {
			t.Errorf("%s: %s %s", step.url, r, v.s.ReadFile("answer"))
		}
		if got := v.heartbeats()[step.name].State; got != step.state {
			t.Errorf("after %s %s is %q, want %q", step.url, step.name, got, step.state)
		}
	}
	v.p.Signal(syscall.SIGTERM)
	v.p.WantExit(0)
}

// TestBorgmatic has Debian's borgmatic tell of a backup, and of one that fails.
func TestBorgmatic(t *testing.T) {
	t.Parallel()
	v := newPingServer(t, "[heartbeat.borg]\n")
	v.s.Setenv("HOME", v.s.Dir)
	config := func(repository string) string {
		return v.s.WriteFile("borgmatic.yaml", fmt.Sprintf(`
location:
    source_directories: [%s]
    repositories: [%s]
hooks:
    healthchecks:
        ping_url: %sborg
`, v.s.WriteFile("important", "words"), filepath.Join(v.s.Dir, repository), v.url))
	}
	if r := v.s.Run("borg", "init", "-e", "none", "repository"); r.Code != 0 {
		t.Fatal(r)
	}
	v.s.Setenv("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes")
	if r := v.s.Run("borgmatic", "-c", config("repository"), "create"); r.Code != 0 {
		t.Fatal(r)
	}
	if got := v.heartbeats()["borg"]; got.State != "up" {
		t.Errorf("after a backup it is %+v", got)
	}
	if r := v.s.Run("borgmatic", "-c", config("nowhere"), "create"); r.Code == 0 {
		t.Fatal(r)
	}
	if got := v.heartbeats()["borg"]; got.State != "down" {
		t.Errorf("after a failed backup it is %+v", got)
	}
	events := v.s.Want(0, "events", "--type", "heartbeat.state_changed").Stdout
	if n := strings.Count(events, "to=started"); n != 2 {
		t.Errorf("%d starts: %s", n, events)
	}
}

// TestPingsSurviveAKill kills the server under a flood of pings: each that was
// answered is there.
func TestPingsSurviveAKill(t *testing.T) {
	t.Parallel()
	v := newPingServer(t, "[heartbeat.flood]\n")
	answered := 0
	for range 5 {
		answered += v.floodAndKill()
		v.start()
		if got := v.heartbeats()["flood"].Last; got == nil || got.Number < answered {
			t.Fatalf("%d pings were answered, and the last one is %+v", answered, got)
		}
	}
}

// floodAndKill pings from many sides, kills the server and returns how many pings
// were answered.
func (v *pingServer) floodAndKill() int {
	var (
		answered atomic.Int64
		pingers  sync.WaitGroup
		enough   = make(chan struct{})
		once     sync.Once
	)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	defer client.CloseIdleConnections()
	for range 16 {
		pingers.Go(func() {
			for {
				request, err := http.NewRequestWithContext(v.t.Context(), http.MethodGet, v.url+"flood", nil)
				if err != nil {
					v.t.Error(err)
					return
				}
				response, err := client.Do(request)
				if err != nil {
					return // it is gone
				}
				_, _ = io.Copy(io.Discard, response.Body) // so that the connection is used again
				_ = response.Body.Close()
				if response.StatusCode == http.StatusOK && answered.Add(1) == 300 {
					once.Do(func() { close(enough) })
				}
			}
		})
	}
	<-enough
	v.p.Signal(syscall.SIGKILL)
	v.p.WantExit(137)
	pingers.Wait()
	return int(answered.Load())
}

// TestServeTellsOthers looks at what monitoring systems and people see.
func TestServeTellsOthers(t *testing.T) {
	t.Parallel()
	v := newPingServer(t, "[heartbeat.web]\ntags = ['shop']\n")
	v.s.Want(0, "heartbeat", "beat", "web")
	v.s.Want(0, "heartbeat", "attach", "idle")
	v.s.Want(0, "heartbeat", "pause", "idle")
	root := strings.TrimSuffix(v.url, "/ping/"+pingKey+"/")
	for path, want := range map[string]string{
		"/metrics":            `procops_heartbeat_state{name="web",state="up"} 1`,
		"/healthz":            "ok",
		"/badge/web.svg":      ">up<",
		"/badge/idle.svg":     ">paused<",
		"/badge/tag/shop.svg": "<svg ",
	} {
		r := v.s.Run("curl", "-sS", "--fail", root+path)
		if r.Code != 0 || !strings.Contains(r.Stdout, want) {
			t.Errorf("%s: want %q: %s", path, want, r)
		}
	}
}
