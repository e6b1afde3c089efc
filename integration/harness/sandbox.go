package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// envMarker is in the environment of everything that a sandbox starts.
const envMarker = "PROCOPS_TEST_SANDBOX"

// Sandbox is the world of one test: a directory, an environment and the
// processes that run in them. At the end of the test nothing may be left of
// these; what is left is named, ended and fails the test.
type Sandbox struct {
	Dir   string // working directory of all that is started
	State string // state directory of procops, not made yet

	tb     testing.TB
	root   string // marks all that belongs to the sandbox
	binary string
	env    []string
}

// New makes a sandbox for the binary under test.
func New(tb testing.TB) *Sandbox {
	tb.Helper()
	return In(tb, tb.TempDir(), Binary(tb))
}

// NewShipped makes a sandbox for the binary as users have it.
func NewShipped(tb testing.TB) *Sandbox {
	tb.Helper()
	return In(tb, tb.TempDir(), Shipped(tb))
}

// In makes a sandbox in an existing directory that belongs to the test.
func In(tb testing.TB, dir, binary string) *Sandbox {
	tb.Helper()
	s := &Sandbox{Dir: dir, State: filepath.Join(dir, "state"), tb: tb, root: dir, binary: binary}
	s.env = append(CleanEnv(),
		envMarker+"="+dir,
		"HOME="+dir,
		"PATH="+filepath.Dir(binary)+":/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
		"PROCOPS_STATE_DIR="+s.State,
		// By default a program with the race detector sleeps a second at its end.
		"GORACE=halt_on_error=1 atexit_sleep_ms=0",
	)
	tb.Cleanup(s.wantNothingLeft)
	return s
}

// CleanEnv returns the environment without what would lead procops to the
// config and state of whoever runs the tests.
func CleanEnv() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return strings.HasPrefix(name, "PROCOPS_") || strings.HasPrefix(name, "XDG_") ||
			slices.Contains([]string{"HOME", "PATH", "NO_COLOR", "GORACE"}, name)
	})
}

// TB returns the test that the sandbox belongs to.
func (s *Sandbox) TB() testing.TB { return s.tb }

// Env returns the environment of all that is started.
func (s *Sandbox) Env() []string { return slices.Clone(s.env) }

// Setenv sets a variable for all that is started from now on.
func (s *Sandbox) Setenv(name, value string) { s.env = append(s.env, name+"="+value) }

// WriteFile writes a file below Dir and returns its path.
func (s *Sandbox) WriteFile(name, content string) string {
	s.tb.Helper()
	path := filepath.Join(s.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.tb.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		s.tb.Fatal(err)
	}
	return path
}

// Config writes procops.toml, which procops finds because it stands in its
// working directory.
func (s *Sandbox) Config(content string) { s.tb.Helper(); s.WriteFile("procops.toml", content) }

// ReadFile returns the content of a file below Dir, "" if there is none yet.
func (s *Sandbox) ReadFile(name string) string {
	s.tb.Helper()
	content, err := os.ReadFile(filepath.Join(s.Dir, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.tb.Fatal(err)
	}
	return string(content)
}

// Result is how a program ended.
type Result struct {
	Command string
	Stdout  string
	Stderr  string
	Code    int // 128 + n after signal n
}

// String describes the result for a failing test.
func (r Result) String() string {
	return fmt.Sprintf("%s: code %d\n--- stdout\n%s--- stderr\n%s---", r.Command, r.Code, r.Stdout, r.Stderr)
}

// Procops runs procops to its end.
func (s *Sandbox) Procops(args ...string) Result {
	s.tb.Helper()
	return s.Run(s.binary, args...)
}

// Want runs procops to its end and fails the test unless it ends with code.
func (s *Sandbox) Want(code int, args ...string) Result {
	s.tb.Helper()
	r := s.Procops(args...)
	if r.Code != code {
		s.tb.Fatalf("want code %d: %s", code, r)
	}
	return r
}

// Run runs any program to its end.
func (s *Sandbox) Run(program string, args ...string) Result {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(s.tb.Context(), Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	s.prepare(cmd)
	err := cmd.Run()
	r := Result{commandLine(program, args), stdout.String(), stderr.String(), exitCode(cmd.ProcessState)}
	if ctx.Err() != nil {
		s.tb.Fatalf("did not end within %s: %s", Patience, r)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.tb.Fatalf("cannot run: %v: %s", err, r)
	}
	return r
}

// prepare gives the command the sandbox's directory and environment, and a
// process group of its own, so that a signal to the tests does not reach it. A
// child of it that keeps its output open does not hold up Wait for long.
func (s *Sandbox) prepare(cmd *exec.Cmd) {
	cmd.Dir = s.Dir
	cmd.Env = s.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 5 * time.Second
}

func commandLine(program string, args []string) string {
	return strings.Join(append([]string{filepath.Base(program)}, args...), " ")
}

func exitCode(state *os.ProcessState) int {
	if state == nil {
		return -1
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// Left returns the processes that run in the sandbox.
func (s *Sandbox) Left() []Running { return runningIn(s.root) }

// wantNothingLeft fails the test if a process outlives it. Some are on their
// way out when the test ends, so it gives them a moment.
func (s *Sandbox) wantNothingLeft() {
	if waitUntil(5*time.Second, func() bool { return len(s.Left()) == 0 }) {
		return
	}
	for _, left := range s.Left() {
		s.tb.Errorf("left running: %s", left)
		_ = syscall.Kill(left.PID, syscall.SIGKILL)
	}
}
