package proc

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// crowd are programs that are hard to end: they ignore signals, leave their
// group, leave their session, and fork while they are being killed.
var crowd = [...]string{
	`trap "" TERM INT HUP; sleep 1000 & sleep 1001 & wait`,
	`setsid sh -c 'trap "" TERM; sleep 1002 & sleep 1003' & wait`,
	`(setsid sh -c 'setsid sleep 1004 & exec sleep 1005' &) ; exec sleep 1006`,
	`while :; do /bin/true; done`,
	`while :; do setsid sleep 1007 & sleep 0.01; done`,
	`exec env -i sleep 1008`, // not marked any more: the parent-death signal has to do
	`env -i sleep 1009 & wait`,
}

// helpCrowd is a procops with a crowd: it starts them all and reports each.
func helpCrowd() error {
	h, err := NewHost(HostOptions{Guard: true, Subreaper: true, RunToken: os.Getenv("CROWD_TOKEN")})
	if err != nil {
		return err
	}
	fmt.Println("guard", h.guard.current().PID())
	for _, script := range crowd {
		p, err := h.Start(shSpec(script))
		if err != nil {
			return err
		}
		fmt.Println("group", p.PID())
	}
	fmt.Println("ready")
	select {}
}

// startCrowd starts helpCrowd outside of any Host.
func startCrowd(tb testing.TB, token string) (*exec.Cmd, *bufio.Scanner) {
	tb.Helper()
	s := helperSpec(tb, "crowd", "CROWD_TOKEN="+token)
	cmd := exec.CommandContext(tb.Context(), s.Argv[0])
	cmd.Env = s.Env
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	return cmd, bufio.NewScanner(stdout)
}

// eventually waits for a state of other processes, which nothing announces.
func eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(patience)
	for !holds() {
		select {
		case <-ticker.C:
		case <-deadline:
			tb.Fatalf("%s: not after %v", what, patience)
		}
	}
}

// pids lists the processes of the machine.
func pids() []int {
	entries, _ := filepath.Glob("/proc/[0-9]*")
	var list []int
	for _, entry := range entries {
		if pid, err := strconv.Atoi(filepath.Base(entry)); err == nil {
			list = append(list, pid)
		}
	}
	return list
}

// marked lists the processes whose environment has the token. It does not use
// what it tests.
func marked(token string) []int {
	return slices.DeleteFunc(pids(), func(pid int) bool {
		env, err := os.ReadFile(procFile(pid, "environ"))
		return err != nil || !strings.Contains("\x00"+string(env), "\x00PROCOPS_RUN="+token+":")
	})
}

// guards lists the guards whose table has the token.
func guards(token string) []int {
	return slices.DeleteFunc(pids(), func(pid int) bool {
		table, err := os.Open(procFile(pid, "fd/3"))
		if err != nil {
			return true
		}
		defer func() { _ = table.Close() }()
		head := make([]byte, markerSize)
		_, err = table.ReadAt(head, 0)
		return err != nil || !strings.HasPrefix(string(head), token+":")
	})
}

func TestNothingIsLeftWhenProcopsIsKilled(t *testing.T) {
	const rounds = 100
	var tokens []string
	for round := range rounds {
		token := fmt.Sprintf("crowd-%d-%d", os.Getpid(), round)
		cmd, lines := startCrowd(t, token)
		// Kill it at any line, so while it starts, or some time after the last.
		last := rand.IntN(3 * (len(crowd) + 1))
		var guard int
		var groups []int
		for n := 0; n < last && lines.Scan(); n++ {
			kind, number, _ := strings.Cut(lines.Text(), " ")
			if kind == "ready" {
				break
			}
			pid, err := strconv.Atoi(number)
			switch {
			case err != nil:
				t.Fatal(err)
			case kind == "guard":
				guard = pid
			default:
				groups = append(groups, pid)
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		// Before it has reported the guard, it has started nothing else.
		eventually(t, fmt.Sprintf("round %d: end of the guard", round), func() bool {
			s, err := readStat(guard)
			return guard == 0 || err != nil || s.dead()
		})
		if left := marked(token); len(left) > 0 {
			t.Fatalf("round %d, killed after %d lines: processes %v are left", round, last, left)
		}
		// Those without the marker were sent SIGKILL with their group; nobody waits for
		// their end.
		for _, group := range groups {
			eventually(t, fmt.Sprintf("round %d: end of group %d", round, group), func() bool { return groupMembers(group) == 0 })
		}
		tokens = append(tokens, token)
	}
	for _, token := range tokens {
		eventually(t, "end of the guard of "+token, func() bool { return len(guards(token)) == 0 })
	}
}

func TestGuardIsReplaced(t *testing.T) {
	token := fmt.Sprintf("replace-%d", os.Getpid())
	cmd, lines := startCrowd(t, token)
	var groups []int
	guard := 0
	for lines.Scan() && lines.Text() != "ready" {
		kind, number, _ := strings.Cut(lines.Text(), " ")
		pid, err := strconv.Atoi(number)
		if err != nil {
			t.Fatal(err)
		}
		if kind == "guard" {
			guard = pid
		} else {
			groups = append(groups, pid)
		}
	}
	if err := syscall.Kill(guard, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a new guard", func() bool {
		now := guards(token)
		return len(now) == 1 && now[0] != guard
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	eventually(t, "end of the guard", func() bool { return len(guards(token)) == 0 })
	if left := marked(token); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
	for _, group := range groups {
		eventually(t, fmt.Sprintf("end of group %d", group), func() bool { return groupMembers(group) == 0 })
	}
}

func TestGuardSurvivesTheTerminalAndIsSmall(t *testing.T) {
	h := newTestHost(t, HostOptions{Guard: true})
	guard := h.guard.current()
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGTSTP} {
		if err := guard.Signal(Signal(s)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "guard asleep in its own group", func() bool {
		s, err := readStat(guard.PID())
		return err == nil && s.state == 'S' && s.group == guard.PID()
	})
	if env, err := os.ReadFile(procFile(guard.PID(), "environ")); err != nil || len(env) > 0 {
		t.Errorf("guard has an environment (%v)", err)
	}
	usage, err := guard.Identity().Usage()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("guard: %d kB", usage.RSS>>10)
	if limit := int64(2 << 20); usage.RSS > limit {
		t.Errorf("guard has %d bytes resident, want at most %d", usage.RSS, limit)
	}
}

func TestGuardSparesStrangers(t *testing.T) {
	// A process that is not ours but whose variable resembles ours.
	stranger := exec.CommandContext(t.Context(), "sleep", "1000")
	stranger.Env = []string{"XPROCOPS_RUN=strange:1", "PROCOPS_RUN=strange1:1", "A=PROCOPS_RUN=strange:1"}
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	if killed, err := Sweep("strange"); err != nil || len(killed) > 0 {
		t.Errorf("killed %v, %v", killed, err)
	}
	if killed, err := Sweep("strange1", stranger.Process.Pid); err != nil || len(killed) > 0 {
		t.Errorf("killed %v in spite of the exception, %v", killed, err)
	}
	killed, err := Sweep("strange1")
	if err != nil || !slices.Equal(killed, []int{stranger.Process.Pid}) {
		t.Errorf("killed %v, %v: want %d", killed, err, stranger.Process.Pid)
	}
	_ = stranger.Wait()
}

func TestSweepFindsTheVariableAnywhere(t *testing.T) {
	long := "LONG=" + strings.Repeat("x", 4089)
	for _, env := range [][]string{
		{"PROCOPS_RUN=where:1", "A=1"},
		{"A=1", "PROCOPS_RUN=where:1"},
		{long, "PROCOPS_RUN=where:1", long},
		{"A=P", "=PROCOPS_RUN", "PROCOPS_PROCOPS_RUN=x", "PROCOPS_RUN=where:1"},
	} {
		cmd := exec.CommandContext(t.Context(), "sleep", "1000")
		cmd.Env = env
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		killed, err := Sweep("where")
		if err != nil || !slices.Equal(killed, []int{cmd.Process.Pid}) {
			t.Errorf("%.40q: killed %v, %v", env, killed, err)
			_ = cmd.Process.Kill()
		}
		_ = cmd.Wait()
	}
}

func TestCloseEndsWhatHasEscaped(t *testing.T) {
	h := newTestHost(t, HostOptions{Guard: true, Subreaper: true, RunToken: fmt.Sprintf("close-%d", os.Getpid())})
	for _, script := range crowd {
		mustStart(t, h, shSpec(script))
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if left := marked(h.RunToken()); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
	if left := guards(h.RunToken()); len(left) > 0 {
		t.Errorf("guard %v is left", left)
	}
}

// The guard of a procops that was killed must leave alone what its successor has
// started meanwhile, although both have the same token.
func TestGuardSparesTheNextRun(t *testing.T) {
	token := fmt.Sprintf("next-%d", os.Getpid())
	cmd, lines := startCrowd(t, token)
	for lines.Scan() && lines.Text() != "ready" {
		continue
	}
	h := newTestHost(t, HostOptions{Guard: true, RunToken: token})
	p := mustStart(t, h, Spec{Argv: []string{"sleep", "1000"}})
	old := guards(token)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the Host may have been faster
	eventually(t, "end of the first guard", func() bool { return len(guards(token)) < len(old) })
	if left := marked(token); !slices.Equal(left, []int{p.PID()}) {
		t.Errorf("processes %v are left, want %d alone", left, p.PID())
	}
}

// TestGuardThatCannotStart leaves no descriptor for the pipe to a new guard. That
// is told once, and it is tried again.
func TestGuardThatCannotStart(t *testing.T) {
	told := make(chan error, 10)
	h := newTestHost(t, HostOptions{Guard: true, OnError: func(err error) { told <- err }})
	first := h.guard.current()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := syscall.Rlimit{Cur: 3, Max: limit.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	restored := false
	restore := func() {
		if !restored {
			restored = true
			if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
				t.Error(err)
			}
		}
	}
	defer restore()
	if err := first.Signal(Signal(syscall.SIGKILL)); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-told:
		if !strings.Contains(err.Error(), "until the guard is back") || !strings.Contains(err.Error(), "too many open files") {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("nobody was told")
	}
	select {
	case err := <-told:
		t.Errorf("told again: %v", err)
	case <-time.After(2*guardPause + guardPause/2): // two more attempts
	}
	restore()
	eventually(t, "a new guard", func() bool { return h.guard.current() != first })
}
