package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"procops/integration/harness"
)

// contained is a command line that runs procops as PID 1 of a PID namespace, as
// a container does.
func contained(args ...string) []string {
	return append([]string{"--pid", "--fork", "--kill-child", "--mount-proc", "procops"}, args...)
}

// wantNamespaces fails the test where no PID namespace can be made.
func wantNamespaces(t *testing.T, s *harness.Sandbox) {
	t.Helper()
	if r := s.Run("unshare", "--pid", "--fork", "--mount-proc", "true"); r.Code != 0 {
		t.Fatalf("cannot make a PID namespace, which this test needs: run it as root, where unshare(2) is permitted: %s", r)
	}
}

// startContained starts `procops supervise run` as PID 1.
func startContained(s *harness.Sandbox) *harness.Process {
	return s.StartProgram("unshare", contained("supervise", "run")...)
}

// pid1Of waits until procops has begun in the namespace that p has made and
// returns its pid as it is seen from here.
func pid1Of(t *testing.T, p *harness.Process) (pid int) {
	t.Helper()
	harness.Eventually(t, "procops is PID 1", func() bool {
		for _, r := range harness.Descendants(p.PID()) {
			if r.Parent == p.PID() && strings.HasPrefix(r.Command, "procops ") {
				pid = r.PID
			}
		}
		return pid != 0
	})
	return pid
}

func kill(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
}

// onlyMain is a tree of one process, which decides about the exit code.
const onlyMain = `
[supervise]
exit_with = "main"
[supervise.process.main]
command = "ulimit -c 0; eval $HOW"
`

// endings are the ways in which a process can end, with the codes that shells
// have for them: all exit codes, and all signals that end a process.
func endings() (how []string, codes []int) {
	for code := range 256 {
		how, codes = append(how, fmt.Sprintf("exit %d", code)), append(codes, code)
	}
	harmless := []syscall.Signal{
		syscall.SIGCHLD, syscall.SIGCONT, syscall.SIGSTOP, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU,
		syscall.SIGURG, syscall.SIGWINCH,
	}
	for sig := syscall.Signal(1); sig <= 64; sig++ {
		if !slices.Contains(harmless, sig) {
			how, codes = append(how, fmt.Sprintf("kill -%d $$", sig)), append(codes, 128+int(sig))
		}
	}
	return how, codes
}

// TestPID1PassesEveryEnd has the main process end with each exit code and by each
// signal, under a procops that is PID 1.
func TestPID1PassesEveryEnd(t *testing.T) {
	how, codes := endings()
	const shares = 4
	for share := range shares {
		t.Run(fmt.Sprintf("share %d", share), func(t *testing.T) {
			t.Parallel()
			s := harness.NewShipped(t)
			wantNamespaces(t, s)
			s.Config(onlyMain)
			for i := share; i < len(how); i += shares {
				s.Setenv("HOW", how[i])
				if r := s.Run("unshare", contained("supervise", "run", "--quiet")...); r.Code != codes[i] {
					t.Errorf("%s: want code %d: %s", how[i], codes[i], r)
				}
			}
			wantNothing(t, s)
		})
	}
}

// beginnings are the two ways in which procops becomes the parent of orphans: as
// PID 1, and as subreaper.
func beginnings() map[string]func(*testing.T, *harness.Sandbox) (p *harness.Process, pid int) {
	return map[string]func(*testing.T, *harness.Sandbox) (*harness.Process, int){
		"PID 1": func(t *testing.T, s *harness.Sandbox) (*harness.Process, int) {
			wantNamespaces(t, s)
			p := startContained(s)
			return p, pid1Of(t, p)
		},
		"subreaper": func(_ *testing.T, s *harness.Sandbox) (*harness.Process, int) {
			p := s.Start("supervise", "run")
			pid := p.PID()
			return p, pid
		},
	}
}

// TestOrphansAreReaped has a process leave thousands of short-lived orphans
// behind, and one that lasts.
func TestOrphansAreReaped(t *testing.T) {
	for name, begin := range beginnings() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := harness.NewShipped(t)
			s.Config(`
[supervise]
exit_with = "main"
[supervise.process.main]
command = "(exec sleep 1111 &); for i in $(seq 40); do (for j in $(seq 50); do : & done); done; echo all are left alone; exec sleep 1000"
`)
			p, pid := begin(t, s)
			most := 0
			zombies := func() (n int) {
				for _, r := range harness.Descendants(pid) {
					if r.State == "Z" {
						n++
					}
				}
				most = max(most, n)
				return n
			}
			for look := time.NewTicker(50 * time.Millisecond); !strings.Contains(p.Output(), "all are left alone") && !p.Exited(); <-look.C {
				zombies()
			}
			harness.Eventually(t, "no zombie is left", func() bool { return zombies() == 0 })
			if most > 1000 {
				t.Errorf("up to %d zombies: nobody reaped them while more came", most)
			}
			lasting := s.Matching("sleep 1111")
			if len(lasting) != 1 || lasting[0].Parent != pid {
				t.Errorf("the orphan that lasts: %v; procops is pid %d", lasting, pid)
			}
			kill(t, pid, syscall.SIGTERM)
			p.WantExit(143)
			wantNothing(t, s)
		})
	}
}

// passed are the signals that an init passes on.
func passed() []syscall.Signal {
	return []syscall.Signal{
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGALRM, syscall.SIGVTALRM,
		syscall.SIGIO, syscall.SIGPWR, syscall.SIGSTKFLT, 35, 64,
	}
}

// TestSignalsArePassedOn sends procops what means nothing to it. The main process
// gets it, and no other; TERM stops all in order, the main process first, which
// is free to end as it likes.
func TestSignalsArePassedOn(t *testing.T) {
	for name, begin := range beginnings() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := harness.New(t)
			var traps strings.Builder
			for _, sig := range passed() {
				fmt.Fprintf(&traps, "trap 'echo got %d' %d; ", sig, sig)
			}
			s.Config(fmt.Sprintf(`
[supervise]
exit_with = "main"
[supervise.process.main]
command = '''%strap 'echo got TERM; exit 5' TERM; echo is up; while :; do sleep 0.05; done'''
ready.log = "is up"
depends_on = ["other"]
[supervise.process.other]
command = "exec sleep 1000"
`, traps.String()))
			p, pid := begin(t, s)
			p.WaitLine(`main +\* ready`)
			for _, sig := range passed() {
				kill(t, pid, sig)
				p.WaitLine(fmt.Sprintf(`^main +\| got %d$`, sig))
			}
			kill(t, pid, syscall.SIGHUP)
			p.WaitLine("log files are opened again")
			kill(t, pid, syscall.SIGTERM)
			p.WantExit(5)
			wantSteps(t, p, "other started", "main started", "main ready", "main stopping", "main ended", "other stopping", "other ended")
			wantNothing(t, s)
		})
	}
}

// TestSignalsForNobody sends such signals while the main process does not run,
// and to a procops without one. Nothing happens.
func TestSignalsForNobody(t *testing.T) {
	t.Parallel()
	for config, says := range map[string]string{
		quick: "",
		"[supervise]\nexit_with = 'main'\n[supervise.process.main]\ncommand = ['true']\nautostart = false\n" + quick: `cannot pass a signal on error="cannot send 64 to \\"main\\": it does not run"`,
	} {
		s := harness.New(t)
		s.Config(config)
		p := s.Start("supervise", "run")
		p.WaitLine(`server +\* started`)
		for _, sig := range passed() {
			p.Signal(sig)
		}
		if says != "" {
			p.WaitLine(says)
		}
		s.Want(0, "supervise", "signal", "CONT", "server")
		p.Signal(syscall.SIGTERM)
		p.WantExit(0)
		if regexp.MustCompile("cannot pass").MatchString(p.Output()) != (says != "") || strings.Contains(p.Output(), "WINCH") {
			t.Error(p.Output())
		}
	}
}

// TestPID1ToldToEndAtAnyMoment sends TERM while procops starts as PID 1, where
// the kernel drops signals that nobody catches. It ends all the same.
func TestPID1ToldToEndAtAnyMoment(t *testing.T) {
	t.Parallel()
	s := harness.NewShipped(t)
	wantNamespaces(t, s)
	s.Config("[supervise]\nexit_with = 'server'\n" + quick)
	lock := filepath.Join(s.State, "supervise.lock")
	for n := range 40 {
		if err := os.RemoveAll(lock); err != nil { // of the last round; nobody holds it
			t.Fatal(err)
		}
		p := startContained(s)
		pid := pid1Of(t, p)
		harness.Eventually(t, "procops begins", func() bool { return harness.Exists(lock) })
		<-time.After(time.Duration(n) * time.Millisecond / 2)
		kill(t, pid, syscall.SIGTERM)
		// 0 as long as there was nothing to end by it.
		if code := p.Wait(); code != 0 && code != 143 || strings.Contains(p.Stderr(), "procops: error: ") {
			t.Errorf("after %d/2 ms: code %d: %s", n, code, p.Output())
		}
		wantNothing(t, s)
	}
}

// TestPID1Killed kills procops from outside of its namespace: all in it goes.
func TestPID1Killed(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	wantNamespaces(t, s)
	s.Config(`
[supervise.process.main]
command = "trap '' TERM HUP; setsid sleep 1000 & (exec sleep 1001 &); echo is up; while :; do sleep 1; done"
`)
	p := startContained(s)
	p.WaitLine("is up")
	kill(t, pid1Of(t, p), syscall.SIGKILL)
	p.Wait() // whose code is that of unshare
	harness.Eventually(t, "nobody is left", func() bool { return len(s.Left()) == 0 })
	// Another one on the same state begins as if nothing had been.
	again := startContained(s)
	again.WaitLine("is up")
	kill(t, pid1Of(t, again), syscall.SIGQUIT)
	kill(t, pid1Of(t, again), syscall.SIGQUIT)
	again.WantExit(0)
}

// TestBatch has one of several jobs die.
func TestBatch(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		settle string
		code   int
		others string // what the other job has left behind
	}{
		"the tree goes down": {"", 137, "stopped\n"},
		"the others go on":   {"on_fail = [{ settle = true }]", 137, "done\n"},
		"it is tried again":  {"on_fail = [{ retry = 1 }]", 0, "done\n"},
		"nobody is to mourn": {"success_codes = [0, 4]", 137, "stopped\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := harness.New(t)
			s.Config(fmt.Sprintf(`
[supervise.process.brief]
command = "exit 0"
[supervise.process.dies]
command = "test -e second || { touch second; kill -9 $$; }; touch passed"
backoff.initial = "0s"
depends_on = ["other"]
%s
[supervise.process.other]
command = "trap 'echo stopped > other; exit 3' TERM; echo up; until test -e passed || test -e go; do sleep 0.02; done; echo done > other"
ready.log = "up"
`, test.settle))
			p := s.Start("supervise", "run")
			p.WaitLine(`dies +\* failed: 137`)
			if test.code != 0 && test.settle != "" && test.others == "done\n" {
				p.WaitLine(`dies +\* given up`)
				s.WriteFile("go", "")
			}
			p.WantExit(test.code)
			if got := s.ReadFile("other"); got != test.others {
				t.Errorf("the other job has %q, want %q; procops says:\n%s", got, test.others, p.Output())
			}
		})
	}
}
