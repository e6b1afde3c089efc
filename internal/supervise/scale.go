package supervise

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"procops/internal/event"
	"procops/internal/fault"
)

// Scale changes how many instances of processes there are: it adds instances and
// starts them, or stops and removes those with the highest numbers, and leaves
// the others alone. It returns when the new ones are ready or have turned out
// not to get so and the removed ones are down, or ctx ends; with NoWait when the
// wish is accepted. The numbers are recorded first and hold until the config has
// another number. Unknown names are fault.NotFound; a process without instances
// and a bad number fault.Usage; a number that the config has no room for
// fault.Conflict.
func (s *Supervisor) Scale(ctx context.Context, r ScaleRequest) ([]Result, error) {
	begun, err := s.rescale(ctx, r)
	if err != nil {
		return nil, err
	}
	if !r.NoWait {
		if err := s.wait(ctx, begun.decided); err != nil {
			return nil, err
		}
	}
	added, err := s.results(ctx, Request{Action: ActionStart, NoWait: r.NoWait}, begun.added, begun.note)
	if err != nil {
		return nil, err
	}
	became := "removed"
	if r.NoWait {
		became = "to be removed"
	}
	removed, err := s.results(ctx, Request{Action: ActionStop, NoWait: r.NoWait}, begun.removed, joinNotes(became, begun.note))
	return append(added, removed...), err
}

func joinNotes(notes ...string) string {
	return strings.Join(slices.DeleteFunc(notes, func(n string) bool { return n == "" }), "; ")
}

// rescaling is a change of numbers of instances.
type rescaling struct {
	records []scaling
	scale   map[string]int // all numbers after it
	cfg     Config
	plan    Plan
}

// rescaled is a change of numbers of instances that has begun.
type rescaled struct {
	added, removed []*process
	up             []func() bool // of each of added, whether it has got ready or turned out not to
	note           string
}

// rescale records the numbers and brings the tree to them. A second request
// waits meanwhile, so that what is recorded last is also what is done last.
func (s *Supervisor) rescale(ctx context.Context, r ScaleRequest) (rescaled, error) {
	s.scaling.Lock()
	defer s.scaling.Unlock()
	kept, err := s.promise()
	if err != nil {
		return rescaled{}, err
	}
	defer kept()
	change, err := learn(ctx, s, func() (rescaling, error) { return s.planScale(r.Instances) })
	if err != nil {
		return rescaled{}, err
	}
	note := ""
	if err := s.journal.rescale(ctx, change.records, change.coming()); err != nil {
		// A full disk must not keep an operator from stopping things.
		note = "it will be forgotten with this supervisor: " + err.Error()
	}
	// What is recorded is done, whether or not somebody waits for it.
	begun, err := learn(context.WithoutCancel(ctx), s, func() (rescaled, error) {
		now, err := s.planScale(r.Instances)
		if err == nil && !slices.Equal(now.records, change.records) {
			err = fault.New(fault.Conflict, "cannot scale: the config has been changed meanwhile")
		}
		if err != nil {
			return rescaled{}, err
		}
		return s.applyScale(now)
	})
	if err != nil {
		s.recordScale(change.records)
		return rescaled{}, err
	}
	begun.note = note
	return begun, nil
}

// coming returns the instances that are to be started: new ones, and those that
// come back before they have gone.
func (r rescaling) coming() []string {
	return slices.DeleteFunc(slices.Concat(r.plan.Added, r.plan.Restarted), func(n string) bool {
		of := r.cfg.Process[n].which.of
		return !slices.ContainsFunc(r.records, func(s scaling) bool { return s.name == of })
	})
}

// planScale says what other numbers of instances would do.
func (s *Supervisor) planScale(instances map[string]int) (rescaling, error) {
	if s.stopping {
		return rescaling{}, onItsWayDown(ActionScale)
	}
	if len(instances) == 0 {
		return rescaling{}, fault.New(fault.Usage, "no process is named")
	}
	r := rescaling{scale: maps.Clone(s.scale)}
	if r.scale == nil {
		r.scale = map[string]int{}
	}
	for _, n := range slices.Sorted(maps.Keys(instances)) {
		number := instances[n]
		if err := s.canScale(n, number); err != nil {
			return rescaling{}, err
		}
		declared := *s.declared.Process[n].Instances
		r.records = append(r.records, scaling{name: n, declared: declared, instances: number})
		r.scale[n] = number
		if number == declared {
			delete(r.scale, n)
		}
	}
	if err := s.declared.problem(r.scale); err != nil {
		return rescaling{}, fault.Wrap(fault.Conflict, err, "cannot scale")
	}
	r.cfg = s.declared.expand(r.scale)
	r.plan = s.plan(r.cfg)
	return r, nil
}

// canScale refuses what has no instances, and numbers that cannot be.
func (s *Supervisor) canScale(n string, number int) error {
	if _, there := s.tree.byName[n]; !there {
		return s.unknown(n)
	}
	switch p, declared := s.declared.Process[n]; {
	case !declared && s.cfg.Process[n].which.of != "":
		of := s.cfg.Process[n].which.of
		return fault.New(fault.Usage, "cannot scale %q: it is one instance of %q", n, of).WithHint("scale %q", of)
	case !declared:
		return fault.New(fault.Usage, "cannot scale %q: it is a group", n)
	case p.Instances == nil:
		return fault.New(fault.Usage, "cannot scale %q: it has no instances", n).
			WithHint("with `instances = 1` in [supervise.process.%s] it can be scaled; its first instance is called %q", n, instanceName(n, 1))
	case number < 0 || number > MaxInstances:
		return fault.New(fault.Usage, "cannot scale %q to %d: want a number from 0 to %d", n, number, MaxInstances)
	}
	return nil
}

// applyScale brings the tree to other numbers of instances.
func (s *Supervisor) applyScale(r rescaling) (rescaled, error) {
	var begun rescaled
	for _, n := range r.plan.Removed {
		if p, ok := s.tree.byName[n].(*process); ok {
			begun.removed = append(begun.removed, p)
		}
	}
	if !r.plan.Empty() {
		if err := s.apply(r.cfg, r.plan, s.scaleNews(r)...); err != nil {
			return rescaled{}, err
		}
	}
	s.scale = r.scale
	for _, n := range r.coming() {
		if p, ok := s.tree.byName[n].(*process); ok {
			p.wanted, p.byHand = true, true
			begun.added = append(begun.added, p)
		}
	}
	begun.up = s.bringUp(begun.added)
	return begun, nil
}

// scaleNews returns an event for each process whose number changes.
func (s *Supervisor) scaleNews(r rescaling) (news []event.Event) {
	for _, record := range r.records {
		before := s.declared.count(record.name, s.scale)
		if before == record.instances {
			continue
		}
		of := func(cfg *Config, names []string) []string {
			return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return cfg.Process[n].which.of != record.name })
		}
		news = append(news, eventScaled.New(record.name, scaleData{
			Instances: record.instances, Before: before,
			Added: of(&r.cfg, r.coming()), Removed: of(&s.cfg, r.plan.Removed),
		}))
	}
	return news
}

// decided reports whether all that was added has become ready or turned out
// not to, and all that was removed is down.
func (r rescaled) decided() bool {
	for i, p := range r.added {
		if !r.up[i]() && !p.waitsInVain() && !p.leaving {
			return false
		}
	}
	return !slices.ContainsFunc(r.removed, func(p *process) bool { return p.leaving && !p.down() })
}

// waitsInVain reports whether p waits for what an operator has stopped.
func (p *process) waitsInVain() bool {
	missing := p.unmet()
	return p.state == StateWaiting && missing != nil && missing.leftDown()
}

// recordScale records what holds of the numbers that a refused change concerned.
func (s *Supervisor) recordScale(refused []scaling) {
	s.post(func() {
		for _, record := range refused {
			number, scaled := s.scale[record.name]
			if !scaled {
				s.journal.unscale([]string{record.name})
				continue
			}
			s.journal.keepScale(scaling{record.name, *s.declared.Process[record.name].Instances, number})
		}
	})
}

// declare makes cfg the config, with the instances that operators have asked
// for. What they said of another config is forgotten.
func (s *Supervisor) declare(ctx context.Context, cfg Config) error {
	if h := s.deps.Handover; h != nil && h.Scale != nil {
		s.declared, s.scale = cfg, h.Scale
		s.cfg = cfg.expand(s.scale)
		return nil
	}
	list, err := loadScale(ctx, s.deps.Store)
	if err != nil {
		return fmt.Errorf("cannot read how many instances are wanted: %w", err)
	}
	recorded := map[string]int{}
	s.declared, s.scale = cfg, map[string]int{}
	for _, record := range list {
		recorded[record.name] = record.instances
		if p := cfg.Process[record.name]; p.Instances != nil && *p.Instances == record.declared {
			s.scale[record.name] = record.instances
		}
	}
	s.scale = s.stillScaled(cfg)
	s.journal.unscale(lost(recorded, s.scale))
	s.cfg = cfg.expand(s.scale)
	return nil
}

// stillScaled returns the numbers of instances that hold under a new config:
// those where it has the number that it had before, as long as it has room for
// them.
func (s *Supervisor) stillScaled(cfg Config) map[string]int {
	scale := map[string]int{}
	for _, n := range slices.Sorted(maps.Keys(s.scale)) {
		before, now := s.declared.Process[n].Instances, cfg.Process[n].Instances
		if now == nil || before == nil || *now != *before {
			continue
		}
		scale[n] = s.scale[n]
		if err := cfg.problem(scale); err != nil {
			s.deps.Log.Warn().Err(err).Str("process", n).Int("instances", s.scale[n]).
				Msg("the number of instances that it was scaled to does not fit the config any more; that of the config holds")
			delete(scale, n)
		}
	}
	return scale
}

// lost returns the names in before that are not in after, sorted.
func lost(before, after map[string]int) (names []string) {
	for n := range before {
		if _, stays := after[n]; !stays {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}
