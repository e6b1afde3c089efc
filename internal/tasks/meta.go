package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"procops/internal/tasks/leptir"
)

// MetaStore keeps what is known of tasks in a further place, for programs that look for it
// there: leptir's meta storage.
type MetaStore interface {
	// Save keeps what is known of tasks, each in place of what was known of it; but what is
	// New only where nothing is known. The order in which it does so means nothing.
	Save(ctx context.Context, infos []leptir.Info) error
	// Load returns what is kept of a task; found is false where that is nothing.
	Load(ctx context.Context, id string) (info leptir.Info, found bool, err error)
}

// NamedMeta is a meta store of the configuration.
type NamedMeta struct {
	Name string
	MetaStore
}

// Meta tells meta stores what becomes of tasks. It keeps nobody waiting: what is told is
// written by goroutines of its own, until Close. A store that is away is tried again
// all the time; of what is told meanwhile it gets the newest of each task, and of very many
// tasks the newest. A nil Meta tells nobody.
type Meta struct {
	stores  []NamedMeta
	keepers []*keeper
	classes leptir.Classes
}

// NewMeta returns what tells some stores.
func NewMeta(stores []NamedMeta, classes leptir.Classes, log zerolog.Logger) *Meta {
	m := &Meta{stores: stores, classes: classes}
	for _, s := range stores {
		m.keepers = append(m.keepers, startKeeper(s, log.With().Str("meta", s.Name).Logger()))
	}
	return m
}

// Close waits until all is written that was told, but not for a store that is away. Nothing
// may be told any more.
func (m *Meta) Close(ctx context.Context) error {
	if m == nil {
		return nil
	}
	for _, k := range m.keepers {
		k.finish(ctx)
	}
	for _, k := range m.keepers {
		<-k.ended
	}
	return nil
}

// tell tells all stores of tasks.
func (m *Meta) tell(records ...Record) {
	if m == nil || len(m.keepers) == 0 {
		return
	}
	for i := range records {
		info := records[i].info(m.classes)
		for _, k := range m.keepers {
			k.add(info)
		}
	}
}

// find returns what the stores know of a task; the first that knows it counts.
func (m *Meta) find(ctx context.Context, id string) (r Record, found bool, err error) {
	if m == nil {
		return r, false, nil
	}
	for _, s := range m.stores {
		info, found, failed := s.load(ctx, id)
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("cannot look into the meta store %q: %w", s.Name, failed))
		}
		if found {
			return recordOfInfo(info, m.classes), true, nil
		}
	}
	return r, false, err
}

// follow returns what is known of a task whose record is here. One that has not ended here
// may have been worked off elsewhere; the meta stores have it then. When they are away the
// record has to do.
func (m *Meta) follow(ctx context.Context, r Record) Record {
	if r.State != StatePending && r.State != StateRetrying && r.State != StateRunning {
		return r
	}
	elsewhere, found, _ := m.find(ctx, r.ID)
	if !found || !elsewhere.Run.Started.After(r.Run.Started) {
		return r
	}
	if r.State == StatePending || elsewhere.State == StateDone || elsewhere.State == StateDead {
		r.State, r.Run = elsewhere.State, elsewhere.Run
	}
	return r
}

// metaTimeout is how long a store may take for a call.
const metaTimeout = 5 * time.Second

func (s NamedMeta) load(ctx context.Context, id string) (leptir.Info, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, metaTimeout)
	defer cancel()
	return s.Load(ctx, id)
}

// info returns what leptir keeps of a task. A run that is to be followed by another leaves
// it pending.
func (r *Record) info(classes leptir.Classes) leptir.Info {
	i := leptir.Info{ID: r.ID, Status: leptir.StatusPending, Code: leptir.CodeUnknown, Class: classes.Class(r.Type), Started: r.Run.Started}
	switch r.State {
	case StateRunning:
		i.Status = leptir.StatusInProgress
		return i
	case StateDone, StateDead, StateCancelled:
		i.Status = leptir.StatusCompleted
	case StatePending, StateRetrying:
	}
	if code := r.Run.Result.Code(); code != 0 {
		i.Code = code
	}
	i.Seconds, i.Response = r.Run.Duration.Seconds(), r.Run.lines()
	for _, key := range slices.Sorted(maps.Keys(r.Run.Meta)) {
		i.Extra = append(i.Extra, leptir.Field{Key: key, Value: r.Run.Meta[key]})
	}
	return i
}

// lines returns the lines of the response as leptir joins them. Where a task has not said
// why it failed, procops does.
func (r *Run) lines() string {
	text := strings.ReplaceAll(strings.Trim(string(r.Response), "\n"), "\n", " ")
	switch {
	case r.Result == ResultTimeout:
		return strings.TrimPrefix(text+" Time limit exceeded.", " ")
	case text == "" && r.Result != ResultSuccess:
		return r.Message
	default:
		return text
	}
}

// recordOfInfo returns what is known of a task that only a meta store knows.
func recordOfInfo(i leptir.Info, classes leptir.Classes) Record {
	r := Record{ID: i.ID, State: StatePending, Run: Run{Started: i.Started}}
	if at, known := leptir.IDTime(i.ID); known {
		r.Pushed = at
	} else {
		r.Pushed = i.Started
	}
	r.RunAt = r.Pushed
	r.Type, _ = classes.Type(i.Class)
	if r.Type == "" {
		r.Type = i.Class
	}
	switch i.Status {
	case leptir.StatusInProgress:
		r.State = StateRunning
		return r
	case leptir.StatusCompleted:
		r.State = StateDead
		if i.Code == leptir.CodeSuccess || i.Code == leptir.CodeWarning {
			r.State = StateDone
		}
	default:
		if i.Started.IsZero() {
			return r
		}
		r.State = StateRetrying
	}
	r.Run.Duration, r.Run.Result, r.Run.Response = time.Duration(i.Seconds*float64(time.Second)), resultOfCode(i.Code), []byte(i.Response)
	for _, field := range i.Extra {
		if r.Run.Meta == nil {
			r.Run.Meta = map[string]json.RawMessage{}
		}
		r.Run.Meta[field.Key] = field.Value
	}
	if !i.Started.IsZero() {
		r.Run.Ended = i.Started.Add(r.Run.Duration)
	}
	return r
}
