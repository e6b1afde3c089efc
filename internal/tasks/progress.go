package tasks

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"procops/internal/runner"
	"procops/internal/store"
)

// Account is what a handler has told of a run. The zero Account is nothing.
type Account struct {
	Progress *RunProgress               // how far it has got; nil: it has not said
	Flow     []Step                     // the states that it has passed, in order; the newest MaxSteps
	Meta     map[string]json.RawMessage // what else it has told, by name
}

// RunProgress is how far a run has got.
type RunProgress struct {
	Done    uint64  `json:"done"`    // of Total; 0 of 0 before there is a figure
	Total   uint64  `json:"total"`   // 100 where only a percentage was given
	Percent float64 `json:"percent"` // 0 to 100
	Message string  `json:"message,omitempty"`
}

// Step is a state that a run has passed into.
type Step struct {
	State string    `json:"state"`
	Time  time.Time `json:"time"`
}

const (
	// MaxSteps is how many states of a run are kept.
	MaxSteps = 200
	// maxStateName and maxProgressMessage are bytes.
	maxStateName       = 200
	maxProgressMessage = 1 << 10
	// maxMeta is how many bytes of meta are kept, names and values.
	maxMeta = 64 << 10
	// progressInterval is the least time between two records of progress: a handler may
	// tell of each of a million steps.
	progressInterval = 300 * time.Millisecond
)

// hear takes a report in. It returns false if something of it was too large.
func (a *Account) hear(p *runner.Progress, now time.Time) bool {
	if p.Total > 0 {
		a.Progress = &RunProgress{Done: p.Done, Total: p.Total, Percent: p.Percent, Message: cut(p.Message, maxProgressMessage)}
	} else if p.Message != "" {
		next := RunProgress{Message: cut(p.Message, maxProgressMessage)}
		if a.Progress != nil {
			next.Done, next.Total, next.Percent = a.Progress.Done, a.Progress.Total, a.Progress.Percent
		}
		a.Progress = &next
	}
	if state := cut(p.State, maxStateName); state != "" && a.state() != state {
		a.Flow = append(a.Flow, Step{state, now})
		if len(a.Flow) > MaxSteps {
			a.Flow = slices.Clone(a.Flow[len(a.Flow)-MaxSteps:])
		}
	}
	return a.note(p.Meta)
}

// state returns the state that the run is in, "" if it has told none.
func (a *Account) state() string {
	if len(a.Flow) == 0 {
		return ""
	}
	return a.Flow[len(a.Flow)-1].State
}

// note takes in what else there is to know; null takes something back. It returns false
// if there is no room for something.
func (a *Account) note(meta map[string]json.RawMessage) (all bool) {
	size := 0
	for name, value := range a.Meta {
		size += len(name) + len(value)
	}
	all = true
	for _, name := range slices.Sorted(maps.Keys(meta)) {
		value := meta[name]
		size -= len(name) + len(a.Meta[name])
		delete(a.Meta, name)
		if string(value) == "null" {
			continue
		}
		if size += len(name) + len(value); size > maxMeta {
			size -= len(name) + len(value)
			all = false
			continue
		}
		if a.Meta == nil {
			a.Meta = map[string]json.RawMessage{}
		}
		a.Meta[name] = value
	}
	return all
}

// copied returns an account that shares nothing that changes.
func (a *Account) copied() Account {
	return Account{Progress: a.Progress, Flow: slices.Clone(a.Flow), Meta: maps.Clone(a.Meta)}
}

// cut returns text as valid UTF-8 of at most n bytes.
func cut(text string, n int) string {
	if len(text) > n {
		for n > 0 && !utf8.RuneStart(text[n]) {
			n--
		}
		text = text[:n]
	}
	return strings.ToValidUTF8(text, "\ufffd")
}

// tracker keeps the account of a run while it goes on, and records it from time to time.
// The goroutine that does is there as soon as there is something to record.
type tracker struct {
	record func(Account)

	mu      sync.Mutex
	account Account
	changed bool // since it was recorded
	excess  bool // something was too large
	writer  sync.WaitGroup
	writing bool
	over    chan struct{} // closed at the end of the run
}

func newTracker(record func(Account)) *tracker {
	return &tracker{record: record, over: make(chan struct{})}
}

// hear takes a report in. It does not wait for anything.
func (t *tracker) hear(p runner.Progress) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.excess = !t.account.hear(&p, time.Now().Truncate(time.Microsecond)) || t.excess
	t.changed = true
	if !t.writing {
		t.writing = true
		t.writer.Go(t.write)
	}
}

// write records what has changed, until nothing does or the run is over.
func (t *tracker) write() {
	pause := time.NewTimer(progressInterval)
	defer pause.Stop()
	for {
		account, changed := t.take()
		if !changed {
			return
		}
		t.record(account)
		select {
		case <-pause.C:
			pause.Reset(progressInterval)
		case <-t.over:
			return
		}
	}
}

// take returns what is to be recorded; the goroutine that asks for nothing ends.
func (t *tracker) take() (Account, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.changed {
		t.writing = false
		return Account{}, false
	}
	t.changed = false
	return t.account.copied(), true
}

// soFar returns what was told until now.
func (t *tracker) soFar() Account {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.account.copied()
}

// finish ends the recording, after the last report, and returns the account, which is to
// be recorded with the end of the run. It is not whole if something was too large.
func (t *tracker) finish() (a Account, whole bool) {
	close(t.over)
	t.writer.Wait()
	return t.account, !t.excess
}

// recorder records how far a run has got, and tells of it. What is not recorded now is
// with the next report, or with the end.
func (w *worker) recorder(ctx context.Context, h *held, attempt int) func(Account) {
	return func(a Account) {
		err := w.q.store.Update(ctx, func(tx *store.Tx) error { return saveAccount(tx, &h.lease, a) })
		if err != nil && ctx.Err() == nil {
			w.log(&h.lease, "record the progress of", err)
		}
		data := progressData{Type: h.lease.Type, Attempt: attempt, State: a.state()}
		if p := a.Progress; p != nil {
			data.Done, data.Total, data.Percent, data.Message = p.Done, p.Total, p.Percent, p.Message
		}
		eventProgress.Publish(w.deps.Bus, h.lease.ID, data)
	}
}
