package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"procops/integration/harness"
)

// daemons is a tree of daemons, each of which says itself that it is ready, but
// web, which is asked.
const daemons = `
[supervise.process.redis]
command = ["redis-server", "--port", "${REDIS_PORT}", "--bind", "127.0.0.1", "--save", "", "--supervised", "systemd"]
ready   = { notify = true }

[supervise.process.haproxy]
command = ["haproxy", "-Ws", "-f", "haproxy.cfg"]
ready   = { notify = true }
alive   = { http = "http://127.0.0.1:${HAPROXY_PORT}/healthz", interval = "200ms" }

[supervise.process.php]
command = ["php-fpm8.2", "--nodaemonize", "--fpm-config", "php-fpm.conf"]
ready   = { notify = true }

[supervise.process.script]
command = "systemd-notify --ready --status='counts to ten' && exec sleep 1000"
ready   = { notify = true }

[supervise.process.s6]
command = ["s6-svscan", "-d", "4", "scan"]
ready   = { fd = 4 }

[supervise.process.web]
command    = ["python3", "-m", "http.server", "--bind", "127.0.0.1", "${WEB_PORT}"]
ready      = { http = "http://127.0.0.1:${WEB_PORT}/procops.toml" }
alive      = { http = "http://127.0.0.1:${WEB_PORT}/", interval = "100ms", timeout = "1s", failures = 2 }
restart    = "on-failure"
backoff    = { initial = "0s", max = "0s" }
depends_on = [{ name = "haproxy", condition = "healthy" }]
`

const haproxyConfig = `
defaults
  mode http
  timeout client 5s
  timeout server 5s
  timeout connect 5s
frontend all
  bind 127.0.0.1:%d
  http-request return status 200
`

const phpConfig = `
[global]
error_log = /dev/stderr
systemd_interval = 0
[www]
user = nobody
group = nogroup
listen = 127.0.0.1:%d
pm = static
pm.max_children = 1
`

// TestReadyOfRealDaemons: the daemons of Debian that speak sd_notify, and s6's own
// with its descriptor, are ready when they say so, and answer then.
func TestReadyOfRealDaemons(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	ports := harness.FreePorts(t, 4)
	for i, name := range []string{"REDIS_PORT", "HAPROXY_PORT", "WEB_PORT"} {
		s.Setenv(name, strconv.Itoa(ports[i]))
	}
	s.Config(daemons)
	s.WriteFile("haproxy.cfg", fmt.Sprintf(haproxyConfig, ports[1]))
	s.WriteFile("php-fpm.conf", fmt.Sprintf(phpConfig, ports[3]))
	s.WriteFile("scan/.empty", "")

	p := s.Start("supervise", "run")
	s.Want(0, "supervise", "wait", "--ready")
	if !harness.RedisAnswers(ports[0]) {
		t.Error("redis is ready and does not answer")
	}
	if got := httpStatus(t, ports[1]); got != http.StatusOK {
		t.Errorf("haproxy is ready and answers %d", got)
	}
	said := saidOf(t, s)
	for name, want := range map[string]string{
		"redis": "Ready to accept connections", "php": "Ready to handle connections", "script": "counts to ten",
		"web": "", "s6": "",
	} {
		if said[name].StatusText != want {
			t.Errorf("%s says %q, want %q", name, said[name].StatusText, want)
		}
	}
	table := s.Want(0, "supervise", "status").Stdout
	if !regexp.MustCompile(`(?m)^NAME .* LAST EXIT +SAYS$`).MatchString(table) ||
		!regexp.MustCompile(`(?m)^script +running .* counts to ten$`).MatchString(table) {
		t.Errorf("status shows\n%s", table)
	}

	// A reload, which haproxy announces: it becomes another program with the same
	// pid and a new worker, and is ready again.
	s.Want(0, "supervise", "signal", "USR2", "haproxy")
	p.WaitLines(`haproxy .*Loading success`, 2)
	harness.Eventually(t, "haproxy's reload", func() bool {
		now := saidOf(t, s)["haproxy"]
		return now.PID == said["haproxy"].PID && now.MainPID == now.PID && !now.Reloading && httpStatus(t, ports[1]) == http.StatusOK
	})

	p.Signal(syscall.SIGINT)
	p.WantExit(0)
	wantNothing(t, s)
}

// TestServerThatHangsIsRestarted: a real server stops answering, without ending.
func TestServerThatHangsIsRestarted(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	port := harness.FreePort(t)
	s.Setenv("WEB_PORT", strconv.Itoa(port))
	_, web, _ := strings.Cut(daemons, "[supervise.process.web]")
	web, _, _ = strings.Cut(web, "depends_on")
	s.Config("[supervise.process.web]" + web)
	p := s.Start("supervise", "run")
	s.Want(0, "supervise", "wait", "--ready")
	before := statusOf(t, s)["web"]
	if err := syscall.Kill(before.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	p.WaitLine(`^web +\* failed: not alive: 2 checks failed: no answer within 1s$`)
	p.WaitLines(`^web +\* ready$`, 2)
	after := statusOf(t, s)["web"]
	if after.PID == before.PID || after.Restarts != 1 || httpStatus(t, port) != http.StatusOK {
		t.Errorf("before %+v, after %+v", before, after)
	}
	p.Signal(syscall.SIGINT)
	p.WantExit(0)
}

// spoken is what the status shows of what a process has said.
type spoken struct {
	Name       string
	PID        int
	StatusText string `json:"status_text"`
	MainPID    int    `json:"main_pid"`
	Reloading  bool
}

func saidOf(t *testing.T, s *harness.Sandbox) map[string]spoken {
	t.Helper()
	r := s.Want(0, "supervise", "status", "--json")
	var status struct{ Processes []spoken }
	if err := json.Unmarshal([]byte(r.Stdout), &status); err != nil {
		t.Fatalf("%v: %s", err, r)
	}
	byName := map[string]spoken{}
	for _, p := range status.Processes {
		byName[p.Name] = p
	}
	return byName
}

// httpStatus returns the status code of a server's answer, 0 if there is none.
func httpStatus(t *testing.T, port int) int {
	t.Helper()
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+harness.Loopback(port)+"/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}
