package supervise

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"procops/internal/proc"
)

// tryStart starts p if it waits and what it depends on is there.
func (s *Supervisor) tryStart(p *process) {
	if p.state != StateWaiting || p.chain.busy() {
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
	number := p.runs
	child, ch, err := s.startChild(p)
	if err != nil {
		s.failed(p, p.cannotStart(err))
		return
	}
	p.started++
	p.run = newRun(child)
	p.run.healthy = time.AfterFunc(p.cfg.HealthyAfter.Std(), func() { s.post(func() { s.healthy(p, number) }) })
	s.workers.Go(func() { s.watch(p, number, child, ch) })
	s.fire(p, TriggerSpawned, "")
	s.awaitReady(p, ch != nil)
}

// startChild starts the child, with the channel by which it says that it is
// ready, nil if it need not say so.
func (s *Supervisor) startChild(p *process) (*proc.Process, channel, error) {
	spec, err := p.spec(s.deps.Env)
	if err != nil {
		return nil, nil, err
	}
	ch, err := p.openChannel()
	if err != nil {
		return nil, nil, err
	}
	if ch != nil {
		ch.prepare(&spec)
	}
	child, err := s.deps.Host.Start(spec)
	if err != nil && ch != nil {
		ch.discard()
	}
	return child, ch, err
}

// spec says how p is started; env goes into its environment before its own.
func (p *process) spec(env []string) (proc.Spec, error) {
	spec := proc.Spec{
		Argv:    p.cfg.Command,
		Dir:     p.cfg.Dir,
		Session: p.cfg.Session,
		Output:  p.output.line,
		Umask:   p.cfg.Umask,
		Nice:    p.cfg.Nice,
		Limits:  p.cfg.Limits.limits(),
	}
	env = append(slices.Clone(env), "PROCOPS_PROCESS="+p.name)
	if p.cfg.User != "" || p.cfg.Group != "" {
		user, err := proc.LookupUser(p.cfg.User, p.cfg.Group)
		if err != nil {
			return spec, err
		}
		spec.User = user
		env = append(env, user.Env()...)
	}
	for name, value := range p.cfg.Env {
		env = append(env, name+"="+value)
	}
	spec.Env = mergeEnv(env)
	return spec, nil
}

// mergeEnv returns the environment of procops with changes; each name stands
// in it once, because programs differ in which of two they believe. What the
// service manager above procops has told procops about its readiness and
// watchdog is not for others.
func mergeEnv(changes []string) []string {
	merged := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains([]string{"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"}, name)
	})
	for _, change := range changes {
		name, _, _ := strings.Cut(change, "=")
		merged = slices.DeleteFunc(merged, func(v string) bool { return strings.HasPrefix(v, name+"=") })
	}
	return append(merged, changes...)
}

// watch brings what a run says, and its end, to the loop.
func (s *Supervisor) watch(p *process, number int, child *proc.Process, ch channel) {
	finish := s.listen(p, number, child, ch)
	select {
	case <-child.Exited():
		s.post(func() { s.exited(p, number) })
	case <-s.done: // it cannot be ended: see stuck
	}
	select {
	case <-child.Gone():
	case <-s.done:
	}
	finish() // the last words come before the end
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
	failed := r.failure != "" || exit.Signal != 0 || !slices.Contains(p.cfg.SuccessCodes, exit.Code)
	if r.failure != "" {
		f.Text, f.Code = r.failure, max(1, f.Code)
	}
	if failed && r.said.Errno != 0 {
		f.Text += fmt.Sprintf("; it reported the error %d (%s)", r.said.Errno, syscall.Errno(r.said.Errno))
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
	end := Failure{Process: p.name, Command: p.cfg.Command.String(), Text: p.lastExit.Text, Time: p.lastExit.Time}
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
			s.shutdown()
		}
		return
	}
	if s.stopping {
		return // its children are being stopped anyway
	}
	s.walk(&g.chain, g.cfg.OnFail, f, func(v verdict, f Failure) {
		switch v {
		case verdictRetry:
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
	p.streak = 0
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
	s.workers.Go(func() {
		if err := s.stopRun(p.name, p.cfg.Stop, r, first); err != nil {
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
	if first && len(cfg.Command) > 0 {
		s.stopCommand(name, cfg, r.child)
		ladder.Steps[0].Signal = 0 // only wait
	}
	return r.child.Stop(s.ctx, ladder)
}

// stopCommand runs the command that replaces the first signal.
func (s *Supervisor) stopCommand(name string, cfg StopConfig, child *proc.Process) {
	ctx, cancel := context.WithTimeout(s.ctx, cfg.Grace.Std())
	defer cancel()
	argv := slices.Clone(cfg.Command)
	for i := range argv {
		argv[i] = strings.ReplaceAll(argv[i], "{{pid}}", strconv.Itoa(child.PID()))
	}
	s.exec(ctx, "to stop "+name, argv, []string{"PROCOPS_PROCESS=" + name, "PROCOPS_PID=" + strconv.Itoa(child.PID())}, nil)
}

// ladder turns the config into the signals and times of proc.
func (c StopConfig) ladder() proc.Ladder {
	steps := []proc.Step{{Signal: c.Signal, Wait: c.Grace.Std()}}
	for _, sig := range c.Then {
		steps = append(steps, proc.Step{Signal: sig, Wait: c.Grace.Std()})
	}
	return proc.Ladder{Steps: steps}
}

// limits turns the config into the limits of proc.
func (c LimitsConfig) limits() proc.Limits {
	limit := func(n uint64) *uint64 {
		if n == 0 {
			return nil
		}
		return &n
	}
	l := proc.Limits{
		Memory:  limit(uint64(c.Memory)),
		Files:   limit(uint64(c.Files)),
		Procs:   limit(uint64(c.Procs)),
		CPUTime: limit(uint64(math.Ceil(c.CPUTime.Std().Seconds()))),
	}
	if c.Core != nil {
		core := uint64(*c.Core)
		l.Core = &core
	}
	return l
}
