package supervise

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"procops/internal/event"
	"procops/internal/fault"
)

// Plan says what a reload does to the tree.
type Plan struct {
	Added     []string `json:"added"`             // processes that are new
	Removed   []string `json:"removed"`           // processes that are stopped and forgotten
	Restarted []string `json:"restarted"`         // processes that what has changed of them concerns as they run
	Updated   []string `json:"updated"`           // processes and groups that go on, under new rules; keys of the whole tree
	Unchanged int      `json:"unchanged"`         // processes that are not touched
	Ignored   []string `json:"ignored,omitempty"` // keys whose change takes effect with the next supervisor only
}

// Empty reports whether the reload would change nothing.
func (p Plan) Empty() bool {
	return len(p.Added)+len(p.Removed)+len(p.Restarted)+len(p.Updated)+len(p.Ignored) == 0
}

// Reload brings the tree to a new, checked config and touches only what differs.
// It returns what it does when that has begun; with dryRun, what it would do.
// Before anything is touched all that can fail has been done. A process that was
// stopped by hand stays stopped.
func (s *Supervisor) Reload(ctx context.Context, cfg Config, dryRun bool) (Plan, error) {
	return learn(ctx, s, func() (Plan, error) {
		if s.stopping {
			return Plan{}, fault.New(fault.Conflict, "cannot reload: the supervisor is on its way down")
		}
		scale := s.stillScaled(cfg)
		next := cfg.expand(scale)
		plan := s.plan(next)
		if dryRun {
			return plan, nil
		}
		if !plan.Empty() {
			if err := s.apply(next, plan, eventReloaded.New("", reloadData{
				Added: plan.Added, Removed: plan.Removed, Restarted: plan.Restarted, Updated: plan.Updated,
			})); err != nil {
				return plan, err
			}
		}
		s.journal.unscale(lost(s.scale, scale))
		s.declared, s.scale = cfg, scale
		return plan, nil
	})
}

// plan compares the tree with a new config.
func (s *Supervisor) plan(cfg Config) Plan {
	next, before := newTree(cfg, time.Now(), nil), s.before()
	var plan Plan
	for _, p := range next.processes {
		old, known := before.byName[p.name].(*process)
		switch {
		case !known:
			plan.Added = append(plan.Added, p.name)
		case old.leaving || old.cfg.runsOtherwise(p.cfg) || old.awaitsOtherwise(p.cfg):
			plan.Restarted = append(plan.Restarted, p.name)
		case !reflect.DeepEqual(old.cfg, p.cfg):
			plan.Updated = append(plan.Updated, p.name)
		default:
			plan.Unchanged++
		}
	}
	for _, p := range s.tree.processes {
		if _, stays := next.byName[p.name].(*process); !stays {
			plan.Removed = append(plan.Removed, p.name)
		}
	}
	plan.Updated = append(plan.Updated, changedGroups(s.tree, next)...)
	if cfg.ExitWith != s.cfg.ExitWith {
		plan.Updated = append(plan.Updated, "supervise.exit_with")
	}
	if cfg.LogDir != s.cfg.LogDir {
		plan.Ignored = append(plan.Ignored, "supervise.log_dir")
	}
	return plan
}

// changedGroups returns the names of the groups that are not the same in both.
func changedGroups(old, next *tree) (names []string) {
	configs := func(t *tree) map[string]GroupConfig {
		all := map[string]GroupConfig{}
		for _, g := range t.groups {
			all[g.name] = g.cfg
		}
		return all
	}
	before, after := configs(old), configs(next)
	for name, cfg := range after {
		if was, known := before[name]; !known || !reflect.DeepEqual(was, cfg) {
			names = append(names, name)
		}
	}
	for name := range before {
		if _, stays := after[name]; !stays {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// runsOtherwise reports whether a process with the config next would run in
// another way than one with c; what concerns only its start, its end and the
// reactions to it can be changed while it runs.
func (c ProcessConfig) runsOtherwise(next ProcessConfig) bool {
	return !reflect.DeepEqual(c.running(), next.running())
}

// awaitsOtherwise reports whether p is being checked for its readiness, and would
// be in another way with the config next.
func (p *process) awaitsOtherwise(next ProcessConfig) bool {
	return p.state == StateStarting && !reflect.DeepEqual(p.cfg.Ready, next.Ready)
}

// running is the part of the config that a running process depends on.
func (c ProcessConfig) running() ProcessConfig {
	return ProcessConfig{
		Command: c.Command, Settings: c.Settings, Stdin: c.Stdin, Output: c.Output, Session: c.Session, Adopt: c.Adopt,
		Cgroup:   c.Cgroup,
		hosted:   c.hosted,
		which:    c.which,                                             // it is told
		Ready:    ReadyConfig{Notify: c.Ready.Notify, FD: c.Ready.FD}, // what it has got to speak with
		Watchdog: c.Watchdog,                                          // it was told
	}
}

// before returns the tree with those that are on their way out of it: one that
// comes back before it is gone is the same process.
func (s *Supervisor) before() *tree {
	t := *s.tree
	t.byName = maps.Clone(t.byName)
	for _, p := range s.leaving {
		t.byName[p.name] = p
	}
	return &t
}

// apply makes cfg the config of the tree, and emits the news of it.
func (s *Supervisor) apply(cfg Config, plan Plan, news ...event.Event) error {
	outputs, err := s.newOutputs(cfg, plan.Added)
	if err != nil {
		return err
	}
	old := s.tree
	s.tree = newTree(cfg, time.Now(), s.before())
	s.cfg = cfg
	s.regroup(old)
	var halted []*process
	for _, name := range plan.Removed {
		if p, ok := old.byName[name].(*process); ok {
			halted = append(halted, s.leave(p))
		}
	}
	for _, p := range s.tree.processes {
		switch {
		case outputs[p.name] != nil:
			p.output = outputs[p.name]
			s.startWanted(p)
		case slices.Contains(plan.Restarted, p.name):
			halted = append(halted, s.renew(p, cfg.Process[p.name]))
		default:
			s.update(p, cfg.Process[p.name])
		}
	}
	for _, e := range news {
		s.journal.emit(e)
	}
	s.halt(halted)
	for _, p := range s.tree.processes {
		s.soon(func() { s.tryStart(p) }) // it may depend on something else now
	}
	for _, g := range s.tree.groups {
		if len(g.restarting) > 0 {
			s.soon(func() { s.groupChanged(g) }) // what it waited for may have left it
		}
	}
	return nil
}

// regroup drops what groups were about to do that are not there any more, or
// with processes that are not theirs any more.
func (s *Supervisor) regroup(old *tree) {
	for _, g := range old.groups {
		if s.tree.byName[g.name] != node(g) {
			g.reset()
			continue
		}
		members := g.leaves()
		g.restarting = slices.DeleteFunc(g.restarting, func(p *process) bool { return !slices.Contains(members, p) })
		g.passed = false
	}
}

// newOutputs opens the log files of new processes; all of them, or none.
func (s *Supervisor) newOutputs(cfg Config, names []string) (map[string]*output, error) {
	outputs := map[string]*output{}
	for _, name := range names {
		o, err := newOutput(name, cfg.Process[name].Output, s.deps)
		if err != nil {
			for _, opened := range outputs {
				_ = opened.close(s.ctx) // nothing was written yet
			}
			return nil, err
		}
		outputs[name] = o
	}
	return outputs, nil
}

// update gives p a new config that does not concern how it runs.
func (s *Supervisor) update(p *process, cfg ProcessConfig) {
	before, alive := p.wanted, p.cfg.Alive
	p.take(cfg)
	if p.state == StateRunning && !reflect.DeepEqual(alive, cfg.Alive) {
		s.watchLife(p)
	}
	if p.wanted && !before && p.state == StateStopped {
		s.startWanted(p)
	}
}

func (p *process) take(cfg ProcessConfig) {
	p.cfg = cfg
	if !p.byHand && !p.byChain {
		p.wanted = cfg.Autostart
	}
}

// renew prepares p, which is to be halted, for its start with a new config.
func (s *Supervisor) renew(p *process, cfg ProcessConfig) *process {
	p.next = &cfg
	if p.leaving {
		p.leaving = false
		s.leaving = slices.DeleteFunc(s.leaving, func(q *process) bool { return q == p })
	}
	return p
}

// renewed gives p, which is at rest, its new config and starts it if it is
// wanted.
func (s *Supervisor) renewed(p *process) {
	s.adopt(p)
	p.again, p.halt = false, false
	s.startWanted(p)
}

// adopt makes the config that p waits for its own, if there is one.
func (s *Supervisor) adopt(p *process) {
	if p.next == nil {
		return
	}
	cfg := *p.next
	p.next = nil
	if !reflect.DeepEqual(p.cfg.Output, cfg.Output) {
		s.changeOutput(p, cfg.Output)
	}
	p.take(cfg)
	p.streak, p.orders = 0, 0
	p.chain.reset()
}

func (s *Supervisor) startWanted(p *process) {
	if p.wanted && p.state.AtRest() {
		s.fire(p, TriggerStart, "")
	}
}

// changeOutput closes the log file of a process that is at rest and opens the
// new one. If that fails it goes on without: a log is no reason to stay down.
func (s *Supervisor) changeOutput(p *process, cfg OutputConfig) {
	ctx, cancel := context.WithTimeout(s.ctx, time.Second)
	defer cancel()
	if err := p.output.close(ctx); err != nil {
		s.deps.Log.Warn().Err(err).Str("process", p.name).Msg("cannot finish the log file")
	}
	o, err := newOutput(p.name, cfg, s.deps)
	if err != nil {
		s.deps.Log.Error().Err(err).Str("process", p.name).Msg("cannot open the log file; its output is not kept")
		cfg.File = noFile
		o, _ = newOutput(p.name, cfg, s.deps) // without a file nothing can fail
	}
	o.audience = p.output.audience
	p.output = o
}

// leave prepares a process that is not in the config any more, and is to be
// halted, for being forgotten.
func (s *Supervisor) leave(p *process) *process {
	if p.byHand {
		s.journal.unwant(p.name) // it may come back before it has gone
	}
	p.again, p.next, p.wanted, p.byHand, p.leaving = false, nil, false, false, true
	p.parent = nil
	s.leaving = append(s.leaving, p)
	return p
}

// left forgets a process that has left the tree and is at rest.
func (s *Supervisor) left(p *process) {
	i := slices.Index(s.leaving, p)
	if i < 0 {
		return
	}
	s.leaving = slices.Delete(s.leaving, i, i+1)
	s.failures = slices.DeleteFunc(s.failures, func(f Failure) bool { return f.Process == p.name })
	s.journal.forget(p.name)
	s.workers.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := p.output.close(ctx); err != nil {
			s.deps.Log.Warn().Err(fmt.Errorf("cannot finish the log file: %w", err)).Str("process", p.name).Msg("a process has left")
		}
	})
}

// everything returns the processes of the tree and those on their way out.
func (s *Supervisor) everything() []*process {
	return slices.Concat(s.tree.processes, s.leaving)
}

// known returns the names of all nodes, sorted.
func (t *tree) known() []string { return slices.Sorted(maps.Keys(t.byName)) }
