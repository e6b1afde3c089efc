package integration

import (
	"errors"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"procops/integration/harness"
)

// TestScripts runs testdata/script/*.txtar, each in a sandbox of its own: its
// working directory is $WORK, its state directory $PROCOPS_STATE_DIR, and
// procops is on its PATH. Beside the commands of testscript these exist:
//
//	exits CODE PROGRAM [ARGUMENT...]     run to the end and want this exit code
//	start NAME PROGRAM [ARGUMENT...]     run in the background under this name
//	wait-line NAME PATTERN [COUNT]       wait until COUNT (1) lines of its output match
//	said NAME PATTERN                    its output so far matches; `! said`: does not
//	signal NAME SIGNAL                   send it a signal, such as TERM
//	wait-exit NAME CODE                  wait for its end and want this exit code
//	wait-file FILE                       wait until the file is there and not empty
//	eventually PROGRAM [ARGUMENT...]     run it again and again until it ends with 0
//	port VARIABLE...                     set each variable to a free TCP port
func TestScripts(t *testing.T) {
	binary := harness.Binary(t)
	testscript.Run(t, testscript.Params{
		Dir:                "testdata/script",
		RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			tb, ok := env.T().(testing.TB)
			if !ok {
				return errors.New("cannot make a sandbox: the script does not run in a test")
			}
			s := harness.In(tb, env.WorkDir, binary)
			env.Vars = append(env.Vars, s.Env()...)
			env.Values[scriptKey{}] = &script{sandbox: s, running: map[string]*harness.Process{}}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":      cmdExits,
			"start":      cmdStart,
			"wait-line":  cmdWaitLine,
			"said":       cmdSaid,
			"signal":     cmdSignal,
			"wait-exit":  cmdWaitExit,
			"wait-file":  cmdWaitFile,
			"eventually": cmdEventually,
			"port":       cmdPort,
		},
	})
}

// script is what the commands of one script share.
type script struct {
	sandbox *harness.Sandbox
	running map[string]*harness.Process
}

type scriptKey struct{}

// of returns the script; words is how a command is used, and least how many
// arguments it needs.
func of(ts *testscript.TestScript, neg bool, args []string, least int, words string) *script {
	if neg || len(args) < least {
		ts.Fatalf("usage: %s", words)
	}
	s, ok := ts.Value(scriptKey{}).(*script)
	if !ok {
		ts.Fatalf("there is no sandbox")
	}
	return s
}

// process returns a process that the script has started.
func (s *script) process(ts *testscript.TestScript, name string) *harness.Process {
	p, ok := s.running[name]
	if !ok {
		ts.Fatalf("nothing was started as %q", name)
	}
	return p
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	of(ts, neg, args, 2, "exits CODE PROGRAM [ARGUMENT...]")
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := scriptExec(ts, args[1:]); got != want {
		ts.Fatalf("%s: exit code %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

// scriptExec runs a program to its end; `stdout` and `stderr` see its output.
func scriptExec(ts *testscript.TestScript, args []string) int {
	err := ts.Exec(args[0], args[1:]...)
	if err == nil {
		return 0
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		ts.Fatalf("cannot run %q: %v", args[0], err)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}

func cmdStart(ts *testscript.TestScript, neg bool, args []string) {
	s := of(ts, neg, args, 2, "start NAME PROGRAM [ARGUMENT...]")
	s.sandbox.Dir = ts.MkAbs(".")
	// What the script has changed with `env` holds here as well.
	for _, name := range []string{"PATH", "HOME", "PROCOPS_CONFIG", "PROCOPS_STATE_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "NO_COLOR"} {
		if value := ts.Getenv(name); value != "" {
			s.sandbox.Setenv(name, value)
		}
	}
	s.running[args[0]] = s.sandbox.StartProgram(lookPath(ts, args[1]), args[2:]...)
}

// lookPath finds a program as the script itself would.
func lookPath(ts *testscript.TestScript, program string) string {
	if strings.Contains(program, "/") {
		return ts.MkAbs(program)
	}
	for dir := range strings.SplitSeq(ts.Getenv("PATH"), ":") {
		if path := dir + "/" + program; unix.Access(path, unix.X_OK) == nil {
			return path
		}
	}
	ts.Fatalf("there is no program %q", program)
	return ""
}

func cmdWaitLine(ts *testscript.TestScript, neg bool, args []string) {
	s := of(ts, neg, args, 2, "wait-line NAME PATTERN [COUNT]")
	count := 1
	if len(args) > 2 {
		var err error
		count, err = strconv.Atoi(args[2])
		ts.Check(err)
	}
	s.process(ts, args[0]).WaitLines(args[1], count)
}

func cmdSaid(ts *testscript.TestScript, neg bool, args []string) {
	s := of(ts, false, args, 2, "[!] said NAME PATTERN")
	output := s.process(ts, args[0]).Output()
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	if re.MatchString(output) == neg {
		ts.Fatalf("%s has said:\n%s", args[0], output)
	}
}

func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	s := of(ts, neg, args, 2, "signal NAME SIGNAL")
	sig := unix.SignalNum("SIG" + args[1])
	if sig == 0 {
		ts.Fatalf("there is no signal %q", args[1])
	}
	s.process(ts, args[0]).Signal(sig)
}

func cmdWaitExit(ts *testscript.TestScript, neg bool, args []string) {
	s := of(ts, neg, args, 2, "wait-exit NAME CODE")
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	s.process(ts, args[0]).WantExit(want)
}

func cmdWaitFile(ts *testscript.TestScript, neg bool, args []string) {
	s := of(ts, neg, args, 1, "wait-file FILE")
	s.sandbox.Dir = ts.MkAbs(".")
	s.sandbox.WaitFile(args[0])
}

func cmdEventually(ts *testscript.TestScript, neg bool, args []string) {
	s := of(ts, neg, args, 1, "eventually PROGRAM [ARGUMENT...]")
	harness.Eventually(s.sandbox.TB(), strings.Join(args, " "), func() bool { return scriptExec(ts, args) == 0 })
}

func cmdPort(ts *testscript.TestScript, neg bool, args []string) {
	s := of(ts, neg, args, 1, "port VARIABLE...")
	for i, port := range harness.FreePorts(s.sandbox.TB(), len(args)) {
		ts.Setenv(args[i], strconv.Itoa(port))
	}
}
