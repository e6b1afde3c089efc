package daemon

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"procops/internal/event"
	"procops/internal/fault"
	"procops/internal/pidfile"
	"procops/internal/proc"
	"procops/internal/runner"
	"procops/internal/states"
	"procops/internal/store"
	"procops/internal/unit"
)

// Deps is what a daemon needs of the rest of procops.
type Deps struct {
	Host     *proc.Host
	Store    *store.Store
	Bus      *event.Bus
	Log      zerolog.Logger
	StateDir string   // for what the config names no directory for
	Env      []string // added to the environment of turns
	// Output hears what turns write, as it is; may be nil. It must not block.
	Output func(proc.Stream, []byte)
	// Beat tells a heartbeat of a turn: ok, or why it has failed. It may block.
	Beat func(ctx context.Context, heartbeat string, ok bool, message string) error
	// Hosted says that the process does other things as well: it is not the daemon.
	Hosted bool
	// Once ends the daemon after its first turn, which begins at once.
	Once bool
	// Reload returns the config as it is now; nil: the config does not change.
	Reload func() (Config, error)
	// Begun is called once, when the daemon is up: with the start of its first turn, or
	// when that waits for its time; or with the reason why the first turn cannot begin.
	Begun func(error)
}

// Daemon is a daemon that runs, or is about to. Its methods may be called from any
// goroutine.
type Daemon struct {
	id     ID
	deps   Deps
	orders chan func()
	done   chan struct{} // closed when Run returns
	ending chan struct{} // closed when all is given up: no order is taken any more
	hurry  chan struct{} // closed: what is being stopped is killed

	hurryOnce sync.Once
	newWorker func() (worker, error) // makes what runs the turns

	// Of Run's goroutine:
	cfg      Section
	common   Config
	machine  states.Table[State, Trigger]
	state    State
	reason   string // why it ends
	failed   bool   // it has given up
	pace     pace
	worker   worker
	pidfile  *pidfile.File
	logs     *logs
	journal  *journal
	beats    *beats
	hooks    sync.WaitGroup  // commands of on_usr1 and on_usr2
	hooked   map[string]bool // which of them are under way
	known    record
	seen     atomic.Pointer[record] // known, for others
	timer    *time.Timer            // until the next turn
	over     chan Turn              // gets the turn under way
	stopTurn context.CancelFunc
	begun    bool
	trimmed  bool    // it has given back the memory that it only needed to begin
	outgrew  bool    // it has ended because of its memory
	fresh    *Config // what a reload has brought and the next turn brings into effect
}

// New returns the daemon that id names in a config without faults. The error says that
// there is no such daemon or instance.
func New(cfg Config, id ID, deps Deps) (*Daemon, error) {
	section, err := cfg.Find(id.Name)
	if err != nil {
		return nil, err
	}
	if err := section.checkInstance(&id); err != nil {
		return nil, err
	}
	if id.Context == "" {
		id.Context = cfg.contextOf(section)
	}
	d := &Daemon{
		id: id, deps: deps, cfg: section, common: cfg, machine: machine(), state: StateWaiting, pace: newPace(section),
		orders: make(chan func()), done: make(chan struct{}), ending: make(chan struct{}), hurry: make(chan struct{}), over: make(chan Turn, 1),
		stopTurn: func() {}, hooked: map[string]bool{},
	}
	d.newWorker = d.newHand
	return d, nil
}

// Last returns the newest turn. It is called after Run.
func (d *Daemon) Last() Turn { return d.known.turn }

// Outgrown reports whether the daemon has ended because of its memory, so that whoever
// runs it starts it afresh. It is called after Run.
func (d *Daemon) Outgrown() bool { return d.outgrew }

// Text says what the daemon does, in a line for people.
func (d *Daemon) Text() string {
	r := d.seen.Load()
	if r == nil {
		return ""
	}
	text := fmt.Sprintf("%d turns", r.turns)
	if r.turns == 1 {
		text = "1 turn"
	}
	switch {
	case r.state != StateWaiting:
		text += ", one under way"
	case !r.next.IsZero():
		text += ", next in " + unit.Duration(max(0, time.Until(r.next)).Round(time.Millisecond)).String()
	}
	if r.failures > 0 {
		text += fmt.Sprintf(", %d failures in a row: %s", r.failures, r.turn.Message)
	}
	return text
}

// ID says which daemon it is.
func (d *Daemon) ID() ID { return d.id }

// Run takes the pidfile and runs turns until the daemon is told to end or ends by
// itself; the end of ctx is like Stop. The error is a fault.Conflict if it runs already,
// and says why when it has given up.
func (d *Daemon) Run(ctx context.Context) (err error) {
	defer close(d.done)
	if err := d.open(ctx); err != nil {
		d.tellBegun(err)
		return err
	}
	defer func() { err = d.close(err) }()
	d.begin()
	d.loop(ctx)
	if !d.failed {
		d.tellBegun(nil) // whatever has ended it before its first turn was in order
		return nil
	}
	err = fault.New(fault.Failure, "daemon %q has given up: %s", d.id, d.reason)
	d.tellBegun(err)
	return err
}

// open takes and opens all that the daemon needs.
func (d *Daemon) open(ctx context.Context) (err error) {
	if d.pidfile, err = pidfile.Claim(d.common.PidfilePath(d.id, d.deps.StateDir), d.ownPID()); err != nil {
		return err
	}
	if d.logs, err = openLogs(d.common, d.id, d.deps); err != nil {
		return d.close(err)
	}
	d.journal = &journal{id: d.id, store: d.deps.Store, log: d.deps.Log, keep: d.cfg.HistoryKeep}
	d.beats = newBeats(d.deps)
	if d.worker, err = d.newWorker(); err != nil {
		return d.close(err)
	}
	former, _, err := load(ctx, d.deps.Store, d.id)
	if err != nil {
		d.deps.Log.Warn().Err(err).Str("daemon", d.id.String()).Msg("nothing is known of former turns")
	}
	id, err := proc.Identify(os.Getpid())
	if err != nil {
		return d.close(err)
	}
	d.known = record{by: id, began: time.Now(), turn: former.turn}
	return nil
}

// ownPID returns the pid of the daemon; 0 if it has no process of its own.
func (d *Daemon) ownPID() int {
	if d.deps.Hosted {
		return 0
	}
	return os.Getpid()
}

// closePatience is how long the records and logs may take at the end.
const closePatience = 10 * time.Second

// close gives up all that open has taken.
func (d *Daemon) close(err error) error {
	close(d.ending)
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	if d.worker != nil {
		d.worker.close()
	}
	d.hooks.Wait()
	if d.beats != nil {
		d.beats.close()
	}
	if d.journal != nil {
		if bad := d.journal.flush(ctx); bad != nil {
			d.deps.Log.Warn().Err(bad).Msg("the end of the daemon is not recorded")
		}
	}
	if d.logs != nil {
		if bad := d.logs.close(ctx); bad != nil {
			d.deps.Log.Warn().Err(bad).Msg("cannot write all of the log")
		}
	}
	if bad := d.pidfile.Release(); bad != nil {
		d.deps.Log.Warn().Err(bad).Msg("the pidfile is left")
	}
	return err
}

// begin plans the first turn.
func (d *Daemon) begin() {
	data := startData{PID: d.known.by.PID, Context: d.id.Context, Instance: d.id.Instance}
	d.logs.say("start", fmt.Sprintf("pid %d", data.PID))
	now := time.Now()
	at := now
	if !d.deps.Once {
		at = d.pace.first(now, d.known.turn.Started)
	}
	d.plan(at)
	d.tellState("", eventStart.New(d.id.Name, data))
	if at.After(now) || at.IsZero() {
		d.tellBegun(nil)
	}
}

// tellBegun says once that the daemon is up, or why it is not.
func (d *Daemon) tellBegun(err error) {
	if d.begun {
		return
	}
	d.begun = err == nil
	if d.deps.Begun != nil {
		d.deps.Begun(err)
	}
}

// loop deals with one thing after the other until the daemon has stopped.
func (d *Daemon) loop(ctx context.Context) {
	stop := ctx.Done()
	for d.state != StateStopped {
		select {
		case <-stop:
			stop = nil
			d.end(TriggerStop, "it was told to stop")
		case order := <-d.orders:
			order()
		case <-d.timer.C:
			d.due()
		case turn := <-d.over:
			d.ended(turn)
		}
	}
	d.timer.Stop()
	d.conclude()
}

// wallWait is the longest wait for a time of a schedule until the wall clock is looked
// at again: it may have been set, and timers stand still while the machine sleeps.
const wallWait = time.Minute

// plan sets the timer for the next turn; the zero time is never.
func (d *Daemon) plan(at time.Time) {
	d.known.next = at
	wait := time.Until(at)
	switch {
	case at.IsZero():
		wait = wallWait
	case d.cfg.Schedule != nil:
		wait = min(wait, wallWait)
	}
	if d.timer == nil {
		d.timer = time.NewTimer(wait)
		return
	}
	d.timer.Reset(wait)
}

// due starts the turn whose time has come.
func (d *Daemon) due() {
	if d.state != StateWaiting {
		return
	}
	if at := d.known.next; at.IsZero() || d.cfg.Schedule != nil && time.Now().Round(0).Before(at.Round(0)) {
		d.plan(at)
		return
	}
	d.start()
}

// longTurn is how long a turn runs before it is recorded that it does: for a shorter one
// its end is soon enough.
const longTurn = time.Second

// startNow begins a turn that is not due.
func (d *Daemon) startNow() {
	d.start()
	d.pace.beginAt(time.Now())
}

// start begins a turn, unless the daemon has grown too large for it.
func (d *Daemon) start() {
	if d.cfg.memoryTooLarge(d.worker.usage()) {
		d.outgrown()
		return
	}
	d.pace.begin()
	d.fire(TriggerDue, "")
	d.known.turns++
	number := d.known.turns
	d.known.turn = Turn{Number: number, Started: time.Now()}
	ctx, cancel := context.WithCancel(context.Background())
	d.stopTurn = cancel
	go func() {
		defer cancel()
		long := time.AfterFunc(longTurn, func() { d.order(func() { d.tellLong(number) }) })
		defer long.Stop()
		d.over <- d.worker.turn(ctx, number, d.turnBegun(number))
	}()
}

// turnBegun returns what is called when a turn has begun; nil if nobody wants to know.
func (d *Daemon) turnBegun(number uint64) func() {
	if number > 1 {
		return nil
	}
	return func() { d.order(func() { d.tellBegun(nil) }) }
}

// ended deals with the end of a turn.
func (d *Daemon) ended(t Turn) {
	began := d.known.turn.Started
	d.known.turn = t
	d.logs.endTurn()
	d.known.failures = t.failuresAfter(d.known.failures)
	d.tellTurn(t, d.foreseen(t))
	now := time.Now() // after those who listen, whose time is part of the turn
	if n := d.pace.skipped(began, now); n > 0 {
		d.tellSkipped(n)
	}
	d.renew()
	d.fire(TriggerOver, d.reason)
	if d.state != StateWaiting {
		return
	}
	if reason := d.enough(t); reason != "" {
		d.failed = t.Failed() && !d.deps.Once
		d.end(TriggerFinish, reason)
		return
	}
	at := d.pace.next(now, d.known.failures)
	if !at.IsZero() && !at.After(now) { // a timer would cost more than its time
		d.known.next = at
		d.tellState("") // there is no pause in which it would be told
		d.start()
		return
	}
	d.plan(at)
	d.tellState("")
	if !d.trimmed && at.Sub(now) > longTurn {
		d.trimmed = true
		proc.Trim()
	}
}

// foreseen returns the time until the next turn, as far as it is known when a turn has
// just ended; 0 if there is none.
func (d *Daemon) foreseen(t Turn) time.Duration {
	if d.state != StateRunning || d.enough(t) != "" {
		return 0
	}
	now := time.Now()
	ahead := d.pace // what is planned here does not hold
	return max(0, ahead.next(now, d.known.failures).Sub(now))
}

// failuresAfter returns how many turns in a row have failed.
func (t Turn) failuresAfter(before int) int {
	switch {
	case t.Failed():
		return before + 1
	case t.Outcome == string(runner.Cancelled):
		return before
	default:
		return 0
	}
}

// enough says why a turn is the last; empty: it is not.
func (d *Daemon) enough(t Turn) string {
	switch {
	case t.Outcome == string(runner.Stop):
		return "a turn has asked for it: " + t.Message
	case d.deps.Once:
		return "one turn was asked for"
	case !d.begun && !t.begun: // nobody would want to look at that for long
		return "its first turn cannot begin: " + t.Message
	case t.Failed() && d.cfg.OnFailure == FailureStop:
		return "a turn has failed: " + t.Message
	case d.cfg.MaxFailures > 0 && d.known.failures >= d.cfg.MaxFailures:
		return fmt.Sprintf("%d turns in a row have failed: %s", d.known.failures, t.Message)
	default:
		return ""
	}
}

// memoryTooLarge reports whether so many bytes are more than the share of the limit that
// a daemon may have when a turn starts.
func (s Section) memoryTooLarge(used int64) bool {
	threshold := s.threshold().Bytes()
	return threshold > 0 && used > threshold
}

// outgrown ends the daemon because of its memory.
func (d *Daemon) outgrown() {
	d.outgrew = true
	d.end(TriggerFinish, fmt.Sprintf("a turn has used %s, more than %g %% of the memory_limit of %s",
		bytesText(d.worker.usage()), d.cfg.MemoryThreshold, bytesText(d.cfg.MemoryLimit.Bytes())))
}

// end moves the daemon towards its end.
func (d *Daemon) end(t Trigger, reason string) {
	if d.reason == "" {
		d.reason = reason
	}
	d.fire(t, d.reason)
	if d.state == StateStopping {
		d.stopTurn()
	}
}

// fire moves the daemon by a trigger.
func (d *Daemon) fire(t Trigger, reason string) {
	next, err := d.machine.Transition(d.state, t)
	if err != nil {
		d.deps.Log.Error().Err(err).Str("daemon", d.id.String()).Msg("cannot change state") // a defect
		return
	}
	d.state, d.known.reason = next, reason
}
