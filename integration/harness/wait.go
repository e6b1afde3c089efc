package harness

import (
	"os"
	"testing"
	"time"
)

// Eventually waits until the condition holds and fails the test if it does not
// within Patience. what says what was waited for: "redis is ready".
func Eventually(tb testing.TB, what string, condition func() bool) {
	tb.Helper()
	if !waitUntil(Patience, condition) {
		tb.Fatalf("waited %s in vain: %s", Patience, what)
	}
}

// WaitFile waits until the file below Dir exists and is not empty, and returns
// its content.
func (s *Sandbox) WaitFile(name string) string {
	s.tb.Helper()
	Eventually(s.tb, "file "+name, func() bool { return s.ReadFile(name) != "" })
	return s.ReadFile(name)
}

// Gone reports whether no process has this number any more.
func Gone(pid int) bool {
	r, ok := describe(pid)
	return !ok || r.State == "Z"
}

// waitUntil looks again and again, because files, ports and other people's
// processes have no event to wait for.
func waitUntil(patience time.Duration, condition func() bool) bool {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for !condition() {
		select {
		case <-again.C:
		case <-deadline.C:
			return condition()
		}
	}
	return true
}

// Exists reports whether there is something at path.
func Exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
