package proc

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// helperVariable names the program that the test binary is to be instead of
// running tests.
const helperVariable = "PROC_TEST_HELPER"

// TestMain runs the tests, or one of the programs that the tests start.
func TestMain(m *testing.M) {
	name := os.Getenv(helperVariable)
	if name == "" {
		goleak.VerifyTestMain(m)
		return
	}
	helper, ok := helpers()[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "no helper %q\n", name)
		os.Exit(99)
	}
	if err := helper(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// helpers are the programs by name.
func helpers() map[string]func() error {
	return map[string]func() error{
		"aside":        helpAside,
		"crowd":        helpCrowd,
		"foreground":   helpForeground,
		"open files":   helpOpenFiles,
		"signals":      helpSignals,
		"stopping":     helpStopping,
		"survivor":     helpSurvivor,
		"unprivileged": helpUnprivileged,
	}
}

// helperSpec starts the test binary as one of the helpers.
func helperSpec(tb testing.TB, name string, env ...string) Spec {
	tb.Helper()
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	return Spec{Argv: []string{self}, Env: append(append(os.Environ(), helperVariable+"="+name), env...)}
}
