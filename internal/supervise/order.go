package supervise

import (
	"fmt"
	"slices"
)

// A chain gives orders to others as an operator does, with three differences.
// What it wants is forgotten when procops ends: the next one begins with the
// config and the operators' words. What an operator has stopped, it does not
// start. And a process that it starts again and again without becoming healthy
// waits for its backoff, and is started no more often in a row than its
// max_restarts allows: two chains that start each other's process go round
// slowly, or not for ever. Nobody waits for what becomes of an order, so chains
// cannot wait for each other.

// order returns the order that a link gives to others; without names it gives
// none.
func (l LinkConfig) order() (Action, Names) {
	switch {
	case l.Start != nil:
		return ActionStart, l.Start
	case l.Stop != nil:
		return ActionStop, l.Stop
	default:
		return ActionRestart, l.Restart
	}
}

// orderOthers gives an order of the chain that deals with f.
func (s *Supervisor) orderOthers(a Action, names Names, f Failure) {
	if s.stopping {
		return
	}
	targets, err := s.lookUp(names, false)
	if err != nil { // a reload has removed them
		s.refuse(a, names, f, err)
		return
	}
	s.journal.emit(eventLinkOrdered.New(f.subject(), linkOrderedData{Action: a, Members: processNames(targets), Process: f.Process}))
	switch a {
	case ActionStart:
		s.orderUp(a, withNeeds(targets, (*process).notThere), nil, f)
	case ActionRestart:
		s.orderUp(a, withNeeds(targets, (*process).stopped), targets, f)
	default:
		s.orderDown(targets)
	}
}

func (s *Supervisor) refuse(a Action, names []string, f Failure, err error) {
	s.logLink(string(a), f, err)
	s.journal.emit(eventLinkFailed.New(f.subject(), linkFailedData{Link: string(a), Target: enumerateNames(names), Error: err.Error()}))
}

func enumerateNames(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	return enumerate(names, "and")
}

// orderUp starts all that is down, and restarts those of again that run.
func (s *Supervisor) orderUp(a Action, all, again []*process, f Failure) {
	var running []*process
	for _, p := range all {
		if p.name == f.Process && f.Group == "" {
			continue // what it orders depends on it; the rest of its chain decides about it
		}
		if err := p.mayBeOrdered(); err != nil {
			s.refuse(a, []string{p.name}, f, err)
			continue
		}
		p.wanted, p.byHand, p.byChain = true, false, true
		switch {
		case p.underRestart(): // its group is about to start it
		case p.state.AtRest():
			s.startInTurn(p)
		case p.halt || p.state == StateStopping || p.state == StateEnding:
			// Its own chain, which may be at work, goes on to its end.
			p.again = true
		case p.state.Up() && slices.Contains(again, p):
			p.again = true
			running = append(running, p)
		}
	}
	s.halt(running)
}

// mayBeOrdered returns why no chain can start p.
func (p *process) mayBeOrdered() error {
	limit := p.cfg.MaxRestarts
	switch {
	case p.byHand && !p.wanted:
		return fmt.Errorf("an operator has stopped %q", p.name)
	case limit > 0 && p.orders >= limit:
		return fmt.Errorf("chains have started %q %d times in a row, which is its max_restarts", p.name, limit)
	default:
		return nil
	}
}

// startInTurn starts p, which is at rest, on behalf of a chain: the first time at
// once, and then, until it is healthy, after its backoff.
func (s *Supervisor) startInTurn(p *process) {
	p.orders++
	if p.orders == 1 {
		s.fire(p, TriggerStart, "")
		return
	}
	s.fire(p, TriggerRetry, "started again and again by chains")
}

// orderDown stops processes until a chain or an operator starts them.
func (s *Supervisor) orderDown(targets []*process) {
	var down []*process
	for _, p := range targets {
		if p.byHand && !p.wanted {
			continue // an operator's word lasts longer
		}
		p.wanted, p.byHand, p.byChain = false, false, true
		p.again = false
		down = append(down, p)
	}
	s.halt(down)
}
