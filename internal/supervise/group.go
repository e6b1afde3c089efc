package supervise

import (
	"slices"
	"time"
)

// restartGroup brings all processes of g to rest, in order, and starts them
// again when they are and the group's backoff is over.
func (s *Supervisor) restartGroup(g *group, f Failure) {
	attempt := g.chain.attempts()
	delay := g.cfg.Backoff.delay(attempt)
	s.journal.emit(eventGroupRestart.New(g.name, groupData{Attempt: attempt, Process: f.Process, Delay: seconds(delay)}))
	for _, inner := range g.inner() {
		inner.reset() // what they were about to do is part of this restart now
	}
	g.restarting = true
	all := g.leaves()
	for _, p := range all {
		p.again = false
	}
	s.halt(all)
	g.timer = time.AfterFunc(delay, func() {
		s.post(func() { g.timer = nil; s.groupChanged(g) })
	})
}

// reset drops what the group was about to do.
func (g *group) reset() {
	g.chain.stop()
	stopTimer(&g.timer)
	g.restarting = false
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

// underRestart reports whether g, or a group above it, is being restarted.
func (g *group) underRestart() bool {
	for ; g != nil; g = g.parent {
		if g.restarting {
			return true
		}
	}
	return false
}

// undecided reports whether g, or a group above it, may still start its
// processes again: its chain runs a command, or it is being restarted.
func (g *group) undecided() bool {
	for ; g != nil; g = g.parent {
		if g.restarting || g.chain.busy() {
			return true
		}
	}
	return false
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

// groupChanged looks whether a group that is being restarted has come to rest
// and may start, and whether all of a group has ended well.
func (s *Supervisor) groupChanged(g *group) {
	switch {
	case s.stopping:
	case g.restarting:
		s.startGroup(g)
	case !g.passed && g.satisfies(ConditionCompleted):
		g.passed = true
		s.groupPassed(g)
	}
}

func (s *Supervisor) startGroup(g *group) {
	if g.timer != nil {
		return // its backoff is not over
	}
	all := g.leaves()
	// One that an operator has started meanwhile is not waited for.
	if slices.ContainsFunc(all, func(p *process) bool { return p.halt && !p.state.AtRest() }) {
		return
	}
	g.restarting, g.passed = false, false
	for _, p := range all {
		p.halt = false
		if p.wanted {
			s.fire(p, TriggerStart, "")
		}
	}
}

// groupPassed runs the chain of a group whose processes have all ended well.
func (s *Supervisor) groupPassed(g *group) {
	f := Failure{Process: g.name, Text: "all of the group has ended well"}
	s.walk(&g.chain, g.cfg.OnPass, f, func(v verdict, f Failure) {
		switch v {
		case verdictRetry:
			s.restartGroup(g, f)
		case verdictRaise:
			f.Code = 1
			s.failures = append(s.failures, f)
			s.raise(g.parent, f)
		case verdictOpen, verdictSettled:
		}
	})
}
