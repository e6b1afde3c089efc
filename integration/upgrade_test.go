package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

// upgradeTree has one that counts aloud, each line in two pieces, and one for each
// way to say that one is ready, which they do when a file appears.
const upgradeTree = `
[supervise.process.counter]
command = ["python3", "-uc", """
import os, time
n = 0
while True:
    n += 1
    os.write(1, b"n ")
    os.write(1, b"%d\\n" % n)
    if n % 50 == 0: time.sleep(0.001)
"""]
restart = "always"
output.max_size = "1G"

[supervise.process.notify]
command = "until [ -e go ]; do sleep 0.02; done; systemd-notify --ready --status=hello; exec sleep 1000"
ready.notify = true

[supervise.process.fd]
command = "until [ -e go ]; do sleep 0.02; done; echo >&5; exec 5>&-; exec sleep 1000"
ready.fd = 5

[supervise.process.log]
command = "printf 'I am '; until [ -e go ]; do sleep 0.02; done; echo up; exec sleep 1000"
ready.log = "^I am up$"

[supervise.process.exec]
command = "exec sleep 1000"
ready = { exec = "test -e go", interval = "10ms" }
alive = { exec = "true", interval = "50ms" }

[supervise.process.late]
command = "exec sleep 1000"
depends_on = ["notify", "fd", "log", { name = "exec", condition = "healthy" }]

[supervise.process.backoff]
command = "exit 1"
restart = "always"
backoff = { initial = "1h", max = "1h", jitter = 0.0 }

[supervise.process.off]
command = "exec sleep 1000"

[supervise.process.grumbler]
command = "sh -c 'kill -9 $$'"
on_fail = [{ retry = 1 }, { settle = true }]
`

// upgrading is a supervisor that becomes other programs.
type upgrading struct {
	t *testing.T
	s *harness.Sandbox
	p *harness.Process
	n int // upgrades so far
}

func newUpgrading(t *testing.T, config string) *upgrading {
	t.Helper()
	return newUpgradingWith(t, func(s *harness.Sandbox) { s.Config(config) })
}

// newUpgradingWith is newUpgrading with more files than the config.
func newUpgradingWith(t *testing.T, prepare func(s *harness.Sandbox)) *upgrading {
	t.Helper()
	u := &upgrading{t: t, s: harness.New(t)}
	prepare(u.s)
	u.p = u.s.Start("supervise", "run", "--quiet", "--json")
	u.p.WaitLine(`"type":"supervise.started"`)
	return u
}

// upgrade makes it a copy of procops at another path.
func (u *upgrading) upgrade() {
	u.t.Helper()
	u.n++
	program := u.copyOf("procops-" + strconv.Itoa(u.n))
	u.s.Want(0, "supervise", "upgrade", "--program", program)
	if got, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", u.p.PID())); err != nil || got != program {
		u.t.Fatalf("it runs %q, %v; want %q", got, err, program)
	}
}

// copyOf makes another name for procops.
func (u *upgrading) copyOf(name string) string {
	u.t.Helper()
	path := filepath.Join(u.s.Dir, name)
	if err := os.Link(harness.Binary(u.t), path); err == nil {
		return path
	}
	if r := u.s.Run("cp", harness.Binary(u.t), path); r.Code != 0 { // another file system
		u.t.Fatal(r)
	}
	return path
}

// TestUpgradeStopsNothing has procops become another program again and again: every
// child goes on, none of its output is lost or doubled, and what was known of it is
// still known.
func TestUpgradeStopsNothing(t *testing.T) {
	t.Parallel()
	u := newUpgrading(t, upgradeTree)
	u.s.Want(0, "supervise", "stop", "off")
	u.p.WaitLine(`"type":"supervise.process.backoff".*"subject":"backoff"`)
	u.p.WaitLine(`"type":"supervise.process.fatal".*"subject":"grumbler"`)
	before := statusOf(t, u.s)
	for range 4 {
		u.upgrade()
	}
	u.wantSame(before)
	u.s.WriteFile("go", "now")
	u.s.Want(0, "supervise", "wait", "--timeout", "20s", "late", "notify", "fd", "log", "exec")
	before = statusOf(t, u.s)
	u.upgrade()
	u.upgrade()
	u.wantSame(before)
	if got := before["notify"].StatusText; got != "hello" {
		t.Errorf("notify says %q", got)
	}
	u.wantRestart("counter")
	u.upgrade()
	u.wantRestart("notify")
	u.s.Want(0, "supervise", "start", "off")
	u.p.Signal(syscall.SIGTERM)
	u.p.WantExit(137) // of grumbler
	u.wantWholeCount()
	wantNothing(t, u.s)
}

// wantSame compares all that an upgrade must not change.
func (u *upgrading) wantSame(before map[string]processStatus) {
	u.t.Helper()
	for name, now := range statusOf(u.t, u.s) {
		was := before[name]
		if now.State != was.State || now.PID != was.PID || now.Restarts != was.Restarts || now.Wanted != was.Wanted || !now.Since.Equal(was.Since) {
			u.t.Errorf("%s was %+v and is %+v", name, was, now)
		}
	}
}

// wantRestart kills a process and waits until its successor is ready.
func (u *upgrading) wantRestart(name string) {
	u.t.Helper()
	before := statusOf(u.t, u.s)[name]
	if name == "notify" {
		u.s.Want(0, "supervise", "restart", name)
	} else if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
		u.t.Fatal(err)
	}
	harness.Eventually(u.t, name+" runs again", func() bool {
		now := statusOf(u.t, u.s)[name]
		return now.State == "running" && now.PID != before.PID && now.Restarts == before.Restarts+1
	})
}

// wantWholeCount looks at the log of counter: after each start it counts from 1,
// and no number is missing or there twice.
func (u *upgrading) wantWholeCount() {
	u.t.Helper()
	last, total := 0, 0
	for line := range strings.Lines(u.s.ReadFile("state/logs/counter.log")) {
		_, text, ok := strings.Cut(strings.TrimSpace(line), " stdout F n ")
		if !ok {
			continue // the last line before a kill may be a part
		}
		n, err := strconv.Atoi(text)
		if err != nil || n != last+1 && n != 1 {
			u.t.Fatalf("%q comes after %d", line, last)
		}
		last, total = n, total+1
	}
	u.t.Logf("%d lines", total)
	if total < 1000 {
		u.t.Error("too few lines: the test shows nothing")
	}
}

// TestUpgradeUnderFire upgrades while processes end and are started all the time,
// while children are killed and while signals come. Nothing runs twice and nobody is
// left behind.
func TestUpgradeUnderFire(t *testing.T) {
	t.Parallel()
	u := newUpgrading(t, killTree(0))
	var pids []int
	for range 12 {
		u.s.Want(0, "supervise", "wait", "--timeout", "20s", "plain", "kept", "late")
		plain := statusOf(t, u.s)["plain"].PID
		if len(pids) > 0 && pids[len(pids)-1] != plain {
			t.Errorf("plain had the pids %v and has %d now", pids, plain)
		}
		pids = append(pids, plain)
		u.p.Signal(syscall.SIGUSR1) // means nothing, but must not kill a program that has just begun
		u.upgrade()
	}
	if doubles := u.s.ReadFile("doubles"); doubles != "" {
		t.Errorf("started beside a running copy: %s", doubles)
	}
	kept := statusOf(t, u.s)["kept"].PID
	u.p.Signal(syscall.SIGKILL)
	u.p.WantExit(137)
	k := killing{t: t, s: u.s}
	harness.Eventually(t, "only those are left that are to survive", func() bool { return len(k.orphans()) == 0 })

	u.p = u.s.Start("supervise", "run", "--quiet", "--json")
	u.s.Want(0, "supervise", "wait", "--timeout", "20s", "plain", "kept", "late")
	u.upgrade()
	if now := statusOf(t, u.s)["kept"].PID; now != kept {
		t.Errorf("kept ran as pid %d, and runs as pid %d after a kill and an upgrade", kept, now)
	}
	if err := syscall.Kill(kept, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the end of kept is seen", func() bool { return statusOf(t, u.s)["kept"].State == "fatal" || u.p.Exited() })
	u.p.WantExit(137) // its failure ends supervision
	wantNothing(t, u.s)
}

// TestTermDuringAnUpgrade sends TERM while procops becomes another program: it is
// obeyed, and nothing is left. In the millisecond in which the Go runtime of the new
// program begins, TERM ends it as it ends any program that has just begun.
func TestTermDuringAnUpgrade(t *testing.T) {
	t.Parallel()
	for n := range 10 {
		u := newUpgrading(t, "[supervise.process.a]\ncommand = 'exec sleep 1000'\n")
		client := u.s.Start("supervise", "upgrade")
		if n%2 == 0 {
			u.p.WaitLine(`"type":"supervise.upgraded"`)
		} else {
			harness.Eventually(t, "the rehearsal", func() bool { return len(harness.Descendants(u.p.PID())) > 2 || client.Exited() })
		}
		u.p.Signal(syscall.SIGTERM)
		if code := u.p.Wait(); code != 0 && (n%2 == 0 || code != 143) {
			t.Errorf("it ended with code %d: %s", code, u.p.Output())
		}
		client.Wait()
		wantNothing(t, u.s)
	}
}

// TestUpgradeThatFails: a program that is none, is no procops, or is gone when it
// comes to it, changes nothing.
func TestUpgradeThatFails(t *testing.T) {
	t.Parallel()
	u := newUpgrading(t, upgradeTree)
	u.p.WaitLine(`"type":"supervise.process.backoff".*"subject":"backoff"`)
	u.p.WaitLine(`"type":"supervise.process.fatal".*"subject":"grumbler"`)
	before := statusOf(t, u.s)
	text := u.s.WriteFile("text", "hello")
	vanishes := u.s.WriteFile("vanishes", "#!/bin/sh\necho procops can go on with this tree\nrm \"$0\"\n")
	if err := os.Chmod(vanishes, 0o755); err != nil {
		t.Fatal(err)
	}
	for program, why := range map[string]string{
		"/bin/true":  "it is no procops that can be upgraded to",
		text:         "it is not executable",
		"/nowhere":   "no such file",
		"/bin/false": "ended with 1 General error",
		vanishes:     "cannot become .*vanishes.: no such file or directory",
	} {
		r := u.s.Want(1, "supervise", "upgrade", "--program", program)
		if !regexp.MustCompile(why).MatchString(r.Stderr) {
			t.Errorf("%s: want %q: %s", program, why, r)
		}
	}
	u.wantSame(before)
	u.s.WriteFile("go", "now") // what was paused for the exec that failed speaks and is heard
	u.s.Want(0, "supervise", "wait", "--timeout", "20s", "late", "notify", "fd", "log", "exec")
	u.wantRestart("counter")

	u.s.Config(upgradeTree + "[supervise.process.more]\ncommand = 'exec sleep 1000'\n")
	r := u.s.Want(4, "supervise", "upgrade")
	if !strings.Contains(r.Stderr, "the config has changed since it was read") {
		t.Error(r)
	}
	u.s.Config("nonsense")
	if r := u.s.Want(2, "supervise", "upgrade"); !strings.Contains(r.Stderr, "procops.toml:1:") {
		t.Error(r)
	}
	u.p.Signal(syscall.SIGTERM)
	u.p.WantExit(137) // of grumbler
	u.wantWholeCount()
}

// TestKillAfterAnUpgrade: the children of one that has become another program still
// end with it, however it ends, also if its guard is killed before.
func TestKillAfterAnUpgrade(t *testing.T) {
	t.Parallel()
	for _, guarded := range []bool{true, false} {
		u := newUpgrading(t, "[supervise.process.a]\ncommand = 'setsid sleep 1000 & exec sleep 1000'\n[supervise.process.b]\ncommand = 'exec sleep 1000'\n")
		u.s.Want(0, "supervise", "wait", "--timeout", "20s")
		u.upgrade()
		u.s.Want(0, "supervise", "restart", "b")
		u.upgrade()
		var guards []harness.Running
		harness.Eventually(t, "the former guard has been relieved by another", func() bool {
			guards = slices.DeleteFunc(harness.Descendants(u.p.PID()), func(r harness.Running) bool { return r.Command != "procops-guard" })
			return len(guards) == 1
		})
		if !guarded {
			// Stopped, it does nothing: the parent-death signal alone has to do.
			_ = syscall.Kill(guards[0].PID, syscall.SIGSTOP)
		}
		children := statusOf(t, u.s)
		u.p.Signal(syscall.SIGKILL)
		u.p.WantExit(137)
		for _, name := range []string{"a", "b"} {
			harness.Eventually(t, name+" has ended", func() bool { return harness.Gone(children[name].PID) })
		}
		if !guarded {
			_ = syscall.Kill(guards[0].PID, syscall.SIGCONT)
		}
		harness.Eventually(t, "nobody is left", func() bool { return len(u.s.Left()) == 0 })
	}
}

// TestUpgradeOfAnInstalledFile replaces the file that runs, as a package manager
// does.
func TestUpgradeOfAnInstalledFile(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config("[supervise.process.a]\ncommand = 'exec sleep 1000'\n")
	installed := filepath.Join(s.Dir, "installed")
	if out, err := exec.CommandContext(t.Context(), "cp", harness.Binary(t), installed).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if r := s.Run(installed, "supervise", "start"); r.Code != 0 {
		t.Fatal(r)
	}
	next := installed + ".new"
	if r := s.Run("cp", harness.Binary(t), next); r.Code != 0 {
		t.Fatal(r)
	}
	if err := os.Rename(next, installed); err != nil {
		t.Fatal(err)
	}
	r := s.Run(installed, "supervise", "upgrade")
	if r.Code != 0 || !strings.Contains(r.Stdout, installed+" now; 1 process goes on") {
		t.Fatal(r)
	}
	var status struct{ Upgrades int }
	if err := json.Unmarshal([]byte(s.Want(0, "supervise", "status", "--json").Stdout), &status); err != nil || status.Upgrades != 1 {
		t.Errorf("%+v, %v", status, err)
	}
	s.Want(0, "supervise", "stop")
	wantNothing(t, s)
}

// TestUpgradeSeesLateChange: what the rehearsal has read is not what the next procops
// would read.
func TestUpgradeSeesLateChange(t *testing.T) {
	t.Parallel()
	const config = "[supervise.process.a]\ncommand = \"exec sleep 1000\"\n"
	u := newUpgrading(t, config)
	u.p.WaitLine(`"type":"supervise.process.running".*"subject":"a"`)
	program := u.s.WriteFile("changing", fmt.Sprintf("#!/bin/sh\n%q \"$@\"; code=$?; echo broken >> procops.toml; exit $code\n", harness.Binary(t)))
	if err := os.Chmod(program, 0o700); err != nil {
		t.Fatal(err)
	}
	r := u.s.Want(2, "supervise", "upgrade", "--program", program)
	if !strings.Contains(r.Stderr, "cannot upgrade") || !strings.Contains(r.Stderr, "procops.toml") {
		t.Error(r)
	}
	u.s.Config(config)
	u.s.Want(0, "supervise", "status")
}

// TestOneUpgradeAtATime: a second one does not overtake a rehearsal, which would be left
// behind, and nothing is left of one that was given up.
func TestOneUpgradeAtATime(t *testing.T) {
	t.Parallel()
	u := newUpgrading(t, "[supervise.process.a]\ncommand = \"exec sleep 1000\"\n")
	u.p.WaitLine(`"type":"supervise.process.running".*"subject":"a"`)
	program := u.s.WriteFile("hanging", "#!/bin/sh\necho > rehearses\nsleep 1001\n")
	if err := os.Chmod(program, 0o700); err != nil {
		t.Fatal(err)
	}
	first := u.s.Start("supervise", "upgrade", "--program", program)
	u.s.WaitFile("rehearses")
	if r := u.s.Want(4, "supervise", "upgrade"); !strings.Contains(r.Stderr, "another upgrade is under way") {
		t.Error(r)
	}
	first.Signal(syscall.SIGINT)
	first.Wait()
	harness.Eventually(t, "the end of the rehearsal", func() bool { return len(u.s.Matching("sleep 1001")) == 0 })
	u.upgrade()
}
