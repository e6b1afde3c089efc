package supervise

import (
	"context"
	"fmt"
	"slices"

	"procops/internal/fault"
)

// roll restarts processes one after the other, in order of the tree: the next
// one when the last is ready again, or has ended well. When one is not, the rest
// is left as it is; when ctx ends, so is what comes after the present one. Those
// that are not wanted up, or have ended well, are passed over unless they are
// named themselves. What depends on a process that is restarted goes on, as with
// any restart.
func (s *Supervisor) roll(ctx context.Context, r Request, targets []*process) ([]Result, error) {
	if r.NoWait {
		return nil, fault.New(fault.Usage, "a rolling restart cannot do without waiting: each process waits for the one before it")
	}
	kept, err := s.promise() // an upgrade between two of them would forget the rest
	if err != nil {
		return nil, err
	}
	defer kept()
	var all rolled
	for i, p := range targets {
		obstacle, err := s.rollOne(ctx, r, p, &all)
		switch {
		case err != nil:
			return nil, err
		case obstacle != "":
			rest, err := s.untouched(ctx, targets[i:], &all, obstacle)
			return append(all.results, rest...), err
		}
	}
	return all.results, nil
}

// rolled is how far a rolling restart is.
type rolled struct {
	done    []*process // that have been restarted
	results []Result
}

// add takes the results of a step: a later one of a process counts.
func (r *rolled) add(list []Result) {
	for _, one := range list {
		r.results = slices.DeleteFunc(r.results, func(other Result) bool { return other.Name == one.Name })
		r.results = append(r.results, one)
	}
}

// obstacle says what of the processes that have been restarted has failed since.
func (r *rolled) obstacle() string {
	for _, q := range r.done {
		if !q.leaving && q.wanted && !restarted(q.state) {
			return fmt.Sprintf("%q, which was restarted before it, is %s", q.name, q.state)
		}
	}
	return ""
}

// has reports whether there is a result of p.
func (r *rolled) has(p *process) bool {
	return slices.ContainsFunc(r.results, func(one Result) bool { return one.Name == p.name })
}

// rollOne restarts the next process, unless it is to be passed over. obstacle
// says why the restart must not go on.
func (s *Supervisor) rollOne(ctx context.Context, r Request, p *process, all *rolled) (obstacle string, err error) {
	next, err := learn(ctx, s, func() (turn, error) { return s.turnOf(p, r, all), nil })
	if err != nil || next.pass || next.obstacle != "" {
		all.add(next.results)
		return next.obstacle, err
	}
	one := []*process{p}
	needed, err := s.withNeeds(ctx, one, (*process).stopped)
	if err != nil {
		return "", err
	}
	results, err := s.order(ctx, r, needed, true, s.bringAgainOf(one))
	if err != nil {
		return "", err
	}
	for i := range results {
		if !restarted(results[i].State) { // it may be on its way already to another attempt
			results[i].OK = false
			obstacle = fmt.Sprintf("%q has not become ready", results[i].Name)
		}
	}
	all.add(results)
	all.done = append(all.done, p)
	return obstacle, nil
}

// turn says what is to be done when it is a process's turn.
type turn struct {
	obstacle string // why the restart must not go on
	pass     bool   // it is not to be restarted
	results  []Result
}

func (s *Supervisor) turnOf(p *process, r Request, all *rolled) turn {
	idle := p.state.AtRest() && (!p.wanted || p.state == StateCompleted)
	switch obstacle := all.obstacle(); {
	case obstacle != "":
		return turn{obstacle: obstacle}
	case s.tree.byName[p.name] != node(p): // a reload has taken it away
		return turn{pass: true}
	case idle && !slices.Contains(r.Names, p.name):
		return turn{pass: true, results: []Result{{Name: p.name, State: p.state, OK: true, Note: "left as it is"}}}
	default:
		return turn{}
	}
}

// restarted reports whether a process in this state is where a rolling restart
// was to bring it.
func restarted(s State) bool { return s == StateRunning || s == StateCompleted }

// untouched returns the results for what a rolling restart has not come to.
func (s *Supervisor) untouched(ctx context.Context, rest []*process, all *rolled, obstacle string) ([]Result, error) {
	return learn(ctx, s, func() (list []Result, _ error) {
		for _, p := range rest {
			if all.has(p) {
				continue
			}
			one := Result{Name: p.name, State: p.state, Note: "not restarted: " + obstacle}
			if p.run != nil {
				one.PID = p.run.child.PID()
			}
			list = append(list, one)
		}
		return list, nil
	})
}
