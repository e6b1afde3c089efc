package supervise

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"procops/internal/proc"
)

// halt brings the processes to rest in reverse order of start; each as soon as
// nothing that needs it and is to stop as well still runs.
func (s *Supervisor) halt(list []*process) {
	for _, p := range list {
		p.halt = true
	}
	for _, p := range slices.Backward(list) {
		s.tryHalt(p)
	}
}

func (s *Supervisor) tryHalt(p *process) {
	switch {
	case !p.halt || p.state == StateStopping:
	case p.state.AtRest():
		s.soon(func() { s.spread(p) })
	case !p.held():
		p.chain.stop()
		s.fire(p, TriggerStop, "")
		if p.run == nil && p.state == StateStopping {
			s.fire(p, TriggerGone, "") // its end had come already and was being dealt with
		}
	}
}

// endRun ends what runs of p by its stop ladder. When the tree is told to
// hurry the ladder is cut short with SIGKILL.
func (s *Supervisor) endRun(p *process) {
	r := p.run
	if r == nil || r.ladder {
		return
	}
	r.ladder = true
	r.rest()
	select {
	case <-r.child.Gone():
		return // the common case: it has ended and left nobody behind
	default:
	}
	first := !r.exited
	cfg := p.cfg.Stop // a reload may change p's
	s.workers.Go(func() {
		if err := s.stopRun(p.name, cfg, r, first); err != nil {
			s.post(func() { s.stuck(p, r, err) })
		}
	})
}

// stuck deals with a run that SIGKILL does not end: it hangs in the kernel,
// usually on a file system that does not answer. It is not started again, since
// that would make two of it, but it does not keep the rest from going down.
func (s *Supervisor) stuck(p *process, r *run, err error) {
	if p.run != r {
		return
	}
	r.stuck = true
	p.reason = err.Error()
	s.deps.Log.Error().Err(err).Str("process", p.name).Msg("a process cannot be ended")
	s.failures = append(s.failures, Failure{
		Process: p.name, Command: p.cfg.Command.String(), PID: r.child.PID(), Code: 1, Text: err.Error(), Time: time.Now(),
	})
	for _, n := range p.needs {
		for _, q := range n.on.leaves() {
			s.tryHalt(q)
		}
	}
}

func (s *Supervisor) stopRun(name string, cfg StopConfig, r *run, first bool) error {
	ladder := cfg.ladder()
	ladder.Until = r.until
	switch {
	case !first:
	case r.signal != 0:
		ladder.Steps[0].Signal = r.signal
	case len(cfg.Command) > 0:
		s.stopCommand(name, cfg, r.child)
		ladder.Steps[0].Signal = 0 // only wait
	}
	return r.child.Stop(s.ctx, ladder)
}

// stopCommand runs the command that replaces the first signal.
func (s *Supervisor) stopCommand(name string, cfg StopConfig, child child) {
	ctx, cancel := context.WithTimeout(s.ctx, cfg.Grace.Std())
	defer cancel()
	argv := slices.Clone(cfg.Command)
	for i := range argv {
		argv[i] = strings.ReplaceAll(argv[i], "{{pid}}", strconv.Itoa(child.PID()))
	}
	err := s.exec(ctx, "to stop "+name, argv, []string{"PROCOPS_PROCESS=" + name, "PROCOPS_PID=" + strconv.Itoa(child.PID())}, nil)
	if err != nil {
		s.deps.Log.Warn().Err(err).Str("process", name).Msg("the command that stops a process has failed")
	}
}

// ladder turns the config into the signals and times of proc.
func (c StopConfig) ladder() proc.Ladder {
	steps := []proc.Step{{Signal: c.Signal, Wait: c.Grace.Std()}}
	for _, sig := range c.Then {
		steps = append(steps, proc.Step{Signal: sig, Wait: c.Grace.Std()})
	}
	return proc.Ladder{Steps: steps}
}
