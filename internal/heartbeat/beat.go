package heartbeat

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"procops/internal/fault"
	"procops/internal/store"
	"procops/internal/unit"
)

// Outcome says whether a beat brings good or bad news.
type Outcome string

// The outcomes.
const (
	Good Outcome = "ok"
	Bad  Outcome = "failed" // a wrapped command failed, or the client says that it has
)

// Beat is one sign of life.
type Beat struct {
	Number  int64          // running number, from 1
	Time    time.Time      // when it was recorded
	Client  Client         // whose sign it is
	Outcome Outcome        // Good unless there was a failure
	Message string         // why it is Bad, for people
	Data    map[string]any // the client's own fields; may be nil
}

// Lag returns how long before now the beat was. A beat from the future, after
// the clock was set back, has none.
func (b *Beat) Lag(now time.Time) time.Duration { return max(0, now.Sub(b.Time)) }

// Sign is a beat on its way into the list.
type Sign struct {
	Client Client
	Data   map[string]any // the client's own fields; may be nil
	Create bool           // attach the heartbeat if it is not in the list
	Failed bool           // the client has failed
	Why    string         // it has, for people; may be empty
}

// Receipt says what became of a beat.
type Receipt struct {
	Number    int64     // the running number of the last beat
	Time      time.Time // of the last beat
	Created   bool      // the heartbeat was attached by this beat
	Coalesced bool      // the beat came too fast: it was counted, and the last one stays
	file      jsonFile  // where else the beat belongs
}

// Beat records a beat. A name that is not in the list is a fault.NotFound
// unless s says to create it; a beat that comes too fast is a fault.Conflict if
// the heartbeat refuses those. A failure is never too fast.
func (l *List) Beat(ctx context.Context, name string, s Sign) (receipt Receipt, err error) {
	if err := CheckName(name); err != nil {
		return Receipt{}, err
	}
	err = l.store.Update(ctx, func(tx *store.Tx) error {
		receipt, err = l.beat(tx, name, s)
		return err
	})
	if err == nil && !receipt.Coalesced && !s.Failed { // the file knows no bad news
		err = receipt.file.write(Beat{Time: receipt.Time, Client: s.Client})
	}
	return receipt, err
}

// messageKept is how many bytes of a client's message are kept. Commands get it in
// their environment, where the kernel allows 128 kB for each variable.
const messageKept = 10_000

// shortened returns the beginning of a text, and no more than limit bytes of it.
func shortened(text string, limit int) string {
	return strings.ToValidUTF8(text[:min(len(text), limit)], "")
}

func (l *List) beat(tx *store.Tx, name string, s Sign) (Receipt, error) {
	h, created, err := l.expect(tx, name, s.Create)
	if err != nil {
		return Receipt{}, err
	}
	b := Beat{Time: tx.Now(), Client: s.Client, Outcome: Good, Data: s.Data}
	if s.Failed {
		b.Outcome, b.Message = Bad, cmp.Or(shortened(s.Why, messageKept), saidFailed)
	}
	if b.Outcome == Good && h.tooFast(tx.Now()) {
		return l.tooFast(tx, h)
	}
	number, err := l.saveSign(tx, h, b, "")
	return Receipt{Number: number, Time: tx.Now(), Created: created, file: h.file}, err
}

// saveSign records a beat, and moves the heartbeat by it.
func (l *List) saveSign(tx *store.Tx, h Heartbeat, b Beat, run string) (number int64, err error) {
	if number, err = saveBeat(tx, h.Name, b); err != nil {
		return 0, err
	}
	trigger := TriggerSuccess
	if b.Outcome == Bad {
		trigger = TriggerFail
	}
	h.Last = &b
	return number, l.live(tx, h, func(t *turn) error { return t.end(trigger, run, b.Time) })
}

// expect finds the heartbeat, or attaches it if create says so.
func (l *List) expect(tx *store.Tx, name string, create bool) (h Heartbeat, created bool, err error) {
	h, r, known, err := l.find(tx, name)
	if err != nil || known {
		return h, false, errors.Join(err, r.broken)
	}
	if !create {
		return h, false, l.notFound(tx, name)
	}
	if _, err := attach(tx, name, Target{}); err != nil {
		return h, false, err
	}
	tx.Emit(eventAttached.New(name, attachData{Created: true}))
	return l.withFile(tx, l.heartbeat(row{name: name})), true, nil
}

// tooFast reports whether a beat at a time would follow the last one too soon.
func (h Heartbeat) tooFast(now time.Time) bool {
	least := h.Target.MinInterval.Std()
	if least == 0 || h.Last == nil {
		return false
	}
	since := now.Sub(h.Last.Time)
	return since >= 0 && since < least
}

func (l *List) tooFast(tx *store.Tx, h Heartbeat) (Receipt, error) {
	if h.Target.OnFast == Refuse {
		return Receipt{}, fault.New(fault.Conflict, "cannot beat %q: the last beat was only %s ago, min_interval is %s",
			h.Name, unit.Duration(h.Last.Lag(tx.Now()).Round(time.Millisecond)), h.Target.MinInterval)
	}
	err := countCoalesced(tx, h.Name)
	return Receipt{Number: h.Last.Number, Time: h.Last.Time, Coalesced: true}, err
}
