package heartbeat

import (
	"time"

	"procops/internal/event"
	"procops/internal/store"
)

// live has something happen to a heartbeat, after all that was due before, and keeps
// what has become of it.
func (l *List) live(tx *store.Tx, h Heartbeat, what func(*turn) error) error {
	w, jumped, err := l.look(tx)
	if err != nil {
		return err
	}
	if jumped {
		r, err := loadOne(tx, h.Name)
		if err != nil {
			return err
		}
		h.life, h.pulse = r.life, r.pulse
	}
	t := turn{life: h.life, expected: h.expected}
	if w.watching(tx.Now()) {
		// Otherwise nobody would be told, and what nobody has watched is no news.
		if err := t.pass(tx.Now()); err != nil {
			return err
		}
	}
	if err := what(&t); err != nil {
		return err
	}
	before, _ := h.judge(h.life, tx.Now())
	if after, _ := h.judge(t.life, tx.Now()); after != before {
		h.pulse = time.Time{} // the monitor knocks at once, so that the change is seen
	}
	return l.keep(tx, h, &t)
}

// keep records what has happened to a heartbeat.
func (l *List) keep(tx *store.Tx, h Heartbeat, t *turn) error {
	for _, c := range t.changes {
		tx.Emit(at(c.at, eventState.New(h.Name, stateData{From: c.from, To: c.to, Trigger: c.trigger})))
	}
	for _, n := range t.notices {
		message := h.noticeText(n)
		if err := saveAlert(tx, h.Name, n, message); err != nil {
			return err
		}
		tx.Emit(at(n.at, eventAlert.New(h.Name, alertData{Alert: n.alert, Failures: n.failures, Message: message})))
	}
	due := earlier(h.pulse, t.deadline())
	if h.pulse.IsZero() {
		due = time.UnixMicro(0) // it was never knocked at: that is done at once
	}
	if t.life == h.life {
		return setDue(tx, h.Name, h.pulse, due) // nearly every knock
	}
	return saveLife(tx, h.Name, t.life, h.pulse, due)
}

// heed has a beat count that the life has not heard of, because it stands in a file.
// One from before a pause, its end or the start of the run under way ends none of them.
func (h Heartbeat) heed(t *turn) error {
	b := h.Last
	if h.file == "" || b == nil || b.Outcome == Bad || !b.Time.After(t.base) {
		return nil
	}
	switch t.state {
	case StateNew, StatePaused, StateStarted:
		if b.Time.Before(t.since) {
			return nil
		}
	case StateUp, StateLate, StateDown: // they are as old as what was known then
	}
	if err := t.pass(b.Time); err != nil {
		return err
	}
	return t.fire(TriggerSuccess, b.Time)
}

// at dates an event.
func at(when time.Time, e event.Event) event.Event {
	e.Time = when
	return e
}

// noticeText says why there is an alert, for people.
func (h Heartbeat) noticeText(n notice) string {
	switch {
	case n.alert == AlertRecovered:
		return "it beats again"
	case h.cutOff && n.cause == TriggerFail:
		return cutOffText
	case n.cause == TriggerOverrun:
		return "a run has not ended after " + span(h.expected.maxRuntime)
	default:
		return h.downText(n.at)
	}
}

// earlier returns the earlier of two times, of which each may be zero: none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
