package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
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

// The tests of `heartbeat run` that need the real binary in the place where cron
// puts it; the others are in internal/heartbeat and testdata/script.

// wrapped returns the arguments of procops that run a shell script as job.
func wrapped(script string, flags ...string) []string {
	return slices.Concat([]string{"heartbeat", "run", "job"}, flags, []string{"--", "sh", "-c", script})
}

// wrappedRun is what procops has recorded of a run.
type wrappedRun struct {
	State   string `json:"state"`
	Code    int    `json:"exit_code"`
	Message string `json:"message"`
	Output  string `json:"output"`
}

// newestRun reads the record of the newest run of job.
func newestRun(t *testing.T, s *harness.Sandbox) wrappedRun {
	t.Helper()
	var runs []wrappedRun
	check(t, json.Unmarshal([]byte(s.Want(0, "heartbeat", "runs", "job", "-n", "1", "--json").Stdout), &runs))
	if len(runs) != 1 {
		t.Fatalf("%d runs are recorded", len(runs))
	}
	return runs[0]
}

// inNamespace returns a command that runs a shell script in a mount namespace of
// its own: what it mounts ends with it.
func inNamespace(script string) []string {
	unshare := []string{"unshare", "--mount"}
	if os.Geteuid() != 0 {
		unshare = append(unshare, "--map-root-user")
	}
	return append(unshare, "sh", "-c", script)
}

// holds reports whether a process has a file open whose path matches.
func holds(pid int, path *regexp.Regexp) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	open, _ := os.ReadDir(dir)
	return slices.ContainsFunc(open, func(e os.DirEntry) bool {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		return err == nil && path.MatchString(target)
	})
}

// wantWarnings fails the test unless both ends of a run could not be recorded and
// the user was told why.
func wantWarnings(t *testing.T, stderr string, why ...string) {
	t.Helper()
	for _, want := range append(why, "procops: warning: cannot record the start of this run", "procops: warning: cannot record the end of this run") {
		if !strings.Contains(stderr, want) {
			t.Errorf("no %q on standard error:\n%s", want, stderr)
		}
	}
}

// TestHeartbeatRunFromACrontab runs a line of a crontab as cron does: in a session
// of its own, hence without a terminal, and with next to no environment.
func TestHeartbeatRunFromACrontab(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	user := asUser(t, s)
	binary := user[len(user)-1]
	home := filepath.Join(s.Dir, "home")
	check(t, os.Mkdir(home, 0o755))
	check(t, os.Chmod(home, 0o777))
	line := s.WriteFile("line", binary+` heartbeat run job -- sh -c 'test -t 0 || test -t 1 || (: </dev/tty) 2>&- || echo no terminal; exit 3' </dev/null`)
	cron := func(variables ...string) []string {
		return slices.Concat([]string{"setsid", "--wait", "env", "-i", "PATH=/usr/bin:/bin", "SHELL=/bin/sh", "GORACE=atexit_sleep_ms=0"}, variables, []string{"sh", line})
	}
	asNobody := func(command ...string) harness.Result {
		t.Helper()
		command = slices.Concat(user[:len(user)-1], command)
		return s.Run(command[0], command[1:]...)
	}

	r := asNobody(cron("HOME="+home, "LOGNAME=nobody")...)
	if r.Code != 3 || r.Stdout != "no terminal\n" || r.Stderr != "" {
		t.Errorf("a user: %s", r)
	}
	r = asNobody("env", "-i", "HOME="+home, binary, "heartbeat", "runs", "job", "--output")
	if r.Code != 0 || r.Stdout != "no terminal\n" {
		t.Errorf("what is recorded: %s", r)
	}
	if os.Geteuid() != 0 {
		return
	}
	r = asNobody(cron()...)
	if r.Code != 3 || r.Stdout != "no terminal\n" {
		t.Errorf("without a home: %s", r)
	}
	wantWarnings(t, r.Stderr, "neither $XDG_STATE_HOME nor $HOME is set")

	root := inNamespace("mount -t tmpfs tmpfs /var/lib && " + strings.Join(cron("LOGNAME=root"), " ") + "; test $? = 3 && env -i " + binary + " heartbeat runs job")
	if r := s.Run(root[0], root[1:]...); r.Code != 0 || !regexp.MustCompile(`(?m)^1 +failed .* 3 +sh `).MatchString(r.Stdout) {
		t.Errorf("root: %s", r)
	}
}

// look prints what a command can see of its surroundings.
const look = `env | sort; pwd; umask; ulimit -a; nice; grep ^Sig[BIC] /proc/self/status; ls /proc/self/fd; cat /proc/self/oom_score_adj; ps -o sid= -p $$; echo to three >&3`

// TestHeartbeatRunChangesNothing compares the surroundings of a command with those
// that it has without procops, once as nohup and a script's "&" make them and once
// as they usually are.
func TestHeartbeatRunChangesNothing(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]string{"plain": "", "ignored signals": `trap "" HUP INT QUIT PIPE USR1; `} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := harness.New(t)
			s.WriteFile("look", look)
			r := s.Run("sh", "-c", before+`sh look 3>three >direct; procops heartbeat run job -- sh look 3>>three >wrapped; diff direct wrapped >&2`)
			if r.Code != 0 || r.Stderr != "" {
				t.Error(r)
			}
			if got := s.ReadFile("three"); got != "to three\nto three\n" {
				t.Errorf("descriptor 3 got %q", got)
			}
		})
	}
}

// TestHeartbeatRunPassesExitCodes passes all that there are.
func TestHeartbeatRunPassesExitCodes(t *testing.T) {
	t.Parallel()
	s := harness.NewShipped(t)
	r := s.Run("sh", "-c", `n=0; while [ $n -lt 256 ]; do procops heartbeat run job -- sh -c "exit $n"; [ $? = $n ] || echo $n $?; n=$((n+1)); done`)
	if r.Code != 0 || r.Stdout != "" || r.Stderr != "" {
		t.Errorf("not passed on: %s", r)
	}
	// Those that end a program, without those that dump its core beside it.
	for _, n := range []syscall.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGKILL, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE, syscall.SIGALRM,
		syscall.SIGTERM, syscall.SIGSTKFLT, syscall.SIGVTALRM, syscall.SIGPROF, syscall.SIGIO, syscall.SIGPWR, 40,
	} {
		s.Want(128+int(n), wrapped(fmt.Sprintf("kill -%d $$", n))...)
	}
	s.Want(128+int(syscall.SIGSEGV), wrapped("ulimit -c 0; kill -SEGV $$")...)
}

// askingSignals are the signals that ask a program to end.
func askingSignals() map[string]syscall.Signal {
	return map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP, "QUIT": syscall.SIGQUIT}
}

// lockStore keeps everybody from writing to the state until the returned function
// is called.
func lockStore(t *testing.T, s *harness.Sandbox) (release func()) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(s.State, "procops.db-lock"), os.O_RDWR, 0)
	check(t, err)
	check(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	t.Cleanup(func() { _ = f.Close() })
	return func() { check(t, f.Close()) }
}

// TestHeartbeatRunGetsSignals sends each signal at each point of a run.
func TestHeartbeatRunGetsSignals(t *testing.T) {
	t.Parallel()
	for name, sig := range askingSignals() {
		t.Run("before the start "+name, func(t *testing.T) {
			t.Parallel()
			s := harness.New(t)
			s.Want(0, "heartbeat", "attach", "job")
			lockStore(t, s)
			p := s.Start(wrapped("exec sleep 1000")...)
			waits := regexp.MustCompile("procops.db-lock$")
			harness.Eventually(t, "procops waits for the state", func() bool { return holds(p.PID(), waits) })
			p.Signal(sig)
			p.WantExit(128 + int(sig))
			p.WaitLine("warning: cannot record the end of this run")
		})
		t.Run("while it runs "+name, func(t *testing.T) {
			t.Parallel()
			s := harness.New(t)
			p := s.Start(wrapped("echo up; exec sleep 1000")...)
			p.WaitLine("^up$")
			p.Signal(sig)
			p.WantExit(128 + int(sig))
			if r := newestRun(t, s); r.Code != 128+int(sig) || r.Message != "ended by signal "+name || r.Output != "up\n" {
				t.Errorf("recorded %+v", r)
			}
			if k := s.Want(2, "heartbeat", "knock", "job"); !strings.Contains(k.Stdout, "ended by signal "+name) {
				t.Errorf("no last beat: %s", k)
			}
		})
		t.Run("while the end is recorded "+name, func(t *testing.T) {
			t.Parallel()
			s := harness.New(t)
			p := s.Start(wrapped("echo up; until test -e end; do sleep 0.02; done; exit 7")...)
			p.WaitLine("^up$")
			unlock := lockStore(t, s)
			s.WriteFile("end", "")
			harness.Eventually(t, "the end of the command", func() bool { return len(harness.Descendants(p.PID())) == 0 })
			p.Signal(sig)
			unlock()
			p.WantExit(7)
			if r := newestRun(t, s); r.Code != 7 || r.State != "failed" || p.Stderr() != "" {
				t.Errorf("recorded %+v; said %s", r, p.Stderr())
			}
		})
	}
}

// TestHeartbeatRunPassesOtherSignals passes those that mean nothing to procops.
func TestHeartbeatRunPassesOtherSignals(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	for _, sig := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM, syscall.SIGIO, syscall.SIGPWR, 40} {
		p := s.Start(wrapped("echo up; exec sleep 1000")...)
		p.WaitLine("^up$")
		p.Signal(sig)
		p.WantExit(128 + int(sig))
	}
}

// TestHeartbeatRunUnderNohup is not ended by the end of a session.
func TestHeartbeatRunUnderNohup(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	p := s.StartProgram("nohup", append([]string{"procops"}, wrapped("echo up; exec sleep 1000")...)...)
	p.WaitLine("^up$")
	p.SignalGroup(syscall.SIGHUP)
	p.Signal(syscall.SIGTERM)
	p.WantExit(143)
	if r := newestRun(t, s); r.Message != "ended by signal TERM" {
		t.Errorf("recorded %+v", r)
	}
}

// TestHeartbeatRunWithoutState has a state that cannot be written: the command
// runs, its exit code counts, and the user is told.
func TestHeartbeatRunWithoutState(t *testing.T) {
	t.Parallel()
	trouble := func(s *harness.Sandbox, command ...string) harness.Result {
		t.Helper()
		command = slices.Concat(command, wrapped("echo out; exit 3"))
		r := s.Run(command[0], command[1:]...)
		if r.Code != 3 || r.Stdout != "out\n" {
			t.Errorf("the command did not run: %s", r)
		}
		return r
	}
	t.Run("not writable", func(t *testing.T) {
		t.Parallel()
		s := harness.New(t)
		user := asUser(t, s)
		readOnly(t, s, filepath.Join(s.Dir, "closed"))
		s.Setenv("PROCOPS_STATE_DIR", filepath.Join(s.Dir, "closed", "state"))
		wantWarnings(t, trouble(s, user...).Stderr, "permission denied")
	})
	t.Run("newer schema", func(t *testing.T) {
		t.Parallel()
		s := harness.New(t)
		s.Want(0, "heartbeat", "attach", "job")
		s.Run("sqlite3", filepath.Join(s.State, "procops.db"), "PRAGMA user_version = 9999")
		wantWarnings(t, trouble(s, harness.Binary(t)).Stderr, "newer", "hint: upgrade this procops")
	})
	for name, before := range map[string]string{"full disk": "true", "disk that has become full": "procops heartbeat attach job"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := harness.New(t)
			disk := inNamespace(`mkdir disk && mount -t tmpfs -o size=1m tmpfs disk && export PROCOPS_STATE_DIR=$PWD/disk/state && ` + before +
				` && cat /dev/zero 2>/dev/null >disk/ballast; procops heartbeat run job -- sh -c "echo out; exit 3"; test $? = 3 || exit
				rm disk/ballast && procops heartbeat run job -- true && procops heartbeat knock job`)
			r := s.Run(disk[0], disk[1:]...)
			if !regexp.MustCompile(`(?m)^out$`).MatchString(r.Stdout) || r.Code != 0 || !strings.Contains(r.Stdout, "OK - job: ") {
				t.Error(r)
			}
			wantWarnings(t, r.Stderr, "full")
		})
	}
	t.Run("disk that becomes full", func(t *testing.T) {
		t.Parallel()
		s := harness.New(t)
		disk := inNamespace(`mkdir disk && mount -t tmpfs -o size=1m tmpfs disk && export PROCOPS_STATE_DIR=$PWD/disk/state
			procops heartbeat run job -- sh -c "cat /dev/zero 2>/dev/null >disk/ballast; exit 3"; test $? = 3 || exit
			rm disk/ballast; procops heartbeat knock job; test $? = 2`)
		r := s.Run(disk[0], disk[1:]...)
		if r.Code != 0 || !strings.Contains(r.Stderr, "warning: cannot record the end") || !strings.Contains(r.Stdout, "CRITICAL - job: ") {
			t.Error(r)
		}
	})
}

// hung mounts a file system whose server never answers on the directory hung, and
// goes on as another program.
const hung = `mkdir -p hung && exec 5<>/dev/fuse && mount -i -t fuse -o fd=5,rootmode=40000,user_id=0,group_id=0 hung hung && exec `

// TestHeartbeatRunOnAPathThatHangs has the state on a file system that does not
// answer, as one from a network may.
func TestHeartbeatRunOnAPathThatHangs(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T, command string) *harness.Process {
		t.Helper()
		s := harness.New(t)
		s.Setenv("PROCOPS_STATE_DIR", filepath.Join(s.Dir, "hung", "state"))
		argv := inNamespace(hung + command)
		return s.StartProgram(argv[0], argv[1:]...)
	}
	t.Run("record", func(t *testing.T) {
		t.Parallel()
		p := start(t, `procops heartbeat run job -- sh -c "echo out; exit 3"`)
		p.WaitLine("^out$")
		harness.Eventually(t, "the end of the command", func() bool { return len(harness.Descendants(p.PID())) == 0 })
		p.Signal(syscall.SIGTERM) // hurries
		p.WantExit(3)
		wantWarnings(t, p.Stderr(), "the state does not answer in time")
	})
	t.Run("lock", func(t *testing.T) {
		t.Parallel()
		p := start(t, "procops heartbeat run job --no-overlap -- echo never")
		p.WantExit(1)
		if !strings.Contains(p.Stderr(), "cannot make sure that no other run") || p.Stdout() != "" {
			t.Errorf("it said:\n%s", p.Output())
		}
	})
	t.Run("lock and a signal", func(t *testing.T) {
		t.Parallel()
		p := start(t, "procops heartbeat run job --no-overlap --wait -- echo never")
		harness.Eventually(t, "procops hangs", func() bool { return hangs(p.PID()) })
		// Once is not always enough: the kernel gives a signal to the main thread, and where
		// that is the one that hangs it stays with it until another one comes.
		harness.Eventually(t, "a signal ends it", func() bool {
			_ = syscall.Kill(p.PID(), syscall.SIGTERM) // nobody has reaped it: the pid is its own
			return harness.Gone(p.PID())
		})
		p.WantExit(143)
		if p.Output() != "" {
			t.Errorf("it said:\n%s", p.Output())
		}
	})
}

// hangs reports whether a thread of a procops waits in the kernel for a disk or a
// server.
func hangs(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	return slices.ContainsFunc(threads, func(thread string) bool {
		stat, err := os.ReadFile(filepath.Join(thread, "stat"))
		if err != nil || !bytes.Contains(stat, []byte(" (procops) ")) {
			return false
		}
		where, _ := os.ReadFile(filepath.Join(thread, "wchan")) // a wait that can be interrupted is none in state D
		return bytes.Contains(stat, []byte(" (procops) D ")) || bytes.Contains(where, []byte("fuse")) || bytes.Contains(where, []byte("request_wait_answer"))
	})
}

// TestHeartbeatRunPassesAGigabyte passes it all on, keeps its end, and needs little
// memory for that.
func TestHeartbeatRunPassesAGigabyte(t *testing.T) {
	t.Parallel()
	const size, memory = 1 << 30, 96 << 20
	s := harness.NewShipped(t)
	out, write := pipe(t)
	cmd := inSandbox(t, s, wrapped(fmt.Sprintf("head -c %d /dev/zero; printf end; read line", size))...)
	stdin, err := cmd.StdinPipe()
	check(t, err)
	cmd.Stdout = write
	check(t, cmd.Start())
	check(t, write.Close())
	zeros, buffer := make([]byte, 1<<20), make([]byte, 1<<20)
	for range size / len(buffer) {
		if _, err := io.ReadFull(out, buffer); err != nil || !bytes.Equal(buffer, zeros) {
			t.Fatalf("something was lost or changed: %v", err)
		}
	}
	if _, err := io.ReadFull(out, buffer[:3]); err != nil || string(buffer[:3]) != "end" {
		t.Errorf("the end is %q, %v", buffer[:3], err)
	}
	peak, err := strconv.Atoi(strings.TrimSuffix(kernelView{t, cmd.Process.Pid}.status("VmHWM"), " kB"))
	if err != nil || peak<<10 > memory {
		t.Errorf("it needed %d kB, %v", peak, err)
	}
	check(t, stdin.Close())
	_ = cmd.Wait()
	if got := newestRun(t, s).Output; len(got) != 10_000 || !strings.HasSuffix(got, "\x00end") {
		t.Errorf("%d bytes are kept", len(got))
	}
}

// inSandbox returns a command of procops whose streams are the test's own.
func inSandbox(t *testing.T, s *harness.Sandbox, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), harness.Binary(t), args...)
	cmd.Dir, cmd.Env = s.Dir, s.Env()
	return cmd
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	check(t, err)
	t.Cleanup(func() {
		_ = r.Close()
		_ = w.Close()
	})
	return r, w
}

// TestHeartbeatRunWithADeadReader has the command end as it ends without procops:
// by SIGPIPE, the first time that it writes to a reader that has gone.
func TestHeartbeatRunWithADeadReader(t *testing.T) {
	t.Parallel()
	for _, before := range []bool{true, false} {
		t.Run(fmt.Sprintf("before the start %v", before), func(t *testing.T) {
			t.Parallel()
			s := harness.New(t)
			r, w := pipe(t)
			if before {
				check(t, r.Close())
			}
			cmd := inSandbox(t, s, wrapped("readlink /proc/self/fd/1 >pipe; read line; echo hello; touch survived")...)
			stdin, err := cmd.StdinPipe()
			check(t, err)
			cmd.Stdout = w
			check(t, cmd.Start())
			if !before {
				theirs := regexp.MustCompile("^" + regexp.QuoteMeta(strings.TrimSpace(procopsPipe(t, s, cmd.Process.Pid))) + "$")
				check(t, r.Close())
				harness.Eventually(t, "procops closes the pipe of the command", func() bool { return !holds(cmd.Process.Pid, theirs) })
			}
			check(t, stdin.Close())
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != 128+int(syscall.SIGPIPE) || harness.Exists(filepath.Join(s.Dir, "survived")) {
				t.Errorf("code %d", code)
			}
			if got := newestRun(t, s); got.Message != "ended by signal PIPE" {
				t.Errorf("recorded %+v", got)
			}
		})
	}
}

// procopsPipe waits until the command runs and returns the name of the pipe that
// procops reads its output from.
func procopsPipe(t *testing.T, s *harness.Sandbox, pid int) (name string) {
	t.Helper()
	harness.Eventually(t, "the command runs", func() bool {
		below := harness.Descendants(pid)
		if len(below) != 1 || s.ReadFile("pipe") == "" {
			return false
		}
		name = kernelView{t, below[0].PID}.link("fd/1")
		return true
	})
	return name
}

// TestHeartbeatRunWithClosedStreams has none of the three; what the command says
// is kept all the same.
func TestHeartbeatRunWithClosedStreams(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	r := s.Run("sh", "-c", `procops heartbeat run job -- sh -c 'cat; echo out; echo err >&2; exit 9' <&- >&- 2>&-`)
	if got := newestRun(t, s); r.Code != 9 || got.Code != 9 || !strings.Contains(got.Output, "out\n") || !strings.Contains(got.Output, "err\n") {
		t.Errorf("recorded %+v; %s", got, r)
	}
	s.Want(0, "heartbeat", "list")
}

// TestHeartbeatRunKilledLeavesTheLock kills procops, and with it the command, but
// not what that has started: as long as it runs there is no second run.
func TestHeartbeatRunKilledLeavesTheLock(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	p := s.Start(wrapped("sleep 1000 & echo up $!; wait", "--no-overlap")...)
	var left int
	_, err := fmt.Sscanf(p.WaitLine("^up "), "up %d", &left)
	check(t, err)
	waiting := s.Start(wrapped("echo at last", "--no-overlap", "--wait")...)
	lock := regexp.MustCompile("job.lock$")
	harness.Eventually(t, "the second run waits", func() bool { return holds(waiting.PID(), lock) })
	p.Signal(syscall.SIGKILL)
	p.WantExit(137)
	s.Want(4, wrapped("echo never", "--no-overlap")...)
	if waiting.Exited() || harness.Gone(left) {
		t.Errorf("what was left: gone %v; the second run: %s", harness.Gone(left), waiting.Output())
	}
	if k := s.Want(2, "heartbeat", "knock", "job"); !strings.Contains(k.Stdout, "cut off") {
		t.Errorf("the knock does not tell: %s", k)
	}
	check(t, syscall.Kill(left, syscall.SIGKILL))
	waiting.WaitLine("^at last$")
	waiting.WantExit(0)
}

// TestHeartbeatRunFreesTheLock although a process in the background has inherited it.
func TestHeartbeatRunFreesTheLock(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	r := s.Want(0, wrapped("sleep 1000 >&- 2>&- & echo $!", "--no-overlap")...)
	left, err := strconv.Atoi(strings.TrimSpace(r.Stdout))
	check(t, err)
	if harness.Gone(left) {
		t.Error("what was in the background has gone")
	}
	s.Want(5, wrapped("exit 5", "--no-overlap")...)
	check(t, syscall.Kill(left, syscall.SIGKILL))
}
