package supervise

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"syscall"
	"time"

	"procops/internal/fault"
	"procops/internal/proc"
)

// Handover is what a supervisor leaves to the one that goes on in its place, in
// the same process, after that has become another program (proc.Replace).
type Handover struct {
	Host      proc.Handover   `json:"host"`
	Began     time.Time       `json:"began"`
	Upgrades  int             `json:"upgrades"` // with this one
	Processes []handedProcess `json:"processes"`
	Groups    []handedGroup   `json:"groups,omitempty"`
	Failures  []Failure       `json:"failures,omitempty"`
	Scale     map[string]int  `json:"scale"` // numbers of instances by an operator's word; the record may lack some, after a full disk
	Declared  Config          `json:"-"`     // what the next supervisor has to find in the config
}

// handedProcess is where a process is in its life.
type handedProcess struct {
	Name     string        `json:"name"`
	State    State         `json:"state"`
	Since    time.Time     `json:"since"`
	Reason   string        `json:"reason,omitempty"`
	Wanted   bool          `json:"wanted"`
	ByHand   bool          `json:"by_hand,omitempty"`
	ByChain  bool          `json:"by_chain,omitempty"`
	Orders   int           `json:"orders,omitempty"`
	Started  int           `json:"started,omitempty"`
	Streak   int           `json:"streak,omitempty"`
	Retries  map[int]int   `json:"retries,omitempty"`
	Due      time.Time     `json:"due,omitzero"`
	LastExit *ExitStatus   `json:"last_exit,omitempty"`
	Dropped  uint64        `json:"dropped,omitempty"`
	Gaps     []string      `json:"gaps,omitempty"` // limits of its cgroup that do not hold
	Tail     [2]string     `json:"tail"`           // of standard output and standard error
	Run      *handedRun    `json:"run,omitempty"`
	Channel  handedChannel `json:"channel"`        // by which it says that it is ready
	Aside    handedChannel `json:"aside,omitzero"` // of its watchdog, if that is another
}

// handedRun is what is known of a run that goes on.
type handedRun struct {
	PID      int             `json:"pid"`
	Ready    bool            `json:"ready,omitempty"`
	Obstacle string          `json:"obstacle,omitempty"`
	Passed   bool            `json:"passed,omitempty"`
	Failures int             `json:"failures,omitempty"`
	Said     Said            `json:"said"`
	Extended time.Time       `json:"extended,omitzero"`
	Watchdog *handedWatchdog `json:"watchdog,omitempty"`
}

// handedGroup is what a group remembers.
type handedGroup struct {
	Name     string      `json:"name"`
	Retries  map[int]int `json:"retries,omitempty"`
	Restarts []time.Time `json:"restarts,omitempty"`
	Streak   int         `json:"streak,omitempty"`
	Passed   bool        `json:"passed,omitempty"`
}

// FDs returns the descriptors of the handover.
func (h *Handover) FDs() []int {
	fds := h.Host.FDs()
	for i := range h.Processes {
		for _, ch := range []handedChannel{h.Processes[i].Channel, h.Processes[i].Aside} {
			if ch.FD != 0 {
				fds = append(fds, ch.FD)
			}
		}
	}
	return fds
}

// upgrade is a wish to become another program, which waits until nothing is between
// two states.
type upgrade struct {
	replace func(Handover) error // returns only if it fails
	done    chan error
	pausing bool            // somebody is about to pause runs
	paused  map[*run]string // nobody hears them: what they say waits; by the names of their processes
}

// Upgrade waits until no process is between two states, brings everything to rest in
// which something could be lost, and calls replace, which makes this process another
// program. If that fails, or ctx ends before, supervision goes on as if nothing had
// happened, and the error says why.
func (s *Supervisor) Upgrade(ctx context.Context, replace func(Handover) error) error {
	u := &upgrade{replace: replace, done: make(chan error, 1), paused: map[*run]string{}}
	err := s.ask(ctx, func() {
		switch {
		case s.stopping:
			u.done <- onItsWayDown("upgrade")
		case s.upgrade != nil:
			u.done <- fault.New(fault.Conflict, "another upgrade is under way")
		default:
			s.upgrade = u
		}
	})
	if err != nil {
		return err
	}
	select {
	case err := <-u.done:
		return err
	case <-s.done:
		return errEnded
	case <-ctx.Done():
		s.post(func() { s.endUpgrade(u, context.Cause(ctx)) })
		return context.Cause(ctx)
	}
}

// endUpgrade gives an upgrade up, unless it has ended already.
func (s *Supervisor) endUpgrade(u *upgrade, why error) {
	if s.upgrade != u {
		return
	}
	s.upgrade = nil
	s.listenAgain(u)
	for _, p := range s.tree.processes {
		if p.cfg.hosted.inside() {
			s.tryStart(p)
		}
	}
	u.done <- why
}

// endServices has the services end for an upgrade, each when it loses nothing by it or
// its time is over; they begin again afterwards. It reports whether any runs.
func (s *Supervisor) endServices() (running bool) {
	for _, p := range s.tree.processes {
		if p.run == nil || !p.cfg.hosted.inside() {
			continue
		}
		running = true
		if !p.halt && !p.run.ladder && p.state.Up() {
			p.run.signal, p.again = proc.Signal(syscall.SIGQUIT), p.wanted
			s.halt([]*process{p})
		}
	}
	return running
}

// tryUpgrade takes the next step of an upgrade, if the tree lets it.
func (s *Supervisor) tryUpgrade() {
	u := s.upgrade
	switch {
	case u == nil || u.pausing:
	case s.stopping:
		s.endUpgrade(u, onItsWayDown("upgrade"))
	case s.endServices(), !s.quiet():
		s.listenAgain(u)
	case !s.pauseRuns(u):
		s.handOver(u)
	}
}

// promise keeps upgrades from happening until the returned function is called. An
// order is recorded before the tree knows of it; the next supervisor would go on
// with the tree as it was handed over, and what is recorded would say otherwise:
// instances that the numbers have no place for any more would run on unseen.
func (s *Supervisor) promise() (kept func(), err error) {
	// Not for as long as somebody waits: it must be known whether it counts.
	if err := s.ask(context.Background(), func() { s.orders++ }); err != nil {
		return nil, err
	}
	return func() { s.post(func() { s.orders-- }) }, nil
}

// quiet reports whether no process is between two states, and no order on its way.
func (s *Supervisor) quiet() bool {
	if s.orders > 0 {
		return false
	}
	for _, p := range s.tree.processes {
		between := p.state == StateEnding || p.state == StateStopping || p.halt || p.again || p.next != nil || p.chain.busy()
		if between || p.run != nil && (p.run.exited || p.run.ladder) {
			return false
		}
	}
	busy := func(g *group) bool { return len(g.restarting) > 0 || len(g.waiting) > 0 || g.chain.busy() }
	return len(s.leaving) == 0 && !slices.ContainsFunc(s.tree.groups, busy)
}

// pauseRuns begins to pause the runs that are heard. It reports whether there are any;
// the loop is told when they are.
func (s *Supervisor) pauseRuns(u *upgrade) bool {
	fresh := map[*run]string{}
	for _, p := range s.tree.processes {
		if p.run != nil && u.paused[p.run] == "" {
			fresh[p.run] = p.name
		}
	}
	if len(fresh) == 0 {
		return false
	}
	u.pausing = true
	s.workers.Go(func() {
		for r := range fresh {
			r.pause()
		}
		// What they have said before stands in the inbox before this.
		s.post(func() {
			u.pausing = false
			maps.Copy(u.paused, fresh)
			if s.upgrade != u {
				s.listenAgain(u)
			}
		})
	})
	return true
}

// isDeafTo reports whether nobody hears what r says, or may not.
func (u *upgrade) isDeafTo(r *run) bool { return u != nil && (u.pausing || u.paused[r] != "") }

// listenAgain undoes pauseRuns.
func (s *Supervisor) listenAgain(u *upgrade) {
	for r := range u.paused {
		r.watchdog.since = time.Now() // what it has said meanwhile is still to be read
		r.resume()
		delete(u.paused, r)
	}
}

// handOver becomes the other program, while nothing moves.
func (s *Supervisor) handOver(u *upgrade) {
	err := s.flushAll()
	if err == nil {
		err = s.replace(u)
	}
	if errors.Is(err, proc.ErrEnded) {
		return // the news of it is on its way
	}
	s.endUpgrade(u, err)
}

// flushAll writes what waits to be written: the memory of this program will be lost.
func (s *Supervisor) flushAll() error {
	ctx, cancel := context.WithTimeoutCause(s.ctx, flushPatience, errors.New("the disk does not take it in time"))
	defer cancel()
	for _, p := range s.tree.processes {
		if err := p.output.flush(ctx); err != nil {
			return fmt.Errorf("cannot write the log of %q: %w", p.name, err)
		}
	}
	if err := s.journal.flush(ctx); err != nil {
		return fmt.Errorf("cannot record all events: %w", err)
	}
	return nil
}

// replace collects the handover and hands it over; it returns only if that fails.
func (s *Supervisor) replace(u *upgrade) error {
	var children []*proc.Process
	for _, p := range s.tree.processes {
		if p.run != nil {
			if c, is := p.run.child.(*proc.Process); is { // services have been ended
				children = append(children, c)
			}
		}
	}
	host, release, err := s.deps.Host.Hold(children)
	if err != nil {
		return err
	}
	defer release()
	h := Handover{Host: host, Began: s.began, Upgrades: s.upgrades + 1, Failures: s.failures, Declared: s.declared, Scale: s.scale}
	for _, p := range s.tree.processes {
		h.Processes = append(h.Processes, p.handed())
	}
	for _, g := range s.tree.groups {
		h.Groups = append(h.Groups, handedGroup{Name: g.name, Retries: g.chain.used, Restarts: g.restarts, Streak: g.streak, Passed: g.passed})
	}
	return u.replace(h)
}

// handed describes p for the next supervisor.
func (p *process) handed() handedProcess {
	tail := p.output.tail.Load()
	h := handedProcess{
		Name: p.name, State: p.state, Since: p.since, Reason: p.reason, Wanted: p.wanted, ByHand: p.byHand, ByChain: p.byChain, Orders: p.orders,
		Started: p.started, Streak: p.streak, Retries: p.chain.used, Due: p.due, LastExit: p.lastExit, Gaps: p.gaps,
		Dropped: p.output.dropped(), Tail: [2]string{tail.Text(proc.Stdout), tail.Text(proc.Stderr)},
	}
	if r := p.run; r != nil {
		h.Channel, h.Aside = r.listeners.ready.handed(), r.listeners.aside.handed()
		h.Run = &handedRun{
			PID: r.child.PID(), Ready: r.ready, Obstacle: r.obstacle, Passed: r.pulse.passed, Failures: r.pulse.failures,
			Said: r.said.Said, Extended: r.until(), Watchdog: r.watchdog.handed(),
		}
	}
	return h
}

// goOn takes the tree of a former supervisor over as it stands. States are restored,
// and nothing happens to them.
func (s *Supervisor) goOn(h *Handover) {
	s.began, s.failures, s.upgrades = h.Began, h.Failures, h.Upgrades
	for _, one := range h.Groups {
		if g, ok := s.tree.byName[one.Name].(*group); ok {
			g.chain.used, g.restarts, g.streak, g.passed = one.Retries, one.Restarts, one.Streak, one.Passed
		}
	}
	for i := range h.Processes {
		if p, ok := s.tree.byName[h.Processes[i].Name].(*process); ok {
			s.restore(p, &h.Processes[i])
		} else if h.Processes[i].Run != nil {
			s.endUnknown(&h.Processes[i])
		}
	}
	program, _ := os.Executable()
	s.journal.emit(eventUpgraded.New("", upgradeData{PID: os.Getpid(), Processes: len(s.tree.processes), Program: program}))
}

// strayGrace is how long a process that nobody knows has between SIGTERM and SIGKILL.
const strayGrace = 10 * time.Second

// endUnknown ends a run of a process that is in the tree no more: this procops reads
// the config in another way than the former one. Nobody else would.
func (s *Supervisor) endUnknown(h *handedProcess) {
	log := s.deps.Log.Warn().Str("process", h.Name).Int("pid", h.Run.PID)
	child, err := s.deps.Host.Inherit(h.Run.PID, func([]proc.Line) {})
	if err != nil {
		log.Err(err).Msg("a process that the config does not know any more was handed over, and has ended")
		return
	}
	log.Msg("a process that the config does not know any more was handed over: it is stopped")
	s.workers.Go(func() {
		if err := child.Stop(s.ctx, proc.Ladder{Steps: []proc.Step{{Signal: proc.Signal(syscall.SIGTERM), Wait: strayGrace}}}); err != nil {
			s.deps.Log.Error().Err(err).Str("process", h.Name).Msg("cannot stop a process that was handed over")
		}
	})
}

// restore puts p where it was.
func (s *Supervisor) restore(p *process, h *handedProcess) {
	p.state, p.since, p.reason, p.wanted, p.byHand = h.State, h.Since, h.Reason, h.Wanted, h.ByHand
	p.byChain, p.orders = h.ByChain, h.Orders
	p.started, p.streak, p.chain.used, p.due, p.lastExit = h.Started, h.Streak, h.Retries, h.Due, h.LastExit
	p.output.before, p.gaps = h.Dropped, h.Gaps
	switch {
	case h.Run != nil:
		s.restoreRun(p, h)
	case p.state == StateBackoff:
		p.timer = s.after(time.Until(p.due), p, func() { s.fire(p, TriggerDue, "") })
	case p.state == StateWaiting:
		s.soon(func() { s.tryStart(p) })
	}
}

// restoreRun goes on with a run that a former supervisor has begun.
func (s *Supervisor) restoreRun(p *process, h *handedProcess) {
	ch := p.channelsFrom(h)
	p.output.tail.Load().Write(proc.Stdout, []byte(h.Tail[0]))
	p.output.tail.Load().Write(proc.Stderr, []byte(h.Tail[1]))
	p.runs++
	child, err := s.deps.Host.Inherit(h.Run.PID, p.output.lines)
	if err != nil { // one that was taken back and has ended between the two programs
		p.run = nil
		s.soon(func() { s.lost(p, err) })
		return
	}
	r := newRun(child, s.specOf(p, child.PID()))
	s.attach(p, r, ch)
	r.ready, r.obstacle, r.said.Said = h.Run.Ready, h.Run.Obstacle, h.Run.Said
	if !h.Run.Extended.IsZero() {
		r.extended.Store(&h.Run.Extended)
	}
	r.watchdog.take(h.Run.Watchdog)
	s.guard(p)
	switch {
	case p.state == StateStarting:
		s.awaitReady(p, ch.ready != nil || p.cfg.Ready.speaks())
	case r.said.Ending:
		p.timer = s.after(p.cfg.Stop.Grace.Std(), p, func() { s.overdue(p) })
	default:
		s.watchLife(p)
		r.pulse = pulse{passed: h.Run.Passed, failures: h.Run.Failures}
	}
}

// lost deals with a run whose end nobody has seen.
func (s *Supervisor) lost(p *process, why error) {
	p.lastExit = &ExitStatus{Code: 1, Text: why.Error(), Time: time.Now()}
	s.fire(p, TriggerExited, why.Error())
	s.failed(p, Failure{Process: p.name, Command: p.cfg.Command.String(), Code: 1, Text: why.Error(), Time: time.Now()})
}
