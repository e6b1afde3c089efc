package runner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"procops/internal/proc"
)

// turn is one unit of work on its way through a co-process.
type turn struct {
	child    *child
	work     *Work
	ctx      context.Context // of the one who has the unit
	handed   bool            // the co-process may have seen the unit
	heard    bool            // it has said something of it
	answered bool            // it has told a result
	result   Result
	ending   ending        // why the co-process is to end after it
	fed      chan struct{} // closed when all of a large unit is written, or cannot be; nil: it was at once
	left     bool          // there is more of the unit to write
}

// run hands the unit over and listens until there is a result, or none will come.
func (t *turn) run() {
	c := t.child
	if !c.talk.quiet() {
		t.disquiet()
		return
	}
	c.serial++
	c.talk.message = appendWork(c.talk.message[:0], c.serial, t.work, c.base64)
	c.notes.begin(t.work)
	t.result.Started = time.Now()
	rest, err := c.talk.send()
	if err != nil {
		c.notes.finish()
		t.spoil(CauseExited, "it has closed its standard input")
		return
	}
	t.handed = true
	t.left = len(rest) > 0
	if t.left {
		t.feed(rest)
	}
	if t.work.OnStart != nil {
		t.work.OnStart()
	}
	t.listen()
	t.result.Duration = time.Since(t.result.Started)
	t.result.Diagnostics = c.notes.finish()
}

// disquiet tells what was found instead of silence before the unit was handed over.
func (t *turn) disquiet() {
	seen := t.child.talk.rest()
	if len(seen) == 0 {
		t.spoil(CauseExited, "it has closed its standard output")
		return
	}
	t.spoil(CauseProtocol, fmt.Sprintf("it has written %q without having work", short(seen)))
}

// feed writes the rest of a unit that did not fit into the pipe, while the answer is
// waited for.
func (t *turn) feed(rest []byte) {
	t.fed = make(chan struct{})
	in := t.child.talk.in
	go func() {
		defer close(t.fed)
		_, _ = in.Write(rest) // if nobody reads it, there will be no answer either
	}()
}

// written reports whether all of the unit is written.
func (t *turn) written() bool {
	if t.fed == nil {
		return true
	}
	select {
	case <-t.fed:
		return true
	default:
		return false
	}
}

// spoil says that the co-process is to end. The first reason counts.
func (t *turn) spoil(cause Cause, reason string) {
	if t.ending.cause == "" {
		t.ending = ending{cause, reason}
	}
}

// fail says that the unit has failed, and that the co-process is to end.
func (t *turn) fail(o Outcome, cause Cause, reason string) {
	t.result.Outcome, t.result.Reason = o, reason
	t.spoil(cause, reason)
}

// listen reads what the co-process says of the unit.
func (t *turn) listen() {
	defer t.arm()()
	for {
		line, err := t.child.talk.next()
		switch {
		case err == nil:
			if t.hear(line) {
				return
			}
		case errors.Is(err, errWoken):
			if t.interrupted() {
				return
			}
		case errors.Is(err, errNoJSON):
			t.breach(bytes.TrimSpace(t.child.talk.rest()), err)
			return
		case errors.Is(err, errTooLong):
			t.breach(t.child.talk.rest(), fmt.Errorf("a line may have %d bytes", t.child.talk.limit))
			return
		default:
			t.hungUp()
			return
		}
	}
}

// arm sees to it that the reader is woken when the time is over and when ctx ends. It
// returns what undoes that.
func (t *turn) arm() (disarm func()) {
	talk := t.child.talk
	unwatch := func() bool { return true }
	if t.ctx.Done() != nil {
		unwatch = context.AfterFunc(t.ctx, talk.wake)
	}
	if t.work.TimeLimit > 0 {
		t.child.limit.Reset(t.work.TimeLimit)
	}
	return func() {
		unwatch()
		if t.work.TimeLimit > 0 {
			t.child.limit.Stop()
		}
	}
}

// interrupted looks for the reason why the reader was woken. There may be none any
// more: then the unit goes on.
func (t *turn) interrupted() bool {
	t.child.talk.rearm()
	limit := t.work.TimeLimit
	switch {
	case t.child.exited.Load():
		t.died()
	case t.ctx.Err() != nil, t.child.halted.Load():
		t.fail(Cancelled, CauseCancelled, wasStopped)
	case limit > 0 && time.Since(t.result.Started) >= limit:
		t.fail(TimedOut, CauseTimeout, tooLong(limit))
	default:
		return false
	}
	return true
}

// hungUp is the end of its standard output, which mostly is its own.
func (t *turn) hungUp() {
	if t.child.expire() {
		t.died()
		return
	}
	t.fail(Failed, CauseProtocol, "its co-process has closed its standard output before it had answered")
}

// died judges the end of the co-process without a result. One that has not even read
// the unit has not begun it.
func (t *turn) died() {
	exit := t.child.process.Exit()
	if !t.heard && !t.left && t.child.talk.unread() {
		t.handed = false
		t.spoil(CauseExited, "it has ended: "+exit.Text())
		return
	}
	outcome := Failed
	if exit.Signal != 0 {
		outcome = Unknown
	}
	reason := "its co-process has ended before it had answered: " + exit.Text()
	if half := t.child.talk.rest(); len(half) > 0 {
		reason += fmt.Sprintf("; it had begun to write %q", short(half))
	}
	t.result.Outcome, t.result.Reason = outcome, reason
	t.spoil(CauseExited, "it has ended in the middle of a unit: "+exit.Text())
}

// breach is the end of a co-process that writes what it may not.
func (t *turn) breach(seen []byte, why error) {
	t.fail(Failed, CauseProtocol, fmt.Sprintf("its co-process has written %q: %v", short(seen), why))
}

// hear takes a line and reports whether the unit is over.
func (t *turn) hear(line []byte) (over bool) {
	m, err := parseMessage(line)
	if err != nil {
		t.breach(line, err)
		return true
	}
	kind := string(m.kind.raw) // no escape is needed for any that is known
	if kind != "result" && kind != "data" && kind != "progress" {
		t.breach(line, fmt.Errorf("there is no message of type %q here", short(m.kind.raw)))
		return true
	}
	if !t.mine(&m) {
		t.breach(line, fmt.Errorf("the id of its work is \"%d\"", t.child.serial))
		return true
	}
	t.heard = true
	switch kind {
	case "progress":
		if p, ok := parseReport(line); ok && t.work.OnProgress != nil {
			t.work.OnProgress(p)
		}
		return false
	case "data":
		return !t.takeData(line, &m)
	default:
		t.answer(line, &m)
		return true
	}
}

// mine reports whether a message is about the unit.
func (t *turn) mine(m *message) bool {
	var id [20]byte // digits of the largest number
	return bytes.Equal(m.id.raw, strconv.AppendUint(id[:0], t.child.serial, 10))
}

// takeData takes a piece of the result.
func (t *turn) takeData(line []byte, m *message) (ok bool) {
	begin := short(line) // before it is decoded in its place
	piece, err := m.result()
	if err != nil {
		t.breach([]byte(begin), err)
		return false
	}
	t.tell(piece)
	if t.work.OnData != nil {
		t.work.OnData(piece)
		return true
	}
	t.add(piece)
	return true
}

// answer takes the result.
func (t *turn) answer(line []byte, m *message) {
	outcome, ok := outcomeOf(m.outcome)
	if !ok {
		t.breach(line, fmt.Errorf("there is no outcome %q", short(m.outcome.raw)))
		return
	}
	meta, err := m.metaFields()
	if err != nil {
		t.breach(line, err)
		return
	}
	reason := m.reason.copied()
	begin := ""
	if m.output64.raw != nil {
		begin = short(line)
	}
	output, err := m.result()
	if err != nil {
		t.breach([]byte(begin), err)
		return
	}
	t.tell(output)
	t.answered, t.result.Outcome, t.result.Meta = true, outcome, meta
	if outcome != Success {
		t.result.Reason = reason
		if reason == "" {
			t.result.Reason = fmt.Sprintf("its outcome is %q", outcome)
		}
	}
	if t.result.Output == nil && len(output) <= maxOutput(t.work.MaxOutput) {
		t.result.Output = t.child.talk.keep(output)
	} else {
		t.add(output)
	}
	t.result.checkLength(maxOutput(t.work.MaxOutput))
	if more := t.child.talk.rest(); len(more) > 0 {
		t.spoil(CauseProtocol, fmt.Sprintf("it has written %q after its result", short(more)))
	}
	if !t.written() {
		t.spoil(CauseProtocol, "it has answered before it had read its unit")
	}
}

// outcomeOf reads the outcome of a result; without one it is a success.
func outcomeOf(t text) (Outcome, bool) {
	if t.raw == nil {
		return Success, true
	}
	switch o := Outcome(t.copied()); o {
	case Success, Warning, Retry, Failed, Stop:
		return o, true
	default:
		return "", false
	}
}

// tell passes on what is part of the result.
func (t *turn) tell(piece []byte) {
	if t.work.Output != nil && len(piece) > 0 {
		t.work.Output(proc.Stdout, piece)
	}
}

// add keeps what is part of the result, as far as there is room.
func (t *turn) add(piece []byte) {
	limit := maxOutput(t.work.MaxOutput)
	room := limit - len(t.result.Output)
	if len(piece) > room {
		t.result.Truncated = limit > 0
		piece = piece[:room]
	}
	t.result.Output = append(t.result.Output, piece...)
}
