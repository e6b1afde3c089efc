package heartbeat

import (
	"context"
	"time"

	"procops/internal/store"
)

// Knock is what one knock found.
type Knock struct {
	ID        int64 // number of its entry in the history
	Time      time.Time
	Status    Status
	Before    Status // of the knock before; empty for the first
	Message   string // why, for people
	Lag       time.Duration
	Heartbeat Heartbeat
	Run       *Run // the newest run of a wrapped command; nil if there is none
}

// Entry is one entry of the history.
type Entry struct {
	ID      int64
	Name    string
	Time    time.Time
	Status  Status
	Lag     time.Duration
	HasLag  bool // false when there was no beat yet
	Message string
}

// Knock reads the status of the heartbeats and adds one entry for each to the
// history. A name that is not in the list is a fault.NotFound, and then nothing
// is recorded.
func (l *List) Knock(ctx context.Context, names ...string) (knocks []Knock, err error) {
	err = l.store.Update(ctx, func(tx *store.Tx) error {
		knocks = nil
		for _, name := range names {
			k, err := l.knock(tx, name)
			if err != nil {
				return err
			}
			knocks = append(knocks, k)
		}
		return nil
	})
	return knocks, err
}

func (l *List) knock(tx *store.Tx, name string) (Knock, error) {
	h, r, known, err := l.find(tx, name)
	if err != nil {
		return Knock{}, err
	}
	if !known {
		return Knock{}, l.notFound(tx, name)
	}
	k := Knock{Time: tx.Now(), Before: r.status, Heartbeat: h}
	k.Status, k.Message = h.Status(tx.Now())
	l.askRun(tx, &k)
	if err := l.note(tx, &k); err != nil {
		return Knock{}, err
	}
	return k, pruneHistory(tx, name, l.retention())
}

// askRun lets the newest run of a wrapped command say what it knows better.
func (l *List) askRun(tx *store.Tx, k *Knock) {
	var err error
	if k.Run, err = l.newestRun(tx, k.Heartbeat.Name); err != nil {
		k.Status, k.Message = Unknown, err.Error() // it keeps no other from being knocked at
	}
	if k.isCutOff() {
		k.Status, k.Message = Critical, cutOffText
	}
}

const cutOffText = "its last run was cut off: procops and the command are gone"

// isCutOff reports whether the last that was heard is a run that nobody can end any more.
func (k *Knock) isCutOff() bool {
	return k.Run != nil && k.Run.State == RunLost && !k.Run.before(k.Heartbeat.Last)
}

// note records what a knock has found.
func (l *List) note(tx *store.Tx, k *Knock) (err error) {
	entry := Entry{Name: k.Heartbeat.Name, Time: k.Time, Status: k.Status, Message: k.Message}
	if last := k.Heartbeat.Last; last != nil {
		k.Lag = last.Lag(tx.Now())
		entry.Lag, entry.HasLag = k.Lag, true
	}
	if k.ID, err = addHistory(tx, entry); err != nil {
		return err
	}
	return l.noteStatus(tx, k)
}

// noteStatus remembers the status and tells of a change.
func (l *List) noteStatus(tx *store.Tx, k *Knock) error {
	if k.Status == k.Before {
		return nil
	}
	tx.Emit(eventStatus.New(k.Heartbeat.Name, statusData{
		From: k.Before, To: k.Status, Lag: k.Lag.Round(time.Millisecond).Seconds(), Message: k.Message,
	}))
	return saveStatus(tx, k.Heartbeat.Name, k.Status)
}

// HistoryFilter selects entries of the history.
type HistoryFilter struct {
	Since time.Time // only knocks at or after this time; zero means no bound
	Limit int       // at most this many, the newest; 0 means no bound
}

// History returns what the knocks of a heartbeat found, oldest first. A name
// that is neither in the list nor in the history is a fault.NotFound.
func (l *List) History(ctx context.Context, name string, f HistoryFilter) (entries []Entry, err error) {
	err = l.store.View(ctx, func(tx *store.Tx) error {
		if entries, err = loadHistory(tx, name, f); err != nil || len(entries) > 0 {
			return err
		}
		return l.mustKnow(tx, name)
	})
	return entries, err
}

func (l *List) mustKnow(tx *store.Tx, name string) error {
	_, _, known, err := l.find(tx, name)
	if err == nil && !known {
		err = l.notFound(tx, name)
	}
	return err
}
