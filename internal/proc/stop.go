package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// killPatience is how long Stop waits after SIGKILL. A process that needs longer
// is stuck in the kernel, usually on a file system that does not answer.
const killPatience = 10 * time.Second

// zombieLook is how often Stop looks whether only zombies are left that nobody
// waits for.
const zombieLook = 100 * time.Millisecond

// Ladder is how a process is asked to end: the steps in turn, and SIGKILL after
// the last. The zero Ladder is SIGKILL at once.
type Ladder struct {
	Steps []Step
	// Until, when set, is asked when the time of a step is over: a later moment
	// that it returns lengthens the step. It is called from the goroutine of Stop.
	Until func() time.Time
}

// Step is a signal to the whole group and how long it has to end then.
type Step struct {
	Signal Signal
	Wait   time.Duration
}

// Stop ends the whole group, also when its leader has ended already, and returns
// when the process is Gone. A cancelled ctx means hurry: SIGKILL at once. The error
// says that something of it still runs ten seconds after SIGKILL.
func (p *Process) Stop(ctx context.Context, l Ladder) error {
	p.reaper.stopBegins()
	defer p.reaper.stopEnds()
	for _, step := range l.Steps {
		if ctx.Err() != nil {
			break
		}
		if p.climb(ctx, step, l.Until) {
			return nil
		}
	}
	return p.kill()
}

// climb takes one step and reports whether the process is gone.
func (p *Process) climb(ctx context.Context, step Step, until func() time.Time) bool {
	if err := p.request(step.Signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return false
	}
	timer := time.NewTimer(step.Wait)
	defer timer.Stop()
	again := time.NewTicker(zombieLook)
	defer again.Stop()
	for {
		select {
		case <-p.gone:
			return true
		case <-again.C:
			p.dismissZombies() // they would be waited for until the step is over, and sent SIGKILL
		case <-timer.C:
			if until == nil {
				return false
			}
			rest := time.Until(until())
			if rest <= 0 {
				return false
			}
			timer.Reset(rest)
		case <-ctx.Done():
			return false
		}
	}
}

// request sends the signal, and SIGCONT after it: a stopped process would not
// see it.
func (p *Process) request(s Signal) error {
	if err := p.SignalGroup(s); err != nil {
		return err
	}
	if err := p.SignalGroup(Signal(syscall.SIGCONT)); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// kill sends SIGKILL until nothing is left.
func (p *Process) kill() error {
	patience := time.NewTimer(killPatience)
	defer patience.Stop()
	again := time.NewTicker(zombieLook)
	defer again.Stop()
	for {
		err := p.SignalGroup(Signal(syscall.SIGKILL))
		select {
		case <-p.gone:
			return nil
		case <-again.C:
			p.dismissZombies()
		case <-patience.C:
			if err != nil && !errors.Is(err, os.ErrProcessDone) {
				return err
			}
			return fmt.Errorf("cannot stop %q (pid %d): it still runs %v after SIGKILL", p.name, p.PID(), killPatience)
		}
	}
}

// dismissZombies takes a leaderless group for empty when all its members have
// ended and wait for a parent outside the group that does not reap them.
func (p *Process) dismissZombies() {
	p.reaper.mu.Lock()
	defer p.reaper.mu.Unlock()
	if p.look() || !p.group.reaped || groupMembers(p.PID()) > 0 {
		return
	}
	p.emptied()
}
