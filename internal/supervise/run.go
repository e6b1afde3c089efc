package supervise

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"procops/internal/event"
	"procops/internal/proc"
	"procops/internal/store"
)

// Deps is what a Supervisor needs from outside.
type Deps struct {
	Host     *proc.Host
	Store    *store.Store
	Bus      *event.Bus
	Log      zerolog.Logger
	StateDir string
	RunToken string        // marks all descendants of the supervisors of this state directory
	LogDir   string        // where the processes' log files are
	Config   string        // path of the config, shown in Status
	Env      []string      // "NAME=value", added to every process's environment
	Output   func(LogLine) // hears every line of output; must not block; may be nil
	Handover *Handover     // of the supervisor in whose place this one goes on; nil: none

	// PushTask and SubmitJob are what task and job links do. They return when the
	// task or job is safe at its receiver; payload is JSON unless the link has a
	// workload of its own. A fault.Usage or fault.NotFound is not tried again. They
	// are called from goroutines of their own; nil: such links fail.
	PushTask  func(ctx context.Context, t TaskLink, payload []byte) error
	SubmitJob func(ctx context.Context, j JobLink, payload []byte) error

	// Program is the path of procops, for services that are a process of their own.
	Program string
	// NewService makes any other service of the config's Hosted, or the instance NAME-N of one.
	NewService func(name string, calls ServiceCalls) (Service, error)
}

// inboxLength is how much news may wait for the loop before those who bring it
// have to wait themselves.
const inboxLength = 1024

// Supervisor runs one tree. Its methods may be called from any goroutine; those
// that ask something of the tree block until Run has begun.
type Supervisor struct {
	deps    Deps
	journal *journal
	cgroups *proc.Cgroups
	inbox   chan func()   // news and questions, for the loop
	done    chan struct{} // closed when Run returns
	began   time.Time
	workers sync.WaitGroup // goroutines that bring news to the loop
	scaling sync.Mutex     // held from when a number of instances is recorded until it is in the tree

	// The rest belongs to the loop.
	declared Config         // as it stands in the file
	scale    map[string]int // numbers of instances in place of those of declared, by an operator's word
	cfg      Config         // declared, with the instances in it
	tree     *tree
	leaving  []*process      // out of the tree, and not at rest yet
	ctx      context.Context // ends when the tree is told to hurry
	hurry    context.CancelFunc
	stopping bool
	outvoted bool      // supervision was ended by another failure than that of exit_with
	later    []func()  // effects on other nodes, after the present news is dealt with
	upgrade  *upgrade  // under way; nil: none
	upgrades int       // how often this process has become another program
	orders   int       // of operators, that are recorded and not all done yet: see promise
	waiters  []waiter  // operators who wait for something to come true
	failures []Failure // in order of time, of processes that are given up or were raised
}

// New returns a supervisor for a checked config, with as many instances as
// operators have asked for.
func New(ctx context.Context, cfg Config, deps Deps) (*Supervisor, error) {
	s := &Supervisor{
		deps:    deps,
		journal: newJournal(deps.Store, deps.Bus, deps.Log),
		cgroups: proc.NewCgroups(deps.RunToken, filepath.Join(deps.StateDir, cgroupRecord)),
		inbox:   make(chan func(), inboxLength),
		done:    make(chan struct{}),
		began:   time.Now(),
	}
	if err := s.declare(ctx, cfg); err != nil {
		return nil, err
	}
	s.tree = newTree(s.cfg, time.Now(), nil)
	s.ctx, s.hurry = context.WithCancel(context.Background())
	outputs, err := s.newOutputs(s.cfg, processNames(s.tree.processes))
	if err != nil {
		s.hurry()
		return nil, err
	}
	for _, p := range s.tree.processes {
		p.output = outputs[p.name]
	}
	return s, nil
}

// Run ends what a former supervisor of this state directory has left running,
// starts the tree and returns when all of it is at rest: because it is done,
// because a failure that no chain settled reached the top, or because ctx ended
// or Shutdown was called, which stops the tree in order. The error is nil
// unless supervision itself could not go on; how the tree ended is in the Report.
func (s *Supervisor) Run(ctx context.Context) (Report, error) {
	defer s.workers.Wait()
	defer s.hurry()
	defer close(s.done)
	// The children's lives are tied to this thread: see proc.Spec.Tied.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := s.begin(ctx); err != nil {
		s.close()
		return Report{}, err
	}
	s.loop(ctx)
	if _, err := proc.SweepSurvivor(s.deps.RunToken, ""); err != nil { // who has left its group
		s.deps.Log.Error().Err(err).Msg("cannot end all that processes have left behind")
	}
	s.journal.emit(eventStopped.New("", treeData{PID: os.Getpid(), Processes: len(s.tree.processes)}))
	s.close()
	return s.report(), nil
}

// settled is how long after the start of a tree procops gives back the memory that it
// only needed to begin.
const settled = 2 * time.Second

// begin goes on in the place of a former supervisor in this process, or starts the
// tree after it has made sure of what others have left.
func (s *Supervisor) begin(ctx context.Context) error {
	time.AfterFunc(settled, proc.Trim)
	if s.deps.Handover != nil {
		s.goOn(s.deps.Handover)
		return nil
	}
	survivors, err := s.recover(ctx)
	if err != nil {
		return err
	}
	s.journal.emit(eventStarted.New("", treeData{PID: os.Getpid(), Processes: len(s.tree.processes), ByHand: s.stoppedByHand()}))
	for _, r := range survivors {
		if err := s.takeBack(ctx, r); err != nil {
			return err
		}
	}
	for _, p := range s.tree.processes {
		if p.wanted {
			s.fire(p, TriggerStart, "")
		}
	}
	return nil
}

// loop deals with one piece of news after the other until all is at rest.
func (s *Supervisor) loop(ctx context.Context) {
	stop := ctx.Done()
	for {
		s.settle()
		if s.conclude() {
			continue
		}
		if s.over() {
			return
		}
		select {
		case <-stop:
			stop = nil
			if !s.stopping { // whose second call would hurry
				s.shutdown()
			}
		case news := <-s.inbox:
			news()
		}
	}
}

// settle runs the effects that the last news had on other nodes, and theirs,
// and then answers who waits.
func (s *Supervisor) settle() {
	for len(s.later) > 0 {
		effect := s.later[0]
		s.later = s.later[1:]
		effect()
	}
	s.waiters = slices.DeleteFunc(s.waiters, func(w waiter) bool {
		if !w.reached() {
			return false
		}
		close(w.done)
		return true
	})
	s.tryUpgrade()
}

// over reports whether nothing runs and nothing will: everything is at rest,
// and nobody has stopped a process by hand who may want it back. (A chain that
// has stopped one is at rest, too.)
func (s *Supervisor) over() bool {
	for _, p := range s.everything() {
		if p.chain.busy() || !p.state.AtRest() && (!s.stopping || !p.down()) {
			return false
		}
		if !s.stopping && p.state == StateStopped && p.cfg.Autostart && !p.byChain {
			return false
		}
	}
	return !slices.ContainsFunc(s.tree.groups, func(g *group) bool {
		empty := g.cfg.instances && len(g.children) == 0 // which may be scaled
		return len(g.restarting) > 0 || g.chain.busy() || empty && !s.stopping
	})
}

// Alive returns when the loop has taken a breath; the error is that of ctx, or says that
// the tree has ended.
func (s *Supervisor) Alive(ctx context.Context) error { return s.ask(ctx, func() {}) }

// post hands news to the loop; after the loop has ended it is dropped.
func (s *Supervisor) post(news func()) {
	select {
	case s.inbox <- news:
	case <-s.done:
	}
}

// ask runs a question in the loop and returns when it has been answered.
func (s *Supervisor) ask(ctx context.Context, question func()) error {
	answered := make(chan struct{})
	select {
	case s.inbox <- func() { question(); close(answered) }:
	case <-s.done:
		return errEnded
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-answered:
		return nil
	case <-s.done:
		return errEnded
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// learn runs a question in the loop and returns its answer. An answer that comes
// after the end of ctx is dropped, so that nobody reads it while the loop writes.
func learn[T any](ctx context.Context, s *Supervisor, question func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	err := s.ask(ctx, func() {
		value, err := question()
		answers <- answer{value, err}
	})
	if err != nil {
		var none T
		return none, err
	}
	a := <-answers
	return a.value, a.err
}

// shutdown begins to stop the tree in order; the second time it hurries.
func (s *Supervisor) shutdown() {
	if s.stopping {
		s.hurry()
		return
	}
	s.stopping = true
	for _, g := range s.tree.groups {
		g.reset()
	}
	s.halt(s.everything())
}

// fire moves p by a trigger and does what the new state asks for.
func (s *Supervisor) fire(p *process, t Trigger, reason string) {
	next, err := transition(p.state, t)
	if err != nil {
		// A defect of procops: said aloud, and the process stays where it is.
		s.deps.Log.Error().Err(err).Str("process", p.name).Msg("cannot change state")
		return
	}
	if next == p.state {
		return
	}
	from := p.state
	p.state, p.since, p.reason = next, time.Now(), reason
	p.moves++
	delay := s.enter(p)
	if next == StateWaiting {
		// Worth telling only if it does wait.
		s.soon(func() {
			s.tryStart(p)
			if p.state == StateWaiting {
				s.journal.changed(p, from, delay)
			}
		})
	} else {
		s.journal.changed(p, from, delay)
	}
	s.soon(func() { s.spread(p) })
}

// soon runs an effect on other nodes after the present news is dealt with.
func (s *Supervisor) soon(effect func()) { s.later = append(s.later, effect) }

// enter does what the state that p has just come into asks for. For backoff it
// returns the delay.
func (s *Supervisor) enter(p *process) (delay time.Duration) {
	stopTimer(&p.timer)
	switch p.state {
	case StateWaiting:
		s.failures = slices.DeleteFunc(s.failures, func(f Failure) bool { return f.Process == p.name })
	case StateStarting:
		s.guard(p)
	case StateRunning:
		p.run.ready = true
		s.watchLife(p)
		s.guard(p)
	case StateEnding, StateStopping:
		s.endRun(p)
	case StateBackoff:
		p.again = p.again && p.halt // it is started again anyway
		p.streak++
		delay = p.cfg.Backoff.Delay(p.streak)
		p.due = time.Now().Add(delay)
		p.timer = s.after(delay, p, func() { s.due(p) })
	case StateStopped, StateCompleted, StateFatal:
	}
	return delay
}

// due starts p, whose backoff is over, unless a group has meanwhile made its delay
// its own: this news was under way then.
func (s *Supervisor) due(p *process) {
	if !p.underRestart() {
		s.fire(p, TriggerDue, "")
	}
}

// spread lets the others know that p has changed its state: what waits for it
// may start, what it held up may stop, a group may have come to rest.
func (s *Supervisor) spread(p *process) {
	for _, q := range p.neededBy {
		s.tryStart(q)
	}
	if !p.state.AtRest() {
		return
	}
	for _, n := range p.needs {
		for _, q := range n.on.leaves() {
			s.tryHalt(q)
		}
	}
	switch {
	case p.leaving:
		s.left(p)
		return
	case s.stopping:
	case p.next != nil && !p.underRestart():
		s.renewed(p)
		return
	case p.again:
		p.again, p.halt = false, false
		if p.byChain {
			s.startInTurn(p)
		} else {
			s.fire(p, TriggerStart, "")
		}
		return
	}
	p.halt = p.halt && s.stopping
	for _, g := range p.above() {
		s.groupChanged(g)
	}
}

// after runs news in the loop after a delay, unless p has moved on by then.
func (s *Supervisor) after(delay time.Duration, p *process, news func()) *time.Timer {
	moves := p.moves
	return time.AfterFunc(delay, func() {
		s.post(func() {
			if p.moves == moves {
				news()
			}
		})
	})
}

func stopTimer(t **time.Timer) {
	if *t != nil {
		(*t).Stop()
		*t = nil
	}
}

// close ends what Run has begun beside the tree. What cannot be written any more
// is said; it changes nothing about how the tree has ended.
func (s *Supervisor) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, p := range s.everything() {
		if err := p.output.close(ctx); err != nil {
			s.deps.Log.Error().Err(err).Str("process", p.name).Msg("cannot write all of the log")
		}
	}
	if err := s.cgroups.Close(); err != nil {
		s.deps.Log.Warn().Err(err).Msg("the cgroups of the processes are left")
	}
	if err := s.journal.flush(context.Background()); err != nil {
		s.deps.Log.Error().Err(err).Msg("cannot record the end of supervision")
	}
}
