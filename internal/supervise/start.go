package supervise

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"procops/internal/launch"
	"procops/internal/proc"
)

// tryStart starts p if it waits and what it depends on is there.
func (s *Supervisor) tryStart(p *process) {
	if p.state != StateWaiting || p.chain.busy() || p.cfg.hosted.inside() && s.upgrade != nil {
		return
	}
	missing := p.unmet()
	switch {
	case missing == nil:
		s.spawn(p)
	case hopeless(missing):
		// The failure itself was settled where it happened: nothing is raised.
		s.giveUp(p, Failure{
			Process: p.name, Command: p.cfg.Command.String(), Code: 1, Time: time.Now(),
			Text: fmt.Sprintf("not started: %q, which it depends on, has been given up", missing.name),
		})
	default:
		p.reason = fmt.Sprintf("waits for %s to be %s", missing.name, missing.condition)
		if missing.leftDown() {
			p.reason += ", which is stopped"
		}
	}
}

// leftDown reports whether a dependency waits for an operator.
func (n *need) leftDown() bool {
	return slices.ContainsFunc(n.on.leaves(), func(q *process) bool { return q.stopped(n.condition) })
}

// hopeless reports whether a dependency will not come true by itself.
func hopeless(n *need) bool {
	return slices.ContainsFunc(n.on.leaves(), func(q *process) bool {
		return q.state == StateFatal && !q.undecided()
	})
}

// spawn starts p in the kernel.
func (s *Supervisor) spawn(p *process) {
	p.runs++
	r, ch, err := s.startChild(p)
	if err != nil {
		s.failed(p, p.cannotStart(err))
		return
	}
	s.enterRun(p, r, ch, TriggerSpawned, "")
	s.awaitReady(p, ch.ready != nil)
}

// enterRun makes r the present run of p.
func (s *Supervisor) enterRun(p *process, r *run, ch channels, t Trigger, reason string) {
	p.started++
	s.attach(p, r, ch)
	s.fire(p, t, reason)
}

// attach makes p hear of the life of r.
func (s *Supervisor) attach(p *process, r *run, ch channels) {
	number := p.runs
	p.run = r
	healthy := p.cfg.HealthyAfter.Std() - time.Since(r.began)
	r.healthy = time.AfterFunc(healthy, func() { s.post(func() { s.healthy(p, number) }) })
	r.watchdog.limit = p.cfg.Watchdog.Std()
	r.listeners = s.listen(p, number, r.child, ch)
	s.workers.Go(func() { s.watch(p, number, r) })
}

// specOf returns by what a run was started that another supervisor has begun, as far
// as that can be known.
func (s *Supervisor) specOf(p *process, pid int) proc.Spec {
	spec, err := p.spec(s.deps)
	if err != nil {
		s.deps.Log.Warn().Err(err).Str("process", p.name).Msg("its checks cannot run as it does")
	}
	if p.cfg.Cgroup != nil {
		spec.Cgroup = s.cgroups.Of(p.name, pid)
	}
	return spec
}

// startChild starts the child, with its channels.
func (s *Supervisor) startChild(p *process) (*run, channels, error) {
	if p.cfg.hosted.inside() {
		return s.serve(p)
	}
	spec, err := p.spec(s.deps)
	if err != nil {
		return nil, channels{}, err
	}
	if spec.Stdin, err = launch.OpenStdin(p.cfg.Stdin); err != nil {
		return nil, channels{}, err
	}
	defer spec.Stdin.Close() //nolint:errcheck // the child has its own; closing none is no harm
	if err := s.confine(p, &spec); err != nil {
		return nil, channels{}, err
	}
	child, ch, err := s.startSpec(p, spec)
	if err != nil {
		_, _ = spec.Cgroup.End() // nothing is in it; what cannot be removed, the next start sees to
		return nil, channels{}, err
	}
	return newRun(child, spec), ch, nil
}

// startSpec starts p's child by spec, with its channels.
func (s *Supervisor) startSpec(p *process, spec proc.Spec) (*proc.Process, channels, error) {
	ch, err := p.openChannels()
	if err != nil {
		return nil, channels{}, err
	}
	ch.each(func(one channel) { one.prepare(&spec) })
	p.cfg.tellWatchdog(&spec)
	child, err := s.deps.Host.Start(spec)
	if err != nil {
		ch.discard()
	}
	return child, ch, err
}

// spec says how p is started; the Env of deps goes into its environment before its own.
func (p *process) spec(deps Deps) (proc.Spec, error) {
	env := append(slices.Clone(deps.Env), "PROCOPS_PROCESS="+p.name)
	if n := p.cfg.which.number; n > 0 {
		env = append(env, "PROCOPS_INSTANCE="+strconv.Itoa(n))
	}
	program := p.cfg.program()
	if p.cfg.hosted.process {
		program.Command = append(proc.Command{deps.Program}, program.Command[1:]...)
	}
	spec, err := program.Spec(env)
	spec.Session, spec.Tied = p.cfg.Session, true
	spec.Output, spec.Lines = p.output.line, p.output.lines
	if p.cfg.Adopt {
		spec.Survive = survivorTag(p.name)
	}
	return spec, err
}

// program is what is started, and with what.
func (c *ProcessConfig) program() launch.Program {
	return launch.Program{Command: c.Command, Settings: c.Settings}
}
