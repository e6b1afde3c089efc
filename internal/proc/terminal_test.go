package proc

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// helpForeground runs a program that reads from the terminal, and then reads
// itself.
func helpForeground() error {
	h, err := NewHost(HostOptions{})
	if err != nil {
		return err
	}
	s := shSpec("read line; echo child got $line")
	s.Stdin, s.Stdout, s.Stderr, s.Foreground = os.Stdin, os.Stdout, os.Stderr, true
	p, err := h.Start(s)
	if err != nil {
		return err
	}
	<-p.Gone()
	var line string
	if _, err := fmt.Scanln(&line); err != nil {
		return err
	}
	fmt.Println("procops got", line)
	return h.Close()
}

func TestForegroundGroup(t *testing.T) {
	s := helperSpec(t, "foreground")
	cmd := exec.CommandContext(t.Context(), "script", "-qec", s.Argv[0], "/dev/null")
	cmd.Env = s.Env
	cmd.Stdin = strings.NewReader("one\ntwo\n")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if text := string(out); !strings.Contains(text, "child got one") || !strings.Contains(text, "procops got two") {
		t.Errorf("got %q", text)
	}
}

// helpSignals ignores and handles signals and starts a child that tells its own
// state.
func helpSignals() error {
	signal.Ignore(syscall.SIGINT, syscall.SIGPIPE, syscall.SIGUSR1)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGUSR2)
	h, err := NewHost(HostOptions{})
	if err != nil {
		return err
	}
	p, err := h.Start(Spec{Argv: []string{"cat", "/proc/self/status"}, Stdout: os.Stdout})
	if err != nil {
		return err
	}
	<-p.Gone()
	return h.Close()
}

func TestSignalsAreDefaultInTheChild(t *testing.T) {
	s := helperSpec(t, "signals")
	cmd := exec.CommandContext(t.Context(), s.Argv[0])
	cmd.Env = s.Env
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"SigBlk", "SigIgn", "SigCgt"} {
		if !strings.Contains(string(out), field+":\t0000000000000000\n") {
			t.Errorf("%s is not empty:\n%s", field, out)
		}
	}
}

// helpStopping runs a program that stops its group as Ctrl-Z does.
func helpStopping() error {
	h, err := NewHost(HostOptions{})
	if err != nil {
		return err
	}
	s := shSpec("kill -TSTP 0; echo goes on; read line; echo got $line")
	s.Stdin, s.Stdout, s.Stderr, s.Foreground = os.Stdin, os.Stdout, os.Stderr, true
	p, err := h.Start(s)
	if err != nil {
		return err
	}
	<-p.Gone()
	return h.Close()
}

func TestStoppedFromTheTerminal(t *testing.T) {
	s := helperSpec(t, "stopping")
	for name, c := range map[string]struct {
		command string
		want    []string
	}{
		// A shell with job control sees that procops has stopped and continues it.
		"with a shell": {`bash -mc "` + s.Argv[0] + `; echo stopped; fg >/dev/null; echo ended"`, []string{"stopped\n", "goes on\n", "got one\n", "ended\n"}},
		// Nobody could continue it.
		"without": {"exec " + s.Argv[0], []string{"goes on\n", "got one\n"}},
	} {
		cmd := exec.CommandContext(t.Context(), "script", "-qec", c.command, "/dev/null")
		cmd.Env = slices.Concat(s.Env, []string{"SHELL=/bin/sh"})
		cmd.Stdin = strings.NewReader("one\n")
		out, err := cmd.CombinedOutput()
		text := strings.ReplaceAll(string(out), "\r", "")
		// The terminal echoes the input somewhere between.
		rest, ok := text, true
		for _, line := range c.want {
			_, after, found := strings.Cut(rest, line)
			rest, ok = after, ok && found
		}
		if err != nil || !ok {
			t.Errorf("%s: got %q, %v, want %q", name, text, err, c.want)
		}
	}
}
