package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"procops/internal/proc"
	"procops/internal/states"
)

// handAttempts is to how many co-processes a unit is handed, if one after the other
// has ended without having seen it.
const handAttempts = 3

// Notice is what an observer is told of a co-process.
type Notice struct {
	Kind NoticeKind
	PID  int // 0: it could not be started

	// When it has ended:
	Cause  Cause
	Reason string // for people
	Exit   proc.Exit
	Memory int64         // resident memory in bytes after its last unit; 0: not known
	Units  int           // that it has done
	Pause  time.Duration // until the next may be started; 0: at once
}

// NoticeKind says what has happened to a co-process.
type NoticeKind string

// The kinds.
const (
	NoticeStarted NoticeKind = "started"
	NoticeReady   NoticeKind = "ready" // it has said hello
	NoticeEnded   NoticeKind = "ended" // nothing is left of it
)

// pool is the Runner of the mode coprocess.
type pool struct {
	o       Options
	cfg     Config
	machine states.Table[State, Trigger]
	keepers sync.WaitGroup // one for each co-process
	hasten  chan struct{}  // closed: Close does not wait any longer
	hastily sync.Once

	mu       sync.Mutex
	children []*child
	starting int      // of them
	idle     []*child // the last one to become so is the next to get work
	waiting  []*waiter
	failures int         // co-processes in a row that have ended without having done anything
	again    time.Time   // none is started before
	retry    *time.Timer // then; nil: nobody waits for it
	closed   bool
	stuck    error // what could not be ended
}

// waiter is a unit of work that waits for a co-process.
type waiter struct {
	done  chan struct{} // closed when there is one, or none is to be had
	child *child
	err   error
}

func newPool(o Options) *pool {
	if o.Observe == nil {
		o.Observe = func(Notice) {}
	}
	if o.OnError == nil {
		o.OnError = func(error) {}
	}
	o.Coprocess = o.Coprocess.filled()
	return &pool{o: o, cfg: o.Coprocess, machine: machine(), hasten: make(chan struct{})}
}

// Run hands the unit to one that is free.
func (p *pool) Run(ctx context.Context, w Work) (Result, error) {
	if begun := w.OnStart; begun != nil {
		w.OnStart = sync.OnceFunc(begun)
	}
	var last ending
	for range handAttempts {
		c, err := p.take(ctx)
		if err != nil {
			return Result{}, cannotRun(err)
		}
		t := turn{child: c, work: &w, ctx: ctx}
		t.run()
		p.finish(&t)
		if t.handed {
			return t.result, nil
		}
		last = t.ending
	}
	return Result{}, cannotRun(fmt.Errorf("%d co-processes could not take it; of the last: %s", handAttempts, last.reason))
}

// take returns a co-process that is free, and waits for it if need be.
func (p *pool) take(ctx context.Context) (*child, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, ErrClosed
	}
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.move(c, TriggerWork)
		p.mu.Unlock()
		return c, nil
	}
	w := &waiter{done: make(chan struct{})}
	p.waiting = append(p.waiting, w)
	p.startMore()
	p.mu.Unlock()
	select {
	case <-w.done:
		return w.child, w.err
	case <-ctx.Done():
		p.withdraw(w)
		return nil, context.Cause(ctx)
	}
}

// withdraw ends the wait of one who has no need of a co-process any more.
func (p *pool) withdraw(w *waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.waiting, w); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
		return
	}
	if w.child != nil {
		p.move(w.child, TriggerAnswer)
		p.offer(w.child)
	}
}

// finish is the end of a unit: the co-process is free, or is to end. One that has not
// answered has ended when finish returns.
func (p *pool) finish(t *turn) {
	c := t.child
	if t.answered {
		if p.cfg.MemoryThreshold > 0 || !t.work.NoMemory {
			t.result.Memory = c.rss()
		}
		if t.written() {
			c.talk.reset()
		}
	}
	p.mu.Lock()
	if t.answered {
		c.units++
		c.memory = t.result.Memory
		p.failures = 0
	}
	if t.ending.cause == "" {
		p.move(c, TriggerAnswer)
		p.offer(c)
		p.mu.Unlock()
		return
	}
	p.doom(c, TriggerFail, t.ending)
	p.mu.Unlock()
	if t.handed && !t.answered {
		<-c.over
		t.result.Exit = c.process.Exit()
	}
	if t.fed != nil {
		<-t.fed // the pipe is closed if not all was written
	}
}

// offer finds something to do for one that has become idle. The lock is held.
func (p *pool) offer(c *child) {
	threshold := p.cfg.MemoryThreshold.Bytes()
	switch {
	case c.exited.Load():
		p.doom(c, TriggerExited, ending{CauseExited, "it has ended: " + c.process.Exit().Text()})
	case p.closed:
		p.doom(c, TriggerLeave, ending{CauseClosed, "it is not needed any more"})
	case p.cfg.MaxUnits > 0 && c.units >= p.cfg.MaxUnits:
		p.doom(c, TriggerLeave, ending{CauseUnits, fmt.Sprintf("it has done %d units of work", c.units)})
	case threshold > 0 && c.memory > threshold:
		p.doom(c, TriggerLeave, ending{CauseMemory, fmt.Sprintf("it uses %s of memory, and its threshold is %s", megabytes(c.memory), megabytes(threshold))})
	case len(p.waiting) > 0:
		w := p.waiting[0]
		p.waiting = p.waiting[1:]
		p.move(c, TriggerWork)
		w.child = c
		close(w.done)
	default:
		p.idle = append(p.idle, c)
	}
}

// megabytes writes a size for people.
func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/(1<<20)) }

// doom says that a co-process is to end; its keeper does it. The lock is held.
func (p *pool) doom(c *child, t Trigger, why ending) {
	from := c.state
	p.move(c, t)
	if c.ending.cause != "" || c.state == from {
		return
	}
	c.ending = why
	if i := slices.Index(p.idle, c); i >= 0 {
		p.idle = slices.Delete(p.idle, i, i+1)
	}
	close(c.doomed)
}

// move moves a co-process by a trigger. The lock is held.
func (p *pool) move(c *child, t Trigger) {
	next, err := p.machine.Transition(c.state, t)
	if err != nil {
		// A defect of procops: said aloud, and the co-process stays where it is.
		p.o.OnError(fmt.Errorf("cannot change the state of a co-process: %w", err))
		return
	}
	c.state = next
}

// startMore starts as many as are needed for those who wait. After a failure it is
// one at a time, and not before its time. The lock is held.
func (p *pool) startMore() {
	for !p.closed && len(p.children) < p.cfg.Size && p.starting < len(p.waiting) {
		if p.failures > 0 {
			if p.starting > 0 {
				return
			}
			if wait := time.Until(p.again); wait > 0 {
				p.startIn(wait)
				return
			}
		}
		p.start()
	}
}

// startIn starts those that are needed later. The lock is held.
func (p *pool) startIn(wait time.Duration) {
	if p.retry != nil {
		return
	}
	p.retry = time.AfterFunc(wait, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.retry = nil
		p.startMore()
	})
}

// start starts one. The lock is held.
func (p *pool) start() {
	c := newChild()
	p.children = append(p.children, c)
	p.starting++
	p.keepers.Go(func() { p.keep(c) })
}

// Warm starts all, and waits for the hello of each.
func (p *pool) Warm(ctx context.Context) error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return fmt.Errorf("cannot start a co-process: %w", ErrClosed)
	}
	for len(p.children) < p.cfg.Size {
		p.start()
	}
	children := slices.Clone(p.children)
	p.mu.Unlock()
	for _, c := range children {
		select {
		case <-c.ready:
			if c.failure != nil {
				<-c.over
				return c.failure
			}
		case <-ctx.Done():
			return fmt.Errorf("cannot wait for a co-process: %w", context.Cause(ctx))
		}
	}
	return nil
}

// Close lets no unit in any more, and waits until all is ended.
func (p *pool) Close(ctx context.Context) error {
	p.mu.Lock()
	if !p.closed {
		p.close()
	}
	p.mu.Unlock()
	gone := make(chan struct{})
	go func() {
		p.keepers.Wait()
		close(gone)
	}()
	select {
	case <-gone:
	case <-ctx.Done():
		p.hastily.Do(p.halt)
		<-gone
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stuck
}

// close lets nobody in any more, and those go who have nothing to do. The lock is held.
func (p *pool) close() {
	p.closed = true
	if p.retry != nil {
		p.retry.Stop()
		p.retry = nil
	}
	p.refuse(ErrClosed)
	why := ending{CauseClosed, "it is not needed any more"}
	for _, c := range p.children {
		switch c.state {
		case StateStarting:
			p.doom(c, TriggerFail, why)
		case StateIdle:
			p.doom(c, TriggerLeave, why)
		case StateBusy, StateLeaving, StateStopping, StateEnded:
		}
	}
}

// refuse tells those who wait that there will be none. The lock is held.
func (p *pool) refuse(err error) {
	for _, w := range p.waiting {
		w.err = err
		close(w.done)
	}
	p.waiting = nil
}

// halt stops the units under way.
func (p *pool) halt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.hasten)
	for _, c := range p.children {
		c.halted.Store(true)
		if c.state == StateBusy {
			c.talk.wake()
		}
	}
}

// keep looks after a co-process from its start to its end.
func (p *pool) keep(c *child) {
	if !p.begin(c) {
		return
	}
	select {
	case <-c.process.Exited():
		p.exited(c)
		<-c.doomed
	case <-c.doomed:
	}
	p.end(c)
}

// begin starts it and waits for its hello. It reports whether there is a process to be
// ended.
func (p *pool) begin(c *child) bool {
	if err := c.start(&p.o); err != nil {
		p.mu.Lock()
		p.doom(c, TriggerFail, ending{CauseStart, err.Error()})
		p.mu.Unlock()
		c.failure = err
		close(c.ready)
		p.bury(c)
		return false
	}
	p.o.Observe(Notice{Kind: NoticeStarted, PID: c.process.PID()})
	err := p.awaitHello(c)
	if err == nil {
		p.o.Observe(Notice{Kind: NoticeReady, PID: c.process.PID()})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.starting--
	switch {
	case err != nil:
		c.failure = fmt.Errorf("cannot start the co-process: %w", err)
		p.doom(c, TriggerFail, ending{CauseStart, err.Error()})
	case c.state == StateStarting:
		c.talk.reset()
		p.move(c, TriggerHello)
		p.offer(c)
	default: // the pool was closed meanwhile
		c.failure = fmt.Errorf("cannot start the co-process: %w", ErrClosed)
	}
	close(c.ready)
	return true
}

// awaitHello waits for the hello and returns why there is none.
func (p *pool) awaitHello(c *child) error {
	var said error
	greeted := make(chan struct{})
	go func() {
		defer close(greeted)
		said = c.greet()
	}()
	timer := time.NewTimer(p.cfg.StartTimeout.Std())
	defer timer.Stop()
	exited, late, closed := false, false, false
	select {
	case <-greeted:
	case <-c.process.Exited():
		exited = true // it may have said it and gone
	case <-timer.C:
		late = true
	case <-c.doomed:
		closed = true
	}
	c.talk.wake()
	<-greeted
	c.talk.rearm()
	switch {
	case closed || !errors.Is(said, errNoHello):
		return said
	case late:
		return fmt.Errorf("%w within %v%s", said, p.cfg.StartTimeout, c.lament())
	case exited || c.expire():
		return fmt.Errorf("it has ended without a hello: %s%s", c.process.Exit().Text(), c.lament())
	default:
		return said
	}
}

// lament returns what it has said last to standard error.
func (c *child) lament() string {
	c.notes.mu.Lock()
	c.notes.catchUp()
	c.notes.mu.Unlock()
	if words := c.notes.lastWords(); words != "" {
		return fmt.Sprintf("; it has written %q", words)
	}
	return ""
}

// exited is told of the end of the process. If it has a unit, whoever reads its answer
// decides what that means.
func (p *pool) exited(c *child) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.exited.Store(true)
	switch c.state {
	case StateIdle:
		p.doom(c, TriggerExited, ending{CauseExited, "it has ended: " + c.process.Exit().Text()})
	case StateBusy:
		c.talk.wake()
	case StateStarting, StateLeaving, StateStopping, StateEnded:
	}
}

// end makes an end of a co-process and what belongs to it.
func (p *pool) end(c *child) {
	_ = c.talk.in.Close() // which tells it to leave
	p.mu.Lock()
	leaving := c.state == StateLeaving
	p.mu.Unlock()
	if leaving {
		p.awaitLeave(c)
		p.mu.Lock()
		p.move(c, TriggerExited)
		p.mu.Unlock()
	}
	err := stop(c.process, p.o.Ladder, p.o.Hurry)
	c.release()
	p.mu.Lock()
	p.stuck = errors.Join(p.stuck, err)
	p.mu.Unlock()
	p.bury(c)
}

// awaitLeave waits for one that is to leave by itself: as long as it has to end after
// the first signal.
func (p *pool) awaitLeave(c *child) {
	patience := defaultGrace
	if len(p.o.Ladder.Steps) > 0 {
		patience = p.o.Ladder.Steps[0].Wait
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-c.process.Exited():
	case <-timer.C:
	case <-p.hasten:
	case <-p.o.Hurry:
	}
}

// bury takes note of the end of a co-process, and sees to it that another one takes
// its place if one is needed.
func (p *pool) bury(c *child) {
	n := Notice{Kind: NoticeEnded}
	if c.process != nil {
		n.PID, n.Exit = c.process.PID(), c.process.Exit()
	}
	p.mu.Lock()
	if c.process == nil {
		p.starting--
	}
	p.move(c, TriggerGone)
	p.children = slices.DeleteFunc(p.children, func(other *child) bool { return other == c })
	n.Cause, n.Reason, n.Memory, n.Units = c.ending.cause, c.ending.reason, c.memory, c.units
	if c.units == 0 && n.Cause != CauseClosed {
		p.failures++
		n.Pause = p.cfg.pause(p.failures)
		p.again = time.Now().Add(n.Pause)
	}
	p.mu.Unlock()
	p.o.Observe(n)
	p.mu.Lock()
	defer p.mu.Unlock()
	close(c.over)
	if n.Cause == CauseStart && len(p.children) == 0 {
		p.refuse(c.failure)
	}
	if c.units > 0 && p.failures == 0 && !p.closed && len(p.children) < p.cfg.Size {
		p.start()
		return
	}
	p.startMore()
}
