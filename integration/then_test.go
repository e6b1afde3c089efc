package integration

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"procops/integration/harness"
)

// quick is a tree that is ready at once and does not end by itself.
const quick = `
[supervise.process.server]
command = ["sleep", "1000"]
`

// TestThenPassesEveryCode has the command of --then end with each exit code.
func TestThenPassesEveryCode(t *testing.T) {
	const shares = 4
	for share := range shares {
		t.Run(fmt.Sprintf("share %d", share), func(t *testing.T) {
			t.Parallel()
			s := harness.NewShipped(t)
			s.Config(quick)
			for code := share; code < 256; code += shares {
				s.Want(code, "supervise", "run", "--quiet", "--then", "--", "sh", "-c", fmt.Sprintf("exit %d", code))
				wantNothing(t, s)
			}
		})
	}
}

// TestThenPassesSignals has the command of --then end by signals.
func TestThenPassesSignals(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config(quick)
	for _, sig := range []syscall.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGKILL,
		syscall.SIGUSR1, syscall.SIGSEGV, syscall.SIGPIPE, syscall.SIGTERM, syscall.Signal(40),
	} {
		s.Want(128+int(sig), "supervise", "run", "--quiet", "--then", "--", "sh", "-c", fmt.Sprintf("ulimit -c 0; kill -%d $$", sig))
		wantNothing(t, s)
	}
}

// TestThenHasTheServerServe runs a command that needs what the tree serves.
func TestThenHasTheServerServe(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	port := harness.FreePort(t)
	s.Config(fmt.Sprintf(`
[supervise.process.redis]
command = ["%s"]
ready.tcp = %q
`, strings.Join(harness.RedisServer(port), `", "`), harness.Loopback(port)))
	r := s.Want(0, "supervise", "run", "--then", "--", "redis-cli", "-p", fmt.Sprint(port), "PING")
	if r.Stdout != "PONG\n" {
		t.Error(r)
	}
	wantNothing(t, s)
	if harness.RedisAnswers(port) {
		t.Error("redis still answers")
	}
}

// TestThenGivesUpInTime has a process say why it does not become ready.
func TestThenGivesUpInTime(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	port := harness.FreePort(t)
	s.Config(fmt.Sprintf(`
[supervise.process.server]
command = "echo reading the config; echo cannot reach the database >&2; exec sleep 1000"
ready.tcp = %q
[supervise.process.other]
command = "echo other says nothing of interest; exec sleep 1000"
`, harness.Loopback(port)))
	begun := time.Now()
	r := s.Want(1, "supervise", "run", "--quiet", "--timeout", "1s", "--then", "--", "touch", "ran")
	if took := time.Since(begun); took < time.Second || took > 15*time.Second {
		t.Errorf("it took %v", took)
	}
	for _, want := range []string{
		"server  * is not ready: starting", "server  | reading the config\n", "server  ! cannot reach the database\n",
		"procops: error: the tree is not ready after 1s\n",
	} {
		if !strings.Contains(r.Stderr, want) {
			t.Errorf("no %q: %s", want, r)
		}
	}
	if strings.Contains(r.Stderr, "nothing of interest") || r.Stdout != "" || harness.Exists(filepath.Join(s.Dir, "ran")) {
		t.Error(r)
	}
	wantNothing(t, s)
}

// TestThenLeavesNobody has the command leave somebody behind.
func TestThenLeavesNobody(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config(quick)
	s.Want(0, "supervise", "run", "--then", "--", "sh", "-c", "sleep 1000 & setsid sleep 1000 & exit 0")
	wantNothing(t, s)
}

// TestThenWithTreesThatEndAtOnce has the tree end while it is asked whether it
// is ready.
func TestThenWithTreesThatEndAtOnce(t *testing.T) {
	t.Parallel()
	s := harness.NewShipped(t)
	s.Config("[supervise.process.brief]\ncommand = ['true']\n")
	for range 50 {
		s.Want(3, "supervise", "run", "--quiet", "--then", "--", "sh", "-c", "exit 3")
	}
}
