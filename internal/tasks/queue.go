package tasks

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	chance "math/rand/v2"
	"os"
	"slices"
	"time"

	"procops/internal/fault"
	"procops/internal/store"
	"procops/internal/tasks/broker"
	"procops/internal/tasks/leptir"
)

// Queue is where tasks are pushed, shown and worked off. Its methods may be called
// from any goroutine, and from many processes.
type Queue struct {
	store  *store.Store
	broker broker.Broker
	cfg    Config
	meta   *Meta // may be nil
}

// New returns the queue whose tasks are in b, and whose records are in st.
func New(st *store.Store, b broker.Broker, cfg Config) *Queue {
	return &Queue{store: st, broker: b, cfg: cfg}
}

// TellMeta has meta stores told of what becomes of tasks. It is called before the queue is
// used.
func (q *Queue) TellMeta(m *Meta) { q.meta = m }

// Task is a task on its way into the queue. Only Type is needed.
type Task struct {
	Type      string          // a valid name; a declared one, where any is
	Params    json.RawMessage // a JSON object; nil: none
	At        time.Time       // not before this; the zero time: at once
	Priority  int             // lower comes first
	TimeLimit time.Duration   // 0: that of the type
}

// Push checks a task, queues it and returns its id once it survives the end of
// the process. An unknown type is a fault.NotFound, other bad input a
// fault.Usage.
func (q *Queue) Push(ctx context.Context, t Task) (id string, err error) {
	ids, err := q.PushAll(ctx, []Task{t})
	if len(ids) > 0 {
		id = ids[0]
	}
	return id, err
}

// Check returns why a task cannot be pushed, and the task as it would be.
func (q *Queue) Check(t Task) (Task, error) {
	typ, err := q.cfg.find(t.Type)
	if err != nil {
		return t, fault.Wrap(faultKind(err), err, "cannot queue task")
	}
	if t.TimeLimit < 0 {
		return t, fault.New(fault.Usage, "cannot queue task %q: its time limit is negative", t.Type)
	}
	if t.Params, err = typ.complete(t.Params); err != nil {
		return t, fault.Wrap(fault.Usage, err, "cannot queue task %q", t.Type)
	}
	return t, nil
}

func faultKind(err error) fault.Kind { return fault.Kind(fault.ExitCode(err)) }

// PushAll checks tasks and queues all or none of them. Where they belong to several
// brokers some may be queued and others not: then it returns the ids beside an error,
// empty ones for those that are not. An error beside all ids says that the tasks are
// queued, but cannot be shown before a worker has them.
func (q *Queue) PushAll(ctx context.Context, tasks []Task) (ids []string, err error) {
	var (
		messages = make([]broker.Message, len(tasks))
		records  = make([]Record, len(tasks))
		now      = time.Now().Truncate(time.Microsecond)
	)
	for i, t := range tasks {
		if t, err = q.Check(t); err != nil {
			return nil, err
		}
		records[i] = newRecord(t, now)
		q.settleForm(&records[i], now.Add(time.Duration(i)*time.Microsecond))
		if messages[i], err = records[i].message(); err != nil {
			return nil, err
		}
	}
	failed := q.broker.Push(ctx, messages)
	partial, some := errors.AsType[*broker.PartialError](failed)
	if failed != nil && !some {
		return nil, failed
	}
	ids = make([]string, len(tasks))
	var accepted []Record
	for i := range records {
		if !some || !slices.Contains(partial.IDs, records[i].ID) {
			ids[i], accepted = records[i].ID, append(accepted, records[i])
		}
	}
	q.meta.tell(accepted...)
	return ids, errors.Join(failed, q.createAll(ctx, accepted))
}

// createAll records tasks that a broker has accepted, whatever comes.
func (q *Queue) createAll(ctx context.Context, records []Record) error {
	err := q.store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		for i := range records {
			if err := create(tx, &records[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("the task is queued, but it cannot be shown before a worker has it: %w", err)
	}
	return nil
}

// Record is what is known of a task.
type Record struct {
	ID        string
	Type      string
	State     State
	Params    json.RawMessage
	Priority  int
	TimeLimit time.Duration // its own; 0: that of the type
	Pushed    time.Time
	RunAt     time.Time // not before this
	Attempts  int       // runs that have failed
	Crashes   int       // runs whose worker has died
	run       int64     // the number of the newest lease
	Run       Run       // the newest
}

// Run is a run of a task. The zero Run stands for none.
type Run struct {
	Account

	Started     time.Time
	Ended       time.Time     // zero while it runs
	Duration    time.Duration // by a clock that nobody sets
	Result      Result        // empty while it runs
	Code        int           // exit code as a shell has it
	Message     string        // why it was not a success, for people
	Response    []byte        // the end of standard output
	Diagnostics string        // the end of standard error
}

// newRecord returns the record of a new task, without an id.
func newRecord(t Task, now time.Time) Record {
	r := Record{
		Type: t.Type, State: StatePending, Params: t.Params,
		Priority: t.Priority, TimeLimit: t.TimeLimit, Pushed: now, RunAt: now,
	}
	if t.At.After(now) {
		r.RunAt = t.At
	}
	return r
}

// settleForm gives a new task its id and its time in the form in which the broker has them that
// it is going to: leptir makes ids in its own way and counts in seconds. now must be another
// one for each task.
func (q *Queue) settleForm(r *Record, now time.Time) {
	if q.cfg.home(r.Priority).Format != FormatLeptir {
		r.ID = newULID(now)
		return
	}
	r.ID = leptir.NewID(os.Getpid(), now, chance.Float64()) //nolint:gosec // no secret depends on it
	if r.RunAt.After(r.Pushed) && r.RunAt.Nanosecond() > 0 {
		r.RunAt = r.RunAt.Truncate(time.Second).Add(time.Second)
	}
}

// newULID returns a new id: a ULID (https://github.com/ulid/spec), which sorts by
// time.
func newULID(now time.Time) string {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:], uint64(now.UnixMilli())<<16)
	_, _ = rand.Read(raw[6:]) // never fails
	// 26 characters of 5 bits have two bits more than 16 bytes: they come first.
	var wide [20]byte
	carry := byte(0)
	for i, b := range raw {
		wide[i] = carry | b>>2
		carry = b << 6
	}
	wide[16] = carry
	const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	return base32.NewEncoding(crockford).EncodeToString(wide[:])[:26]
}

// message returns the task as the broker takes it.
func (r *Record) message() (broker.Message, error) {
	raw, err := json.Marshal(broker.Body{Params: r.Params, TimeLimit: r.TimeLimit.Seconds(), Pushed: r.Pushed})
	if err != nil {
		return broker.Message{}, fmt.Errorf("cannot encode task %q: %w", r.ID, err)
	}
	return broker.Message{ID: r.ID, Type: r.Type, Priority: r.Priority, RunAt: r.RunAt, Body: raw}, nil
}

// recordOf reads a task that was claimed.
func recordOf(l broker.Lease) (Record, error) {
	var b broker.Body
	if err := json.Unmarshal(l.Body, &b); err != nil {
		return Record{}, fmt.Errorf("cannot read task %q: %w", l.ID, err)
	}
	if b.Pushed.IsZero() {
		b.Pushed = time.Now().Truncate(time.Microsecond)
	}
	return Record{
		ID: l.ID, Type: l.Type, State: StatePending, Params: b.Params, Priority: l.Priority,
		TimeLimit: time.Duration(b.TimeLimit * float64(time.Second)), Pushed: b.Pushed, RunAt: l.RunAt,
		Attempts: l.Attempts, Crashes: l.Crashes,
	}, nil
}

// Filter selects tasks. The zero value selects all.
type Filter struct {
	States []State   // any of these
	Type   string    // only this type
	Since  time.Time // only those pushed at or after this
	Limit  int       // at most so many, the newest; 0: no bound
}

// List returns the tasks that match, the newest last.
func (q *Queue) List(ctx context.Context, f Filter) (records []Record, err error) {
	err = q.store.View(ctx, func(tx *store.Tx) error {
		records, err = list(tx, f)
		return err
	})
	return records, err
}

// Get returns what is known of a task. One that is not known is a
// fault.NotFound.
func (q *Queue) Get(ctx context.Context, id string) (r Record, err error) {
	err = q.store.View(ctx, func(tx *store.Tx) error {
		r, err = load(tx, id)
		return err
	})
	switch {
	case err == nil:
		return q.meta.follow(ctx, r), nil
	case !errors.Is(err, errNoRecord):
		return r, err
	}
	r, known, err := q.meta.find(ctx, id)
	if err == nil && !known {
		return r, fault.New(fault.NotFound, "there is no task %q", id).WithHint("`procops tasks list` shows the newest")
	}
	return r, err
}
