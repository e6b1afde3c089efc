package supervise

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"
	"time"

	"procops/internal/proc"
)

// watch brings what a run says, and its end, to the loop.
func (s *Supervisor) watch(p *process, number int, r *run) {
	child, finish := r.child, r.listeners.finish
	select {
	case <-child.Exited():
		s.post(func() { s.exited(p, number) })
	case <-s.done: // it cannot be ended: see stuck
	}
	select {
	case <-child.Gone():
	case <-s.done:
		finish()
		return
	}
	finish() // the last words come before the end
	if err := s.endCgroup(p.name, r); err != nil {
		s.post(func() { s.stuck(p, r, err) })
		return
	}
	s.post(func() { s.gone(p, number) })
}

// exited deals with the end of the leader.
func (s *Supervisor) exited(p *process, number int) {
	if p.runs != number || p.run == nil {
		return
	}
	p.run.exited = true
	p.run.rest()
	s.fire(p, TriggerExited, "")
}

// gone deals with the end of a run: nothing of its process group is left and
// its output has been read.
func (s *Supervisor) gone(p *process, number int) {
	if p.runs != number || p.run == nil {
		return
	}
	ended := p.run
	p.run = nil
	failure, failed := p.judge(ended)
	s.journal.exited(p, ended, failure, p.state == StateStopping || !failed)
	switch {
	case p.state == StateStopping:
		s.fire(p, TriggerGone, "")
	case failed:
		s.failed(p, failure)
	default:
		s.passed(p)
	}
}

// judge says whether a run that has ended was a failure.
func (p *process) judge(r *run) (Failure, bool) {
	exit := r.child.Exit()
	if r.failure == "" {
		r.failure = failureOf(r.child)
	}
	f := Failure{
		Process: p.name, Command: p.cfg.Command.String(), PID: r.child.PID(),
		Code: exit.ShellCode(), Text: exit.Text(), Time: time.Now(),
	}
	tail := p.output.tail.Load()
	f.Stdout, f.Stderr = tail.Text(proc.Stdout), tail.Text(proc.Stderr)
	p.lastExit = &ExitStatus{Code: f.Code, Text: f.Text, Time: f.Time}
	if exit.Signal != 0 {
		p.lastExit.Signal = proc.Signal(exit.Signal).String()
	}
	failed := r.failure != "" || exit.Signal != 0 || exit.Unknown || !slices.Contains(p.cfg.SuccessCodes, exit.Code)
	if r.failure != "" {
		f.Text = r.failure
	}
	if r.failure != "" || exit.Unknown {
		f.Code = max(1, f.Code)
	}
	if failed && r.said.Errno != 0 {
		f.Text += fmt.Sprintf("; it reported the error %d (%s)", r.said.Errno, syscall.Errno(r.said.Errno))
	}
	if failed {
		why := p.cfg.Cgroup.outOfMemory(r.oomKills)
		f.Text, p.lastExit.Text = f.Text+why, p.lastExit.Text+why
	}
	return f, failed
}

// cannotStart is the failure of a process that the kernel or procops refused
// to start, with the codes that shells use.
func (p *process) cannotStart(err error) Failure {
	code := 126
	if errors.Is(err, fs.ErrNotExist) {
		code = 127
	}
	p.lastExit = &ExitStatus{Code: code, Text: err.Error(), Time: time.Now()}
	return Failure{
		Process: p.name, Command: p.cfg.Command.String(),
		Code: code, Text: err.Error(), Time: time.Now(),
	}
}

// passed deals with a good end of p.
func (s *Supervisor) passed(p *process) {
	end := Failure{Process: p.name, Command: p.cfg.Command.String(), Text: p.lastExit.Text, Time: p.lastExit.Time, good: true}
	if p.cfg.Restart == RestartAlways {
		s.retry(p, end)
		return
	}
	s.walk(&p.chain, p.cfg.OnPass, end, func(v verdict, f Failure) {
		switch v {
		case verdictRetry:
			s.retry(p, f)
		case verdictRaise:
			f.Code, f.passed = p.lastExit.Code, true
			s.fire(p, TriggerComplete, "")
			s.raise(p.parent, f)
		case verdictOpen, verdictSettled:
			s.fire(p, TriggerComplete, "")
		}
	})
}

// failed deals with a failure of p: its restart policy first, its chain next,
// then its parent.
func (s *Supervisor) failed(p *process, f Failure) {
	if p.cfg.Restart.afterFailure() && (p.cfg.MaxRestarts == 0 || p.streak < p.cfg.MaxRestarts) {
		s.retry(p, f)
		return
	}
	s.walk(&p.chain, p.cfg.OnFail, f, func(v verdict, f Failure) {
		if v == verdictRetry {
			s.retry(p, f)
			return
		}
		s.giveUp(p, f)
		if v != verdictSettled {
			s.raise(p.parent, f)
		}
	})
}

func (s *Supervisor) giveUp(p *process, f Failure) {
	s.failures = append(s.failures, f)
	s.fire(p, TriggerGiveUp, f.Text)
}

// raise hands a failure to a group; nil is the top, where it ends supervision.
func (s *Supervisor) raise(g *group, f Failure) {
	if g == nil {
		if f.passed {
			s.failures = append(s.failures, f)
		} else {
			s.journal.emit(eventFailed.New(f.Process, failedData{Command: f.Command, Code: f.Code, Text: f.Text}))
		}
		if !s.stopping {
			s.outvoted = !s.decidedBy(f.Process)
			s.shutdown()
		}
		return
	}
	if s.stopping {
		return // its children are being stopped anyway
	}
	s.walkGroup(g, g.cfg.OnFail, f, func(v verdict, f Failure) {
		switch v {
		case verdictRetry:
			g.waiting = nil // what else has failed is started again with the rest
			s.restartAll(g, f)
		case verdictOpen, verdictRaise:
			s.groupFailed(g, f)
		case verdictSettled:
			s.groupSettled(g)
		}
	})
}

// healthy forgets the restarts of p, which has run for healthy_after, and
// those of the groups above it whose processes all have.
func (s *Supervisor) healthy(p *process, number int) {
	if p.runs != number || p.run == nil || !p.state.Up() {
		return
	}
	p.streak, p.orders = 0, 0
	p.chain.reset()
	for _, g := range p.above() {
		if !slices.ContainsFunc(g.leaves(), func(q *process) bool { return !q.isHealthy() }) {
			g.chain.reset()
			g.streak = 0
		}
	}
}

func (p *process) isHealthy() bool {
	if p.run == nil {
		return p.state == StateCompleted || p.state == StateStopped
	}
	return p.state.Up() && time.Since(p.run.began) >= p.cfg.HealthyAfter.Std()
}
