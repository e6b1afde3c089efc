package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"procops/integration/harness"
)

// endless is a daemon whose turn writes a line and goes on; its pid stands in a file.
const endless = `
[daemon.report]
command = "echo turn >>turns; echo $$ >pid; exec sleep 1000"
sleep = "10ms"
`

// TestDaemonStartsOnce: of 50 that are started at the same moment one runs, and the 49
// others say so; whatever was left behind by one that was killed.
func TestDaemonStartsOnce(t *testing.T) {
	t.Parallel()
	s := harness.NewShipped(t)
	s.Config(endless)
	s.Want(2, "daemon", "status") // the database is there
	for round := range 5 {
		var (
			all   sync.WaitGroup
			mu    sync.Mutex
			codes = map[int]int{}
			begin = make(chan struct{})
		)
		if round > 2 { // the number of the one that was killed is somebody else's now
			writeFile(t, pidfileOf(s, "report-production"), fmt.Sprintln(os.Getpid()))
		}
		for n := range 50 {
			all.Go(func() {
				<-begin
				verb := []string{"start", "run"}[n%2]
				if verb == "start" {
					r := s.Procops("daemon", "start", "report")
					mu.Lock()
					codes[r.Code]++
					mu.Unlock()
					return
				}
				p := s.StartProgram("/bin/sh", "-c", "exec procops daemon run report 2>>run.log")
				mu.Lock()
				defer mu.Unlock()
				if waitForOne(t, s, p) {
					codes[0]++
				} else {
					codes[p.Wait()]++
				}
			})
		}
		close(begin)
		all.Wait()
		if codes[0] != 1 || codes[4] != 49 {
			t.Fatalf("round %d: exit codes and how often: %v\n%s", round, codes, s.ReadFile("run.log"))
		}
		one := lookAtDaemon(t, s, "report")
		if got := strings.TrimSpace(readFile(t, pidfileOf(s, "report-production"))); got != strconv.Itoa(one.PID) || one.State != "running" {
			t.Errorf("round %d: the pidfile has %s, the status is %+v", round, got, one)
		}
		if err := syscall.Kill(one.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, "its turn is gone with it", func() bool { return len(s.Left()) == 0 })
	}
	// It holds its lock until its files are closed, after it cannot be seen any more.
	harness.Eventually(t, "it is known that it was killed", func() bool {
		one := lookAtDaemon(t, s, "report")
		return one.Killed && one.Reason == "it was killed"
	})
	if n := strings.Count(s.ReadFile("turns"), "turn"); n != 5 {
		t.Errorf("%d turns have begun in 5 lives", n)
	}
}

// waitForOne waits until a daemon in the foreground has either ended or is the one that
// runs, and reports the latter.
func waitForOne(t *testing.T, s *harness.Sandbox, p *harness.Process) (runs bool) {
	t.Helper()
	harness.Eventually(t, "it runs or has ended", func() bool {
		text, _ := os.ReadFile(pidfileOf(s, "report-production"))
		runs = !p.Exited() && strings.TrimSpace(string(text)) == strconv.Itoa(p.PID())
		return runs || p.Exited()
	})
	return runs
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// TestDaemonStartReturns: a shell that takes its output is not kept waiting by the
// daemon, which is in a session of its own with nothing open of its starter's.
func TestDaemonStartReturns(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.WriteFile("work/x", "")
	s.Config("[daemon.report]\ncommand = \"umask >umask; echo $$ >pid; exec sleep 1000\"\ndir = \"work\"\n")
	r := s.Run("/bin/sh", "-c", `out=$(procops daemon start report 2>&1); echo "code $?: $out"`)
	if !strings.HasPrefix(r.Stdout, "code 0: report-production: runs in the background (pid ") {
		t.Fatal(r)
	}
	pid, turn := lookAtDaemon(t, s, "report").PID, waitPID(t, s, "work/pid")
	if sid, err := getsid(pid); err != nil || sid != pid {
		t.Errorf("the session of daemon %d is %d, %v", pid, sid, err)
	}
	if got := strings.TrimSpace(s.ReadFile("work/umask")); got != "0027" {
		t.Errorf("the umask of a turn is %s", got)
	}
	for _, who := range []int{pid, turn} {
		k := kernelView{t, who}
		if got := k.link("fd/0"); got != os.DevNull {
			t.Errorf("standard input of %d is %s", who, got)
		}
	}
	log := filepath.Join(s.State, "logs", "report-production.log")
	for _, fd := range []string{"fd/1", "fd/2"} {
		if got := (kernelView{t, pid}).link(fd); got != log {
			t.Errorf("%s of the daemon is %s", fd, got)
		}
	}
	s.Want(0, "daemon", "stop", "report")
	wantNoPidfile(t, s)
}

func getsid(pid int) (int, error) {
	id, _, errno := syscall.Syscall(syscall.SYS_GETSID, uintptr(pid), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(id), nil
}

// TestDaemonCannotStart: whatever keeps a daemon from its first turn is said by whoever
// starts it, with an exit code, and nothing is left.
func TestDaemonCannotStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config string
		before func(s *harness.Sandbox)
		code   int
		want   string
	}{
		"no such command":     {config: `command = ["/nonexistent/report"]`, code: 1, want: `cannot start "/nonexistent/report": no such file`},
		"not executable":      {config: `command = ["./procops.toml"]`, code: 1, want: `permission denied`},
		"no such directory":   {config: "command = \"true\"\ndir = \"nowhere\"", code: 1, want: `nowhere`},
		"no such user":        {config: "command = \"true\"\nuser = \"nosuchuser\"", code: 1, want: `nosuchuser`},
		"no such group":       {config: "command = \"true\"\ngroup = \"nosuchgroup\"", code: 1, want: `nosuchgroup`},
		"no environment file": {config: "command = \"true\"\nenv_file = [\"none.env\"]", code: 1, want: `none.env`},
		"broken config":       {config: "command = 7 7", code: 2, want: `procops.toml:2`},
		"first turn fails, and that is the end": {
			config: "command = \"exit 3\"\non_failure = \"stop\"\nsleep = \"0\"", code: 0, want: `runs in the background`,
		},
		"pidfile is a directory": {config: `command = "true"`, code: 1, want: `it is no regular file`, before: func(s *harness.Sandbox) {
			_ = os.MkdirAll(pidfileOf(s, "report-production"), 0o755)
		}},
		"pidfile is a link": {config: `command = "true"`, code: 1, want: `it is a symbolic link`, before: func(s *harness.Sandbox) {
			_ = os.MkdirAll(filepath.Join(s.State, "run"), 0o755)
			_ = os.Symlink("/etc/hostname", pidfileOf(s, "report-production"))
		}},
		"run directory cannot be": {config: `command = "true"`, code: 1, want: `directory of the pidfile`, before: func(s *harness.Sandbox) {
			_ = os.MkdirAll(s.State, 0o755)
			_ = os.WriteFile(filepath.Join(s.State, "run"), nil, 0o600)
		}},
		"log directory cannot be": {config: `command = "true"`, code: 1, want: `logs`, before: func(s *harness.Sandbox) {
			_ = os.MkdirAll(s.State, 0o755)
			_ = os.WriteFile(filepath.Join(s.State, "logs"), nil, 0o600)
		}},
		"log is a directory": {config: `command = "true"`, code: 1, want: `report-production.log`, before: func(s *harness.Sandbox) {
			_ = os.MkdirAll(filepath.Join(s.State, "logs", "report-production.log"), 0o755)
		}},
		"state is a file": {config: `command = "true"`, code: 1, want: `state`, before: func(s *harness.Sandbox) {
			_ = os.WriteFile(s.State, nil, 0o600)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := harness.New(t)
			s.Config("[daemon.report]\n" + c.config + "\n")
			if c.before != nil {
				c.before(s)
			}
			r := s.Procops("daemon", "start", "report")
			if r.Code != c.code || !strings.Contains(r.Stderr+r.Stdout, c.want) {
				t.Errorf("want code %d and %q: %s", c.code, c.want, r)
			}
			if c.code != 0 && r.Stdout != "" {
				t.Errorf("it says that it runs: %s", r)
			}
			harness.Eventually(t, "nothing runs", func() bool { return len(s.Left()) == 0 })
			if c.before == nil {
				wantNoPidfile(t, s)
			}
		})
	}
}

// TestDaemonOfAnother: a pidfile of somebody else is left alone.
func TestDaemonOfAnother(t *testing.T) {
	t.Parallel()
	const nobody = 65534
	s := harness.New(t)
	s.Config("[daemon]\nrun_dir = \"run\"\n[daemon.report]\ncommand = \"echo turn >>turns\"\n")
	path := s.WriteFile("run/report-production.pid", "1\n")
	if !asRoot() {
		return // a file of another user takes root to make
	}
	if err := os.Chown(path, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"start", "run", "once"} {
		r := s.Want(4, "daemon", verb, "report")
		if !strings.Contains(r.Stderr, "belongs to user nobody") {
			t.Error(r)
		}
	}
	if got := readFile(t, path); got != "1\n" || s.ReadFile("turns") != "" {
		t.Errorf("the pidfile has %q, turns: %q", got, s.ReadFile("turns"))
	}
}

// TestDaemonUnreadablePidfile: neither is one's own file that was made unreadable in the
// way.
func TestDaemonUnreadablePidfile(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config("[daemon.report]\ncommand = \"exec sleep 1000\"\n")
	path := pidfileOf(s, "report-production")
	writeFile(t, path, "1\n")
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	start := func() harness.Result { return s.Procops("daemon", "start", "report") }
	if asRoot() { // for whom there is no unreadable file
		if r := s.Run("cp", harness.Binary(t), "procops"); r.Code != 0 {
			t.Fatal(r)
		}
		openToAll(t, s)
		start = func() harness.Result {
			return s.Run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "./procops", "daemon", "start", "report")
		}
	}
	if r := start(); r.Code != 0 {
		t.Error(r)
	}
	if r := start(); r.Code != 4 {
		t.Error(r)
	}
	s.Want(0, "daemon", "stop", "report")
	wantNoPidfile(t, s)
}

// openToAll gives a sandbox to nobody.
func openToAll(t *testing.T, s *harness.Sandbox) {
	t.Helper()
	for dir := s.Dir; len(dir) > len(os.TempDir()); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := filepath.WalkDir(s.Dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, 65534, 65534)
	}); err != nil {
		t.Fatal(err)
	}
}

// TestDaemonStartIsLeft: whoever waits for a daemon that takes its time may leave, and it
// goes on.
func TestDaemonStartIsLeft(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config(endless)
	s.Want(2, "daemon", "status")
	// The database of a daemon that is about to begin is held by another.
	if r := s.Run("mkfifo", "fifo", "held"); r.Code != 0 {
		t.Fatal(r)
	}
	holder := s.StartProgram("sqlite3", filepath.Join(s.State, "procops.db"), "BEGIN EXCLUSIVE", ".shell echo locked", ".shell cat fifo")
	holder.WaitLine("^locked$")
	starter := s.Start("daemon", "start", "report")
	starter.Signal(syscall.SIGTERM)
	if code := starter.Wait(); code == 0 {
		t.Logf("it was up before the signal came: %s", starter.Output())
	}
	release := s.StartProgram("/bin/sh", "-c", "echo >fifo")
	release.WantExit(0)
	holder.WantExit(0)
	s.Procops("daemon", "stop", "report")
	harness.Eventually(t, "nothing runs", func() bool { return len(s.Left()) == 0 })
}

// TestDaemonPidfileMeddled: the pidfile of a daemon that runs is removed or replaced.
func TestDaemonPidfileMeddled(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config(endless)
	path := pidfileOf(s, "report-production")

	first := s.Start("daemon", "run", "report")
	s.WaitFile("pid")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, "somebody else's\n")
	first.Signal(syscall.SIGTERM)
	first.WantExit(0)
	if got := readFile(t, path); got != "somebody else's\n" {
		t.Errorf("the file that has taken its place has %q", got)
	}

	second := s.Start("daemon", "run", "report")
	harness.Eventually(t, "its pid is in the file", func() bool {
		text, _ := os.ReadFile(path)
		return strings.TrimSpace(string(text)) == strconv.Itoa(second.PID())
	})
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	second.Signal(syscall.SIGTERM)
	second.WantExit(0)
}

// TestDaemonContextsAndInstances: they run side by side, and each knows its place.
func TestDaemonContextsAndInstances(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config(`
[daemon]
context = "live"
[daemon.resize]
command   = ["/bin/sh", "-c", "echo {{name}} {{context}} {{instance}}/{{instances}} $PROCOPS_DAEMON $PROCOPS_CONTEXT $PROCOPS_INSTANCE/$PROCOPS_INSTANCES $OWN $PROCOPS_TURN; touch begun; exec sleep 1000"]
dir       = "{{context}}-{{instance}}"
env       = { OWN = "own-{{instance}}" }
instances = 2
`)
	for _, dir := range []string{"live-1", "live-2", "staging-1", "staging-2"} {
		s.WriteFile(dir+"/x", "")
	}
	s.Want(0, "daemon", "start", "resize")
	s.Want(0, "daemon", "start", "resize", "--context", "staging", "--instance", "2")
	s.Want(4, "daemon", "start", "resize")
	s.Want(0, "daemon", "start", "resize", "--context", "staging") // the other one
	s.Want(3, "daemon", "start", "resize", "--instance", "3")
	s.Want(2, "daemon", "run", "resize")
	for _, context := range []string{"live", "staging"} {
		for n := 1; n <= 2; n++ {
			path := filepath.Join(s.State, "logs", "resize-"+context+".log")
			want := fmt.Sprintf(" %d out resize %s %d/2 resize %s %d/2 own-%d 1\n", n, context, n, context, n, n)
			harness.Eventually(t, want, func() bool { return strings.Contains(readFile(t, path), want) })
			if !harness.Exists(pidfileOf(s, fmt.Sprintf("resize-%s-%d", context, n))) {
				t.Errorf("%s %d has no pidfile", context, n)
			}
		}
	}
	s.Want(0, "daemon", "stop", "resize", "--instance", "1")
	s.Want(0, "daemon", "stop", "resize", "--context", "staging")
	if left, _ := filepath.Glob(pidfileOf(s, "*")); len(left) != 1 || !strings.HasSuffix(left[0], "resize-live-2.pid") {
		t.Errorf("pidfiles: %q", left)
	}
	s.Want(0, "daemon", "stop", "--all")
	wantNoPidfile(t, s)
}

// TestDaemonStartOnFullDisk: when nothing more can be written the start says so, and does
// not hang.
func TestDaemonStartOnFullDisk(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config("[daemon]\nrun_dir = \"run\"\nlog_dir = \"logs\"\n" + endless)
	begun := time.Now()
	r := s.Run("/bin/sh", "-c", "trap '' XFSZ; ulimit -f 0; exec procops daemon start report")
	if r.Code == 0 || r.Stderr == "" {
		t.Errorf("%s", r)
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	harness.Eventually(t, "nothing runs", func() bool { return len(s.Left()) == 0 })
}
