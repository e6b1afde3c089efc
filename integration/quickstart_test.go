package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

// TestQuickstart does what the README tells a newcomer to do: `make run`, what
// that says to type in a second terminal, and Ctrl-C.
func TestQuickstart(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	giveGo(t, s)
	tree := s.StartProgram("make", "-C", harness.ModuleRoot(), "run",
		"BINARY="+filepath.Join(s.Dir, "bin", "procops"), "RUN_STATE="+filepath.Join(s.Dir, "quickstart state"))
	tree.WaitLine(`^hello +\| Ctrl-C here stops`)
	exports, commands := typed(tree.WaitLines(`^hello +\| {3}`, 8))
	if len(exports) != 2 || len(commands) < 6 {
		t.Fatalf("exports %q, commands %q", exports, commands)
	}
	second := harness.In(t, t.TempDir(), "/bin/sh")
	enter := func(command string) *harness.Process {
		return second.StartProgram("sh", "-c", strings.Join(exports, "\n")+"\nexec "+command)
	}
	for _, command := range commands {
		if regexp.MustCompile(` (-f|--follow) `).MatchString(command) {
			follower := enter(command)
			follower.WaitLine(`crasher`)
			follower.Signal(syscall.SIGINT)
			follower.WantExit(130)
			continue
		}
		// The process that crashes may be down at this moment, which status
		// tells, and the one that beats may not have beaten yet.
		harness.Eventually(t, command, func() bool { return enter(command).Wait() == 0 })
	}

	tree.WaitLine(`^crasher +! out of luck$`)
	tree.WaitLines(`^crasher +\* started`, 2)
	tree.SignalGroup(syscall.SIGINT)
	tree.WaitLine(`^procops +\* all is down$`)
	tree.Wait()
	wantNothing(t, s)
}

// typed returns the commands that the process hello prints for a second
// terminal: those that set variables, and the others.
func typed(lines []string) (exports, commands []string) {
	for _, line := range lines {
		_, command, _ := strings.Cut(line, "|   ")
		if strings.HasPrefix(command, "export ") {
			exports = append(exports, command)
		} else {
			commands = append(commands, command)
		}
	}
	return exports, commands
}

// giveGo lets what runs in the sandbox build procops with the Go and the caches
// of whoever runs the tests.
func giveGo(t *testing.T, s *harness.Sandbox) {
	t.Helper()
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	s.Setenv("GO", goTool)
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH"} {
		value, err := exec.CommandContext(t.Context(), goTool, "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		s.Setenv(name, strings.TrimSpace(string(value)))
	}
	for _, name := range []string{"MAKEFLAGS", "MAKELEVEL", "MFLAGS"} {
		s.Setenv(name, "")
	}
	if tmp := os.Getenv("GOTMPDIR"); tmp != "" {
		s.Setenv("GOTMPDIR", tmp)
	}
}
