package proc

import (
	"strconv"
	"syscall"
	"testing"
)

// TestCloseEndsWhatHasHidden: a descendant that has left its group and session,
// its parent and its environment does not outlive the Host.
func TestCloseEndsWhatHasHidden(t *testing.T) {
	h := newTestHost(t, HostOptions{Subreaper: true, Guard: true})
	out := newOutput()
	s := shSpec(`setsid env -i /bin/sh -c '/bin/sleep 1000 & echo "pid $!"' & wait`)
	s.Output = out.add
	mustStart(t, h, s)
	pid, err := strconv.Atoi(out.await(t, "pid "))
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
		t.Errorf("process %d outlives the host: %v", pid, err)
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}
