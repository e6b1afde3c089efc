package supervise

import (
	"fmt"
	"slices"
	"time"
)

// retry starts p again after its backoff, and with it those of its siblings
// that the group's strategy names, unless the group's children are restarted
// too often.
func (s *Supervisor) retry(p *process, f Failure) {
	g := p.ruler()
	if g == nil {
		s.fire(p, TriggerRetry, f.Text)
		return
	}
	if g.tooOften(time.Now()) {
		s.giveUp(p, f)
		s.overwhelmed(g, f)
		return
	}
	s.fire(p, TriggerRetry, f.Text)
	if together := g.affected(p); len(together) > 1 {
		s.restart(g, together, f, time.Until(p.due))
	}
}

// tooOften counts a restart of a child and reports whether there were more than
// the group allows.
func (g *group) tooOften(now time.Time) bool {
	if g.cfg.MaxRestarts == 0 {
		return false
	}
	g.restarts = slices.DeleteFunc(g.restarts, func(at time.Time) bool { return now.Sub(at) > g.cfg.Within.Std() })
	g.restarts = append(g.restarts, now)
	return len(g.restarts) > g.cfg.MaxRestarts
}

// overwhelmed deals with a group whose children are restarted too often: all of
// it is brought to rest and has failed.
func (s *Supervisor) overwhelmed(g *group, f Failure) {
	g.restarts = nil
	for _, inner := range append(g.inner(), g) {
		inner.reset()
	}
	all := g.leaves()
	for _, p := range all {
		p.again = false
	}
	s.halt(all)
	f.passed, f.good = false, false
	f.Text = fmt.Sprintf("%s (more than %d restarts of the group %q within %s)", f.Text, g.cfg.MaxRestarts, g.name, g.cfg.Within)
	s.raise(g, f)
}

// groupFailed deals with a failure that the group's own chain has not settled:
// the group above restarts it, if it is to be restarted, or has the failure.
func (s *Supervisor) groupFailed(g *group, f Failure) {
	above := g.parent
	if above == nil || !g.cfg.Restart.afterFailure() {
		s.raise(above, f)
		return
	}
	if above.tooOften(time.Now()) {
		s.overwhelmed(above, f)
		return
	}
	g.streak++
	s.restart(above, above.affected(g), f, g.cfg.Backoff.Delay(g.streak))
}

// affected returns the processes that are restarted when a child of g is.
func (g *group) affected(child node) (list []*process) {
	members := g.members()
	from := slices.Index(members, child)
	to := from + 1
	if g.cfg.Strategy == RestForOne || g.cfg.Strategy == OneForAll {
		to = len(members)
	}
	if g.cfg.Strategy == OneForAll {
		from = 0
	}
	for _, c := range members[from:to] {
		list = append(list, c.leaves()...)
	}
	return list
}

// members returns the children of g, with instances as if they were children
// themselves: how many of a process there are changes no rules.
func (g *group) members() (list []node) {
	for _, c := range g.children {
		if in, ok := c.(*group); ok && in.cfg.instances {
			list = append(list, in.children...)
		} else {
			list = append(list, c)
		}
	}
	return list
}

// ruler returns the group by whose rules p is restarted, nil at the top.
func (p *process) ruler() *group {
	if p.parent != nil && p.parent.cfg.instances {
		return p.parent.parent
	}
	return p.parent
}

// restartAll is what a retry link of a group does.
func (s *Supervisor) restartAll(g *group, f Failure) {
	s.restart(g, g.leaves(), f, g.cfg.Backoff.Delay(g.chain.attempts()))
}

// restart brings processes of g to rest, in order, and starts them again when
// they are and the delay is over. A restart under way becomes part of it. While
// the tree is on its way down nothing is restarted.
func (s *Supervisor) restart(g *group, list []*process, f Failure, delay time.Duration) {
	if s.stopping {
		return
	}
	s.journal.emit(eventGroupRestart.New(g.name, groupData{Members: processNames(list), Process: f.Process, Delay: seconds(delay)}))
	for _, inner := range g.inner() {
		if slices.ContainsFunc(inner.leaves(), func(p *process) bool { return slices.Contains(list, p) }) {
			list = union(list, inner.restarting)
			inner.reset() // what it was about to do is part of this restart now
		}
	}
	g.restarting = union(list, g.restarting)
	stopTimer(&g.timer)
	var timer *time.Timer
	timer = time.AfterFunc(delay, func() {
		s.post(func() {
			if g.timer == timer { // and not that of a later restart
				g.timer = nil
				s.groupChanged(g)
			}
		})
	})
	g.timer = timer
	var running []*process
	for _, p := range g.restarting {
		p.again = false
		if p.state == StateBackoff {
			stopTimer(&p.timer) // its delay is the group's now
		} else {
			running = append(running, p)
		}
	}
	s.halt(running)
}

// union returns the processes of both lists, in order of the first.
func union(a, b []*process) []*process {
	return append(slices.Clone(a), slices.DeleteFunc(slices.Clone(b), func(p *process) bool { return slices.Contains(a, p) })...)
}

// walkGroup walks along a chain of g. While a command of an earlier walk runs it
// waits: a handler is not cut short because another process fails meanwhile.
func (s *Supervisor) walkGroup(g *group, links []LinkConfig, f Failure, done func(verdict, Failure)) {
	if g.chain.busy() {
		g.waiting = append(g.waiting, func() { s.walkGroup(g, links, f, done) })
		return
	}
	f.Group = g.name
	s.walk(&g.chain, links, f, func(v verdict, f Failure) {
		done(v, f)
		for len(g.waiting) > 0 && !g.chain.busy() {
			next := g.waiting[0]
			g.waiting = g.waiting[1:]
			next()
		}
	})
}

// reset drops what the group was about to do.
func (g *group) reset() {
	g.waiting = nil
	g.chain.stop()
	stopTimer(&g.timer)
	g.restarting = nil
}

// inner returns the groups below g.
func (g *group) inner() []*group {
	var all []*group
	for _, c := range g.children {
		if in, ok := c.(*group); ok {
			all = append(append(all, in), in.inner()...)
		}
	}
	return all
}

// underRestart reports whether p is being restarted together with others.
func (p *process) underRestart() bool {
	return slices.ContainsFunc(p.above(), func(g *group) bool { return slices.Contains(g.restarting, p) })
}

// undecided reports whether a group above p may still start it again: its chain
// runs a command, or it is restarting p.
func (p *process) undecided() bool {
	return p.underRestart() || slices.ContainsFunc(p.above(), func(g *group) bool { return g.chain.busy() })
}

// groupSettled lets those that depend on what g has given up know that nothing
// above will start it again.
func (s *Supervisor) groupSettled(g *group) {
	for _, p := range g.leaves() {
		if p.state == StateFatal {
			s.soon(func() { s.spread(p) })
		}
	}
}

// withdraw takes p, which an operator has given an order, out of what its groups
// are about to start.
func (p *process) withdraw() {
	for _, g := range p.above() {
		g.restarting = slices.DeleteFunc(g.restarting, func(q *process) bool { return q == p })
	}
}

// groupChanged looks whether processes of a group that are being restarted have
// come to rest and may start, and whether all of a group has ended well.
func (s *Supervisor) groupChanged(g *group) {
	switch {
	case s.stopping:
	case len(g.restarting) > 0:
		s.startAgain(g)
	case !g.passed && g.satisfies(ConditionCompleted):
		g.passed = true
		s.groupPassed(g)
	}
}

func (s *Supervisor) startAgain(g *group) {
	resting := func(p *process) bool { return p.state.AtRest() || p.state == StateBackoff }
	if g.timer != nil || slices.ContainsFunc(g.restarting, func(p *process) bool { return !resting(p) }) {
		return
	}
	list := g.restarting
	g.restarting, g.passed = nil, false
	for _, p := range list {
		p.halt = false
		s.adopt(p)
		switch {
		case p.state == StateBackoff:
			s.fire(p, TriggerDue, "")
		case p.wanted:
			s.fire(p, TriggerStart, "")
		}
	}
}

// groupPassed runs the chain of a group whose processes have all ended well.
func (s *Supervisor) groupPassed(g *group) {
	f := Failure{Process: g.name, Text: "all of the group has ended well", Time: time.Now(), good: true}
	s.walkGroup(g, g.cfg.OnPass, f, func(v verdict, f Failure) {
		switch v {
		case verdictRetry:
			s.restartAll(g, f)
		case verdictRaise:
			f.Code = 1
			s.failures = append(s.failures, f)
			s.groupFailed(g, f)
		case verdictOpen, verdictSettled:
			if g.cfg.Restart == RestartAlways {
				s.groupFailed(g, f)
			}
		}
	})
}
