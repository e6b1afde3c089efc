package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"time"

	"procops/internal/store"
	"procops/internal/unit"
)

const (
	// passChunk is how many heartbeats one transaction knocks at: beats that come
	// meanwhile wait no longer than for these.
	passChunk = 1000
	// DefaultInterval is how often a monitor looks for what is due unless told
	// otherwise.
	DefaultInterval = time.Second
	// leastPatience is how long a monitor may be away at least before that counts as
	// a time in which nobody watched.
	leastPatience = 30 * time.Second
	// unwatchPatience is how long the end of a monitor waits for the state.
	unwatchPatience = 5 * time.Second
	// complaintPause is the time between two records in the log of the same trouble.
	complaintPause = time.Minute
	// oncePatience is the same for passes that something else, such as cron, makes.
	oncePatience = time.Hour
)

// MonitorOptions say how a monitor works.
type MonitorOptions struct {
	Interval time.Duration    // how often it looks; 0 means DefaultInterval
	Once     bool             // one pass, the reactions to it, and the end
	OnKnock  func(Knock)      // hears of each knock; may be nil
	OnPass   func(PassReport) // hears of each pass that has knocked at something; may be nil
}

// PassReport is what one pass has found.
type PassReport struct {
	Knocked int
	By      map[Status]int
	Took    time.Duration
}

// Worst returns the status that matters most of those that were found, OK if
// nothing was knocked at.
func (r PassReport) Worst() Status {
	for _, s := range []Status{Critical, Warning, Unknown} {
		if r.By[s] > 0 {
			return s
		}
	}
	return OK
}

// Monitor knocks at the heartbeats when they are due, sees deadlines pass, and
// reacts to alerts. There is one at a time for a state directory.
func (l *List) Monitor(ctx context.Context, deps Deps, opt MonitorOptions) (last PassReport, err error) {
	if opt.Interval <= 0 {
		opt.Interval = DefaultInterval
	}
	m, err := newMonitor(ctx, l, deps, opt)
	if err != nil {
		return last, err
	}
	if opt.Once {
		return m.once(ctx)
	}
	defer func() { err = errors.Join(err, l.unwatch(ctx)) }()
	defer m.courier.wait()
	for {
		if last, err = m.pass(ctx); err != nil {
			// A state that cannot be written now may be later; to end would be worse.
			if ctx.Err() != nil {
				return last, nil
			}
			if errors.Is(err, store.ErrReplaced) {
				return last, err // but not that one: whoever starts the monitor again helps it
			}
			m.complain(err, "cannot knock at the heartbeats; it is tried again")
		}
		if err := m.courier.deliver(ctx); err != nil && ctx.Err() == nil {
			m.complain(err, "cannot read the alerts; it is tried again")
		}
		if !m.sleep(ctx) {
			return last, nil
		}
	}
}

// monitor is a Monitor at work.
type monitor struct {
	list    *List
	opt     MonitorOptions
	courier *courier
	said    map[string]time.Time // complaints
}

// complain logs an error, but the same one no more often than complaintPause: a disk
// that is full for a night would fill the log, and with it what it has left.
func (m *monitor) complain(err error, message string) {
	now := time.Now()
	if text := message + err.Error(); now.Sub(m.said[text]) >= complaintPause {
		m.said[text] = now
		m.courier.reactor.deps.Log.Error().Err(err).Msg(message)
	}
	maps.DeleteFunc(m.said, func(_ string, at time.Time) bool { return now.Sub(at) >= complaintPause })
}

func newMonitor(ctx context.Context, l *List, deps Deps, opt MonitorOptions) (*monitor, error) {
	if err := l.store.Update(ctx, letLogGrow); err != nil {
		return nil, err
	}
	return &monitor{list: l, opt: opt, courier: newCourier(l, deps), said: map[string]time.Time{}}, nil
}

func (m *monitor) once(ctx context.Context) (PassReport, error) {
	report, err := m.pass(ctx)
	if err == nil {
		err = m.courier.deliver(ctx)
	}
	m.courier.wait()
	return report, err
}

// sleep waits until something may be due; false means that ctx has ended. A timer
// stands still while the machine sleeps, so it never waits long.
func (m *monitor) sleep(ctx context.Context) bool {
	timer := time.NewTimer(m.opt.Interval)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-m.courier.done: // what was held back by it can be delivered now
		return true
	case <-ctx.Done():
		return false
	}
}

// pass knocks at all that is due.
func (m *monitor) pass(ctx context.Context) (PassReport, error) {
	began := time.Now()
	report := PassReport{By: map[Status]int{}}
	if err := m.list.store.Update(ctx, m.list.watch(m.patience())); err != nil {
		return report, err
	}
	for {
		var knocks []Knock
		err := m.list.store.Update(ctx, func(tx *store.Tx) (err error) {
			knocks, err = m.list.knockDue(tx, passChunk)
			return err
		})
		if err != nil {
			return report, err
		}
		for _, k := range knocks {
			report.Knocked++
			report.By[k.Status]++
			if m.opt.OnKnock != nil {
				m.opt.OnKnock(k)
			}
		}
		if len(knocks) < passChunk {
			break
		}
	}
	if report.Took = time.Since(began); report.Knocked > 0 && m.opt.OnPass != nil {
		m.opt.OnPass(report)
	}
	return report, nil
}

// patience is for how long after a pass the next one is in time.
func (m *monitor) patience() time.Duration {
	if m.opt.Once {
		return oncePatience
	}
	return max(leastPatience, 3*m.opt.Interval)
}

// watch records that a monitor watches. If none has until now, what was expected
// meanwhile is expected anew.
func (l *List) watch(patience time.Duration) func(*store.Tx) error {
	return func(tx *store.Tx) error {
		w, _, err := l.look(tx)
		if err != nil {
			return err
		}
		now := tx.Now()
		if !w.watching(now) {
			var data resumedData
			if !w.watched.IsZero() {
				data.Seconds = now.Sub(w.watched).Round(time.Millisecond).Seconds()
			}
			tx.Emit(eventResumed.New("", data))
			if err := l.resume(tx); err != nil {
				return err
			}
		}
		w.watched, w.until = now, now.Add(patience)
		return saveWatch(tx, w)
	}
}

// Unattended reports whether the configuration has something be done about heartbeats
// that are down, and no monitor is there to do it.
func (l *List) Unattended(ctx context.Context) (unattended bool, err error) {
	if !l.cfg.reacts() {
		return false, nil
	}
	err = l.store.View(ctx, func(tx *store.Tx) error {
		w, known, err := loadWatch(tx)
		unattended = !known || !w.watching(tx.Now())
		return err
	})
	return unattended, err
}

// reacts reports whether anything is to be done about any heartbeat that is down.
func (c Config) reacts() bool {
	if len(c.OnAttack) > 0 {
		return true
	}
	for _, t := range c.Heartbeats {
		if len(t.OnAttack) > 0 || t.DetachDown {
			return true
		}
	}
	return false
}

// unwatch records that the monitor watches no more.
func (l *List) unwatch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unwatchPatience)
	defer cancel()
	return l.store.Update(ctx, func(tx *store.Tx) error {
		w, _, err := l.look(tx)
		if err != nil {
			return err
		}
		w.until = tx.Now()
		return saveWatch(tx, w)
	})
}

// resume has all that was due while nobody watched be expected anew.
func (l *List) resume(tx *store.Tx) error {
	for name := range l.cfg.Heartbeats {
		if err := ensureRow(tx, name); err != nil {
			return err
		}
	}
	for after := ""; ; {
		rows, err := loadDueByName(tx, after, passChunk)
		if err != nil || len(rows) == 0 {
			return err
		}
		for _, r := range rows {
			if err := l.expectAnew(tx, r); err != nil {
				return err
			}
		}
		after = rows[len(rows)-1].name
	}
}

// expectAnew has a heartbeat that is late, or overruns, be expected anew.
func (l *List) expectAnew(tx *store.Tx, r row) error {
	if r.broken != nil {
		return nil //nolint:nilerr // the knock will tell
	}
	h := l.heartbeat(r)
	t := turn{life: h.life, expected: h.expected}
	if at := t.deadline(); at.IsZero() || !at.Before(tx.Now()) || t.state == StatePaused || t.state == StateDown {
		return nil
	}
	t.rearm(tx.Now())
	return l.keep(tx, h, &t)
}

// pruneShare is which share of the knocks of a pass shortens the history of its
// heartbeat: to do that with each would cost as much as the knock.
const pruneShare = 32

// knockDue knocks at those that are due, at most limit.
func (l *List) knockDue(tx *store.Tx, limit int) (knocks []Knock, err error) {
	rows, err := loadDue(tx, limit)
	if err != nil {
		return nil, err
	}
	wrapped, err := withRuns(tx, rows)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		k := Knock{Time: tx.Now(), Before: r.status}
		known, err := l.knockRow(tx, r, wrapped[r.name], &k)
		if err != nil {
			return nil, fmt.Errorf("heartbeat %q: %w", r.name, err)
		}
		if known {
			knocks = append(knocks, k)
		}
		if rand.IntN(pruneShare) == 0 {
			if err := pruneHistory(tx, r.name, l.retention()); err != nil {
				return nil, err
			}
		}
	}
	return knocks, nil
}

// knockRow knocks at a heartbeat that is due, and sets its next time; known is false
// if it is not in the list. A row that cannot be read is unknown and keeps nothing
// else from being knocked at.
func (l *List) knockRow(tx *store.Tx, r row, wrapped bool, k *Knock) (known bool, err error) {
	if _, declared := l.cfg.Heartbeats[r.name]; !declared && !r.attached {
		return false, setDue(tx, r.name, time.Time{}, time.Time{})
	}
	h := l.withFile(tx, l.heartbeat(r))
	h.pulse = tx.Now().Add(h.expected.pulse)
	k.Heartbeat = h
	t := turn{life: h.life, expected: h.expected}
	broken := h.why()
	if broken == nil {
		broken = errors.Join(h.heed(&t), t.pass(tx.Now()))
	}
	if broken != nil {
		k.Status, k.Message = Unknown, broken.Error()
		return true, errors.Join(l.note(tx, k), setDue(tx, r.name, h.pulse, h.pulse))
	}
	k.Status, k.Message = h.judge(t.life, tx.Now())
	if wrapped {
		if l.askRun(tx, k); k.isCutOff() && t.state == StateStarted && t.run == runName(k.Run.ID) {
			h.cutOff = true
			if err := t.fire(TriggerFail, tx.Now()); err != nil {
				return false, err
			}
		}
	}
	return true, errors.Join(l.note(tx, k), l.keep(tx, h, &t))
}

// why returns why nobody can say how a heartbeat is; nil if somebody can.
func (h Heartbeat) why() error {
	if h.broken != nil {
		return h.broken
	}
	if text, is := h.unknowable(); is {
		return errors.New(text)
	}
	return nil
}

// String says for people what a pass has found.
func (r PassReport) String() string {
	return fmt.Sprintf("knocked at %d in %s: %d ok, %d warning, %d critical, %d unknown", r.Knocked,
		unit.Duration(r.Took.Round(time.Millisecond)), r.By[OK], r.By[Warning], r.By[Critical], r.By[Unknown])
}
