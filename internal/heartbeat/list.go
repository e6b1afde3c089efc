package heartbeat

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"procops/internal/fault"
	"procops/internal/name"
	"procops/internal/store"
)

// List is the list of observed heartbeats of a state directory: those that the
// configuration declares and those that were attached. Its methods may be
// called from any goroutine, and from many processes.
type List struct {
	store *store.Store
	cfg   Config
	zones zones
	clock clock
}

// New returns the list in st, with what cfg declares.
func New(st *store.Store, cfg Config) *List { return &List{store: st, cfg: cfg, clock: bootClock{}} }

// Heartbeat is one entry of the list.
type Heartbeat struct {
	Name       string
	Declared   bool       // by the configuration; otherwise attached
	Target     Target     // what is expected of it
	Thresholds Thresholds // as Target and the default period make them
	State      State      // as of its last beat or of the monitor's last look, whichever is later
	Since      time.Time  // of the state; zero: not known
	UUID       string     // its address in the ping API; empty: none yet
	Last       *Beat      // nil before the first beat
	Coalesced  int64      // beats that came too fast and were only counted

	life     life
	pulse    time.Time // when the monitor is to knock; zero: at once
	expected expectation
	broken   error    // why nothing can be expected of it: a damaged record, or an unknown time zone
	file     jsonFile // where else its last beat is
	unread   error    // why that cannot be read
	cutOff   bool     // this knock has found that a run is lost
}

// Attach adds a heartbeat to the list. A name that is in it already is a
// fault.Conflict.
func (l *List) Attach(ctx context.Context, name string, target Target) error {
	if err := l.checkNew(name, target); err != nil {
		return err
	}
	return l.store.Update(ctx, func(tx *store.Tx) error {
		added, err := attach(tx, name, target)
		if err != nil {
			return err
		}
		if !added {
			return fault.New(fault.Conflict, "cannot attach heartbeat %q: it is already attached", name).
				WithHint("to change what is expected of it: `procops heartbeat detach %s`, which forgets its last beat, and attach it anew", name)
		}
		tx.Emit(eventAttached.New(name, attachData{Description: target.Description}))
		return nil
	})
}

func (l *List) checkNew(heartbeat string, target Target) error {
	if err := CheckName(heartbeat); err != nil {
		return err
	}
	if _, declared := l.cfg.Heartbeats[heartbeat]; declared {
		return fault.New(fault.Conflict, "cannot attach heartbeat %q: it is already attached, by the configuration", heartbeat).
			WithHint("what is expected of it is in the section [heartbeat.%s]", heartbeat)
	}
	var wrong error
	target.Check(func(err error, _ ...string) {
		if wrong == nil {
			wrong = fault.Wrap(fault.Usage, err, "cannot attach heartbeat %q", heartbeat)
		}
	})
	return wrong
}

// CheckName returns a fault.Usage if a heartbeat cannot have that name.
func CheckName(heartbeat string) error {
	if err := name.Check(heartbeat); err != nil {
		return fault.Wrap(fault.Usage, err, "invalid name of a heartbeat")
	}
	return nil
}

// Detach removes a heartbeat from the list and forgets its last beat; its
// history stays. A name that is not in the list is a fault.NotFound, one that
// the configuration declares a fault.Conflict.
func (l *List) Detach(ctx context.Context, name string) error {
	if _, declared := l.cfg.Heartbeats[name]; declared {
		return fault.New(fault.Conflict, "cannot detach heartbeat %q: the configuration declares it", name).
			WithHint("remove the section [heartbeat.%s]", name)
	}
	return l.store.Update(ctx, func(tx *store.Tx) error {
		removed, err := detach(tx, name)
		if err != nil {
			return err
		}
		if !removed {
			return l.notFound(tx, name)
		}
		tx.Emit(eventDetached.New(name, noData{}))
		return nil
	})
}

// DetachAll removes all attached heartbeats from the list and returns their
// names. Those that the configuration declares stay.
func (l *List) DetachAll(ctx context.Context) (names []string, err error) {
	err = l.store.Update(ctx, func(tx *store.Tx) error {
		names = nil
		all, err := l.load(tx)
		if err != nil {
			return err
		}
		for _, h := range all {
			if h.Declared {
				continue
			}
			if _, err := detach(tx, h.Name); err != nil {
				return err
			}
			tx.Emit(eventDetached.New(h.Name, noData{}))
			names = append(names, h.Name)
		}
		return nil
	})
	return names, err
}

// All returns the heartbeats that have all of the tags, ordered by name.
func (l *List) All(ctx context.Context, tags []string) (all []Heartbeat, err error) {
	err = l.store.View(ctx, func(tx *store.Tx) error {
		all, err = l.load(tx)
		for i, h := range all {
			all[i] = l.withFile(tx, h)
		}
		return err
	})
	return slices.DeleteFunc(all, func(h Heartbeat) bool { return !h.Target.hasTags(tags) }), err
}

// Select returns the heartbeats with one of the names, or all if there is none, that
// have all of the tags, ordered by name. A name that is not in the list is a
// fault.NotFound.
func (l *List) Select(ctx context.Context, names, tags []string) ([]Heartbeat, error) {
	err := l.store.View(ctx, func(tx *store.Tx) error {
		for _, name := range names {
			if err := l.mustKnow(tx, name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	all, err := l.All(ctx, tags)
	return slices.DeleteFunc(all, func(h Heartbeat) bool { return len(names) > 0 && !slices.Contains(names, h.Name) }), err
}

func (t Target) hasTags(tags []string) bool {
	for _, tag := range tags {
		if !slices.Contains(t.Tags, tag) {
			return false
		}
	}
	return true
}

// load reads the whole list, ordered by name.
func (l *List) load(tx *store.Tx) ([]Heartbeat, error) {
	known, err := loadAll(tx)
	if err != nil {
		return nil, err
	}
	var all []Heartbeat
	for _, r := range known {
		if _, declared := l.cfg.Heartbeats[r.name]; r.attached && !declared {
			all = append(all, l.heartbeat(r))
		}
	}
	for declared := range l.cfg.Heartbeats {
		i := slices.IndexFunc(known, func(r row) bool { return r.name == declared })
		r := row{name: declared}
		if i >= 0 {
			r = known[i]
		}
		all = append(all, l.heartbeat(r))
	}
	slices.SortFunc(all, func(a, b Heartbeat) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// find reads one heartbeat of the list; known is false if it is not in it.
func (l *List) find(tx *store.Tx, name string) (h Heartbeat, r row, known bool, err error) {
	r, err = loadOne(tx, name)
	if err != nil {
		return Heartbeat{}, row{}, false, err
	}
	_, declared := l.cfg.Heartbeats[name]
	if h = l.heartbeat(r); declared || r.attached {
		h = l.withFile(tx, h)
	}
	return h, r, declared || r.attached, nil
}

// heartbeat makes the list's entry of a row; the configuration has the last word.
func (l *List) heartbeat(r row) Heartbeat {
	target, declared := l.cfg.Heartbeats[r.name]
	if !declared {
		target = r.target
	}
	h := Heartbeat{
		Name: r.name, Declared: declared, Target: target,
		Thresholds: target.Thresholds(l.cfg.DefaultPeriod.Std()),
		State:      r.life.state, Since: r.life.since, UUID: target.UUID,
		Last: r.last, Coalesced: r.coalesced, life: r.life, pulse: r.pulse,
	}
	if h.UUID == "" {
		h.UUID = r.uuid
	}
	if h.State == "" {
		h.State, h.life.state = StateNew, StateNew
	}
	h.expected, h.broken = l.expectation(target)
	h.broken = errors.Join(r.broken, h.broken)
	return h
}

// notFound says that a heartbeat is not in the list, and which one is nearest.
func (l *List) notFound(tx *store.Tx, wanted string) error {
	all, err := l.load(tx)
	if err != nil {
		return err
	}
	names := make([]string, len(all))
	for i, h := range all {
		names[i] = h.Name
	}
	e := fault.New(fault.NotFound, "heartbeat %q is not attached%s", wanted, name.DidYouMean(wanted, names))
	if len(all) == 0 {
		return e.WithHint("no heartbeat is; `procops heartbeat attach %s` adds it", wanted)
	}
	return e.WithHint("`procops heartbeat list` shows all, `procops heartbeat attach %s` adds it", wanted)
}

// retention is how much of the past is kept of each heartbeat.
type retention struct {
	count int
	age   time.Duration // 0: no bound
}

func (l *List) retention() retention {
	count := l.cfg.HistoryKeep
	if count <= 0 {
		count = DefaultHistoryKeep
	}
	return retention{count: count, age: l.cfg.HistoryMaxAge.Std()}
}
