package heartbeat

import "time"

// life is where a heartbeat is in its life.
type life struct {
	state    State
	since    time.Time // when it came into the state
	base     time.Time // of the last good beat; the next one is expected from there
	armed    time.Time // it is not late before, because nobody watched; zero: no such bound
	started  time.Time // when the run under way began; zero: none is
	run      string    // the client's id of that run; may be empty
	failures int       // in a row
	alerted  bool      // somebody was told that it is down
	next     time.Time // when it is down: of the next failure to be counted, or the next alert; zero: none
	until    time.Time // when it is paused: the end of that; zero: none
}

// Alert says what somebody is to be told about a heartbeat.
type Alert string

// The alerts.
const (
	AlertDown      Alert = "down"       // it is down
	AlertStillDown Alert = "still_down" // it is down for another repeat_every
	AlertRecovered Alert = "recovered"  // it is up again, and somebody was told that it was down
)

// change is one change of state.
type change struct {
	from, to State
	trigger  Trigger
	at       time.Time // when it happened: what comes by itself, at its deadline
}

// notice is an alert to be delivered.
type notice struct {
	alert    Alert
	cause    Trigger // the last one
	at       time.Time
	failures int
}

// turn is what happens to a heartbeat at one time: triggers go in, changes and
// notices come out. It reads no clock.
type turn struct {
	life
	expected expectation
	cause    Trigger // the last one
	changes  []change
	notices  []notice
}

// deadline returns when something happens by itself; zero: never.
func (t *turn) deadline() time.Time {
	switch t.state {
	case StateUp:
		return t.expected.late(t.life)
	case StateLate:
		return t.expected.down(t.life)
	case StateDown:
		return t.next
	case StateStarted:
		return t.expected.overrun(t.life)
	case StatePaused:
		return t.until
	default:
		return time.Time{}
	}
}

// pass lets time pass until now: whatever was due before happens, each at its time.
func (t *turn) pass(now time.Time) error {
	for {
		at := t.deadline()
		if at.IsZero() || !at.Before(now) {
			return nil
		}
		if err := t.due(at, now); err != nil {
			return err
		}
	}
}

// due does what is due at a time that is not after now.
func (t *turn) due(at, now time.Time) error {
	switch t.state {
	case StateUp:
		return t.fire(TriggerLate, at)
	case StateLate:
		return t.fire(TriggerOverdue, at)
	case StateStarted:
		return t.fire(TriggerOverrun, at)
	case StatePaused:
		return t.fire(TriggerResume, at)
	default:
		if t.failures < t.expected.alertAfter {
			return t.fire(TriggerOverdue, at)
		}
		t.alert(at, now)
		return nil
	}
}

// fire moves the heartbeat by a trigger.
func (t *turn) fire(trigger Trigger, at time.Time) error {
	next, err := transition(t.state, trigger)
	if err != nil {
		return err
	}
	t.cause = trigger
	switch trigger {
	case TriggerSuccess:
		t.base, t.armed, t.failures = at, time.Time{}, 0
		if t.alerted {
			t.alerted = false
			t.notices = append(t.notices, notice{AlertRecovered, trigger, at, 0})
		}
	case TriggerFail, TriggerOverdue, TriggerOverrun:
		t.failures++
	case TriggerPause, TriggerResume:
		t.failures, t.alerted = 0, false
	case TriggerStart, TriggerLate:
	}
	t.move(next, trigger, at)
	if t.state == StateDown && trigger != TriggerResume {
		t.failed(at)
	}
	return nil
}

func (t *turn) move(next State, trigger Trigger, at time.Time) {
	if next != StateStarted && next != t.state {
		t.started, t.run = time.Time{}, ""
	}
	if next == t.state {
		return
	}
	t.changes = append(t.changes, change{t.state, next, trigger, at})
	t.state, t.since, t.next, t.until = next, at, time.Time{}, time.Time{}
}

// failed decides when somebody is told of a failure.
func (t *turn) failed(at time.Time) {
	switch {
	case t.failures < t.expected.alertAfter:
		t.next = t.expected.following(at)
	case !t.alerted:
		if t.next = t.expected.outside(at); t.next.Equal(at) {
			t.alert(at, at)
		}
	case t.next.IsZero() && t.expected.repeatEvery > 0: // the run between has put it off
		t.next = t.expected.outside(at.Add(t.expected.repeatEvery))
	}
}

// alert tells that it is down. Of the reminders that are due by now there is one.
func (t *turn) alert(at, now time.Time) {
	kind := AlertDown
	if t.alerted {
		kind = AlertStillDown
	}
	t.alerted = true
	t.notices = append(t.notices, notice{kind, t.cause, at, t.failures})
	every := t.expected.repeatEvery
	if every <= 0 {
		t.next = time.Time{}
		return
	}
	next := at.Add(max(0, now.Sub(at)).Truncate(every) + every)
	t.next = t.expected.outside(next)
}

// begin begins a run.
func (t *turn) begin(run string, at time.Time) error {
	if err := t.fire(TriggerStart, at); err != nil {
		return err
	}
	t.started, t.run = at, run
	return nil
}

// end ends a run, or is a beat of its own. The good end of a run that is not the
// one under way, because they overlap, leaves that one under way.
func (t *turn) end(trigger Trigger, run string, at time.Time) error {
	if t.state == StateStarted && t.run != run && trigger == TriggerSuccess {
		under := t.life
		if err := t.fire(trigger, at); err != nil {
			return err
		}
		t.changes = t.changes[:len(t.changes)-1]
		t.state, t.since, t.started, t.run = under.state, under.since, under.started, under.run
		return nil
	}
	return t.fire(trigger, at)
}

// pause pauses until a time; zero: until it is resumed or beats.
func (t *turn) pause(until, at time.Time) error {
	if err := t.fire(TriggerPause, at); err != nil {
		return err
	}
	t.until = until
	return nil
}

// rearm has it be expected anew, after nobody has watched until now.
func (t *turn) rearm(now time.Time) { t.armed = t.expected.anew(now) }
