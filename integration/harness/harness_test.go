package harness

import (
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// What the tests of procops rely on must itself be able to say no.

func TestLeftSeesWhatEscaped(t *testing.T) {
	for name, script := range map[string]string{
		"own session":      `setsid sleep 300 >/dev/null 2>&1 & echo started`,
		"empty environ":    `setsid env -i sleep 300 >/dev/null 2>&1 & echo started`,
		"orphan":           `(setsid sleep 300 >/dev/null 2>&1 &) ; echo started`,
		"other directory":  `cd / && setsid sleep 300 >/dev/null 2>&1 & echo started`,
		"below, elsewhere": `mkdir sub && cd sub && setsid env -i sleep 300 >/dev/null 2>&1 & echo started`,
	} {
		t.Run(name, func(t *testing.T) {
			s := In(t, t.TempDir(), "/bin/true")
			s.Run("/bin/sh", "-c", script)
			Eventually(t, "the escaped process", func() bool {
				return len(s.Left()) == 1 && strings.Contains(s.Left()[0].Command, "sleep 300")
			})
			left := s.Left()[0]
			if !slices.ContainsFunc(Descendants(1), func(r Running) bool { return r.PID == left.PID }) {
				t.Errorf("%s is not a descendant of process 1", left)
			}
			if err := syscall.Kill(left.PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			Eventually(t, "its end", func() bool { return Gone(left.PID) && len(s.Left()) == 0 })
		})
	}
}

func TestLeftSeesOnlyItsOwn(t *testing.T) {
	one, other := In(t, t.TempDir(), "/bin/true"), In(t, t.TempDir(), "/bin/true")
	p := one.StartProgram("/bin/sleep", "300")
	if left := one.Left(); len(left) != 1 || left[0].PID != p.PID() {
		t.Errorf("left in the sandbox that started it: %v", left)
	}
	if left := other.Left(); len(left) != 0 {
		t.Errorf("left in the other sandbox: %v", left)
	}
}

func TestProcess(t *testing.T) {
	s := In(t, t.TempDir(), "/bin/true")
	p := s.StartProgram("/bin/sh", "-c", `trap 'echo caught >&2; exit 7' TERM; echo one; echo two; while :; do sleep 0.01; done`)
	if got := p.WaitLines("^(one|two)$", 2); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("lines %q", got)
	}
	if p.Exited() {
		t.Error("it has ended")
	}
	p.Signal(syscall.SIGTERM)
	p.WaitLine("^caught$")
	p.WantExit(7)
	if !p.Exited() || p.Stdout() != "one\ntwo\n" || p.Stderr() != "caught\n" {
		t.Errorf("exited %v, stdout %q, stderr %q", p.Exited(), p.Stdout(), p.Stderr())
	}
}

func TestCodes(t *testing.T) {
	s := In(t, t.TempDir(), "/bin/false")
	s.Want(1)
	if r := s.Run("/bin/sh", "-c", "echo out; echo err >&2; kill -9 $$"); r.Code != 137 || r.Stdout != "out\n" || r.Stderr != "err\n" {
		t.Errorf("after a signal: %s", r)
	}
	p := s.StartProgram("/bin/sleep", "300")
	p.SignalGroup(syscall.SIGKILL)
	p.WantExit(137)
}

func TestFreePort(t *testing.T) {
	port := FreePort(t)
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", Loopback(port))
	if err != nil {
		t.Fatalf("the port is not free: %v", err)
	}
	defer func() { _ = l.Close() }()
	if RedisAnswers(port) {
		t.Error("a server that says nothing passes for redis")
	}
}

func TestServersAnswer(t *testing.T) {
	s := In(t, t.TempDir(), "/bin/true")
	redis, gearmand := FreePort(t), FreePort(t)
	for _, command := range [][]string{RedisServer(redis), Gearmand(gearmand)} {
		s.StartProgram(command[0], command[1:]...)
	}
	Eventually(t, "redis", func() bool { return RedisAnswers(redis) })
	Eventually(t, "gearmand", func() bool { return GearmandAnswers(gearmand) })
}
