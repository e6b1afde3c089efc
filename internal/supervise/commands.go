package supervise

import (
	"context"
	"errors"
	"slices"

	"procops/internal/fault"
	"procops/internal/name"
	"procops/internal/proc"
)

// errEnded is returned to those who ask something of a supervisor that has ended.
var errEnded = fault.New(fault.Unreachable, "supervision has ended")

// waiter waits, in the loop's time, until something has come true.
type waiter struct {
	reached func() bool
	done    chan struct{}
}

// Do does what an operator asks for. It returns when that has come true, has
// turned out not to, or ctx ends; with NoWait when the wish is accepted. What is
// wanted is recorded first and outlives procops. Unknown names are
// fault.NotFound, a bad signal or no names fault.Usage.
func (s *Supervisor) Do(ctx context.Context, r Request) ([]Result, error) {
	if s.isStopping(ctx) && r.Action != ActionSignal {
		return nil, onItsWayDown(r.Action)
	}
	targets, err := s.find(ctx, r.Names, r.All)
	if err != nil {
		return nil, err
	}
	switch r.Action {
	case ActionStart:
		all, err := s.withNeeds(ctx, targets, (*process).notThere)
		if err != nil {
			return nil, err
		}
		return s.order(ctx, r, all, true, s.bringUp)
	case ActionStop:
		return s.order(ctx, r, targets, false, s.bringDown)
	case ActionRestart:
		if r.Rolling {
			return s.roll(ctx, r, targets)
		}
		all, err := s.withNeeds(ctx, targets, (*process).stopped)
		if err != nil {
			return nil, err
		}
		return s.order(ctx, r, all, true, s.bringAgainOf(targets))
	case ActionSignal:
		return s.signal(ctx, r, targets)
	default:
		return nil, fault.New(fault.Usage, "there is no action %q", r.Action)
	}
}

func onItsWayDown(a Action) error {
	return fault.New(fault.Conflict, "cannot %s: the supervisor is on its way down", a)
}

// Shutdown begins to stop the tree in order and returns when it has begun. A
// second call hurries: what still runs gets SIGKILL.
func (s *Supervisor) Shutdown(ctx context.Context) error {
	err := s.ask(ctx, s.shutdown)
	if errors.Is(err, errEnded) {
		return nil
	}
	return err
}

// Hurry cuts the stop ladders short: all that is being stopped, now and from
// now on, gets SIGKILL.
func (s *Supervisor) Hurry() { s.hurry() }

// WaitReady returns nil when all the named processes (none: all that are wanted)
// are as wanted and ready, and an error when one of them has been given up, one
// that is named itself, or all of a group that is, is stopped and to stay so, or
// ctx ends.
func (s *Supervisor) WaitReady(ctx context.Context, names []string) error {
	targets, err := s.find(ctx, names, len(names) == 0)
	if err != nil {
		return err
	}
	var failed error
	err = s.wait(ctx, func() bool {
		open := false
		for _, p := range targets {
			switch {
			case p.state == StateFatal || s.stopping, p.state == StateStopped && !p.wanted && slices.Contains(names, p.name):
				failed = fault.New(fault.Failure, "%q is not ready: it is %s", p.name, p.plight())
			case p.wanted && p.state != StateRunning && p.state != StateCompleted:
				open = true
			}
		}
		for _, n := range names {
			if failed == nil && s.allStopped(n) {
				failed = fault.New(fault.Failure, "%q is not ready: it is stopped", n)
			}
		}
		return failed != nil || !open
	})
	if err != nil {
		return err
	}
	return failed
}

// allStopped reports whether n has processes and all of them are stopped and to
// stay so.
func (s *Supervisor) allStopped(n string) bool {
	found, ok := s.tree.byName[n]
	if !ok {
		return false
	}
	leaves := found.leaves()
	return len(leaves) > 0 && !slices.ContainsFunc(leaves, func(p *process) bool { return p.state != StateStopped || p.wanted })
}

// plight is the state of p and, if it has failed, why.
func (p *process) plight() string {
	if p.state == StateFatal && p.reason != "" {
		return string(p.state) + ": " + p.reason
	}
	return string(p.state)
}

// find returns the processes that names stand for, in order of start, each once.
func (s *Supervisor) find(ctx context.Context, names []string, all bool) ([]*process, error) {
	return learn(ctx, s, func() ([]*process, error) { return s.lookUp(names, all) })
}

func (s *Supervisor) lookUp(names []string, all bool) ([]*process, error) {
	if all {
		return s.tree.processes, nil
	}
	if len(names) == 0 {
		return nil, fault.New(fault.Usage, "no process or group is named")
	}
	chosen := map[*process]bool{}
	for _, n := range names {
		found, ok := s.tree.byName[n]
		if !ok {
			return nil, s.unknown(n)
		}
		for _, p := range found.leaves() {
			chosen[p] = true
		}
	}
	return s.inOrder(chosen), nil
}

func (s *Supervisor) inOrder(chosen map[*process]bool) []*process {
	return slices.DeleteFunc(slices.Clone(s.tree.processes), func(p *process) bool { return !chosen[p] })
}

func (s *Supervisor) unknown(n string) error {
	e := fault.New(fault.NotFound, "there is no process or group %q", n)
	if near, ok := name.Nearest(n, s.tree.known()); ok {
		return e.WithHint("did you mean %q?", near)
	}
	return e.WithHint("`procops supervise status` lists them")
}

// withNeeds adds, before each process, what it depends on and is missing: to
// start something is to start what it needs.
func (s *Supervisor) withNeeds(ctx context.Context, targets []*process, missing func(*process, Condition) bool) ([]*process, error) {
	return learn(ctx, s, func() ([]*process, error) { return withNeeds(targets, missing), nil })
}

// withNeeds is the part of it that the loop does.
func withNeeds(targets []*process, missing func(*process, Condition) bool) (all []*process) {
	var add func(p *process)
	add = func(p *process) {
		if slices.Contains(all, p) {
			return
		}
		for _, n := range p.needs {
			for _, q := range n.on.leaves() {
				if missing(q, n.condition) {
					add(q)
				}
			}
		}
		all = append(all, p)
	}
	for _, p := range targets {
		add(p)
	}
	return all
}

// notThere reports whether p does not meet the condition of one that depends on
// it.
func (p *process) notThere(c Condition) bool { return !p.satisfies(c) }

// stopped reports whether p does not meet the condition and is to stay down, so
// that it never will unless somebody starts it.
func (p *process) stopped(c Condition) bool { return p.notThere(c) && !p.wanted }

// order records what is wanted, gives the order to the processes and waits
// for what becomes of it. begin returns the condition that ends the wait.
func (s *Supervisor) order(ctx context.Context, r Request, targets []*process, wanted bool, begin func([]*process) []func() bool) ([]Result, error) {
	kept, err := s.promise()
	if err != nil {
		return nil, err
	}
	note := ""
	if err := s.journal.want(ctx, processNames(targets), wanted); err != nil {
		// A full disk must not keep an operator from stopping things.
		note = "it will be forgotten with this supervisor: " + err.Error()
	}
	reached, err := learn(ctx, s, func() ([]func() bool, error) {
		if s.stopping { // since Do has looked
			return nil, onItsWayDown(r.Action)
		}
		for _, p := range targets {
			if s.tree.byName[p.name] != node(p) { // a reload has come between
				return nil, s.unknown(p.name)
			}
		}
		for _, p := range targets {
			p.wanted, p.byHand = wanted, true
			p.byChain, p.orders = false, 0
		}
		return begin(targets), nil
	})
	kept()
	if err != nil {
		return nil, err
	}
	if r.NoWait {
		return s.results(ctx, r, targets, note)
	}
	// What became of it is what it is at that moment: one that was started and has
	// ended well may be on its way to the next state when it is looked at again.
	var became []Result
	err = s.wait(ctx, func() bool {
		if slices.ContainsFunc(reached, func(ok func() bool) bool { return !ok() }) {
			return false
		}
		became = s.became(r, targets, note)
		return true
	})
	switch {
	case err != nil:
		return nil, err
	case became != nil && ctx.Err() == nil:
		return became, nil
	default:
		return s.results(ctx, r, targets, note)
	}
}

func processNames(list []*process) []string {
	names := make([]string, len(list))
	for i, p := range list {
		names[i] = p.name
	}
	return names
}

func (s *Supervisor) bringUp(targets []*process) (reached []func() bool) {
	for _, p := range targets {
		p.withdraw()
		p.halt = false
		if p.state == StateStopping {
			p.again = true
		} else {
			s.fire(p, TriggerStart, "")
		}
		reached = append(reached, p.decided(p.runs))
	}
	return reached
}

func (s *Supervisor) bringDown(targets []*process) (reached []func() bool) {
	for _, p := range targets {
		p.again = false
		if p.state == StateFatal {
			s.fire(p, TriggerStop, "")
		}
		// Whoever starts it meanwhile has the last word.
		reached = append(reached, func() bool { return p.down() || p.wanted })
	}
	s.halt(targets)
	return reached
}

func (s *Supervisor) bringAgain(targets []*process) (reached []func() bool) {
	var running []*process
	for _, p := range targets {
		p.withdraw()
		decided := p.decided(p.runs)
		if p.state.AtRest() {
			s.fire(p, TriggerStart, "")
		} else {
			p.again = true
			running = append(running, p)
		}
		// again lasts until it is down, or until somebody wants it to stay down.
		reached = append(reached, func() bool { return !p.again && decided() || p.stuck() })
	}
	s.halt(running)
	return reached
}

// bringAgainOf returns what starts targets again, and with them the others it is
// given, on which they depend: one that is down would keep them waiting.
func (s *Supervisor) bringAgainOf(targets []*process) func([]*process) []func() bool {
	return func(all []*process) []func() bool {
		needs := slices.DeleteFunc(slices.Clone(all), func(p *process) bool { return slices.Contains(targets, p) })
		return append(s.bringUp(needs), s.bringAgain(targets)...)
	}
}

// decided returns the condition that a process that was told to start has
// become ready or has turned out not to.
func (p *process) decided(before int) func() bool {
	return func() bool {
		switch p.state {
		case StateRunning, StateCompleted, StateFatal:
			return true
		case StateBackoff:
			return p.runs > before
		case StateStopped:
			return !p.again
		default:
			return p.stuck()
		}
	}
}

// wait returns when a condition on the tree has come true.
func (s *Supervisor) wait(ctx context.Context, reached func() bool) error {
	w := waiter{done: make(chan struct{}), reached: func() bool {
		return reached() || ctx.Err() != nil // who has gone is waited for no more
	}}
	if err := s.ask(ctx, func() { s.waiters = append(s.waiters, w) }); err != nil {
		return err
	}
	select {
	case <-w.done:
		return nil
	case <-s.done:
		return nil // the tree is at rest: whoever waited looks at what became of it
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// results says what has become of an order.
func (s *Supervisor) results(ctx context.Context, r Request, targets []*process, note string) ([]Result, error) {
	return learn(ctx, s, func() ([]Result, error) { return s.became(r, targets, note), nil })
}

// became is the part of results that the loop does.
func (s *Supervisor) became(r Request, targets []*process, note string) (list []Result) {
	for _, p := range targets {
		one := Result{Name: p.name, State: p.state, Note: note, OK: true}
		if p.run != nil {
			one.PID = p.run.child.PID()
		}
		if !r.NoWait && !p.obeyed(r.Action) {
			one.OK, one.Note = false, p.reason
		}
		list = append(list, one)
	}
	return list
}

// obeyed reports whether p is where an action was to bring it.
func (p *process) obeyed(a Action) bool {
	if a == ActionStop {
		return p.state.AtRest()
	}
	return p.state.Up() || p.state == StateCompleted
}

// signal sends a signal to the leader of each process.
func (s *Supervisor) signal(ctx context.Context, r Request, targets []*process) ([]Result, error) {
	sig, err := proc.ParseSignal(r.Signal)
	if err != nil {
		return nil, fault.Wrap(fault.Usage, err, "cannot send a signal")
	}
	return learn(ctx, s, func() (list []Result, _ error) {
		for _, p := range targets {
			one := Result{Name: p.name, State: p.state, Note: "it does not run"}
			if p.run != nil {
				one.PID = p.run.child.PID()
				one.OK, one.Note = true, ""
				if err := p.run.child.Signal(sig); err != nil {
					one.OK, one.Note = false, err.Error()
				}
			}
			list = append(list, one)
		}
		return list, nil
	})
}

func (s *Supervisor) isStopping(ctx context.Context) bool {
	stopping, err := learn(ctx, s, func() (bool, error) { return s.stopping, nil })
	return err == nil && stopping // that it has ended, the order itself will find
}
