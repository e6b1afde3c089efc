package integration

import (
	"syscall"
	"testing"

	"procops/integration/harness"
)

// TestUnheardReadiness: a process that outlives its supervisor, and may have told it
// that it is ready when that could not record it any more, is started again. It would
// not say so twice.
func TestUnheardReadiness(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config(`
[supervise.process.web]
command = '[ -e before ] && again=1; echo $$ >before; [ -n "$again" ] && echo up; exec sleep 1000'
ready.log = '^up$'
adopt = true
`)
	p := s.Start("supervise", "run")
	s.WaitFile("before")
	harness.Eventually(t, "it is recorded that web starts", func() bool { return statusOf(t, s)["web"].State == "starting" })
	before := s.ReadFile("before")
	p.Signal(syscall.SIGKILL)
	p.WantExit(137)

	p = s.Start("supervise", "run")
	p.WaitLine(`^web +\* ready$`)
	if s.ReadFile("before") == before {
		t.Error("web is ready, and was not started again")
	}
	p.Signal(syscall.SIGTERM)
	p.WantExit(0)
	wantNothing(t, s)
}
