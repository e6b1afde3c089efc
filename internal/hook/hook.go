package hook

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/rs/zerolog"

	"procops/internal/event"
	"procops/internal/proc"
	"procops/internal/unit"
)

// queued is how many events wait for a hook.
const queued = 1000

// Deps are what hooks act by. What is nil cannot be done.
type Deps struct {
	// Host returns who runs commands. It may wait until there is one.
	Host func(ctx context.Context) (*proc.Host, error)
	Env  []string // what commands find beside the environment of procops
	Log  func() zerolog.Logger

	PushTask  func(ctx context.Context, typ string, params []byte) error
	SubmitJob func(ctx context.Context, function string, workload []byte) error
	Beat      func(ctx context.Context, heartbeat string, ok bool, message string) error
	// Control does something to a supervised process or group.
	Control func(ctx context.Context, action Action, name string) error
	// Record keeps an event of a hook.
	Record func(ctx context.Context, e event.Event) error
}

// Hooks are those of a process, from New to Close.
type Hooks struct {
	all  []*hook
	stop context.CancelCauseFunc
}

// hook is one of them. The goroutine of its sink owns it.
type hook struct {
	name string
	rule Rule
	deps Deps
	ctx  context.Context // its end cuts off what is being done
	sink *event.Sink

	window  time.Time // when the time of the rate began
	acted   int       // since then
	dropped dropData  // not told yet
	lost    uint64    // of the sink, that was noticed
}

// errLate is why a hook is cut off at the end.
var errLate = errors.New("procops ends")

// New begins to listen to a bus.
func New(rules Rules, bus *event.Bus, deps Deps) *Hooks {
	ctx, stop := context.WithCancelCause(context.Background())
	h := &Hooks{stop: stop}
	for i, rule := range rules {
		k := &hook{name: rule.Name, rule: rule, deps: deps, ctx: ctx}
		if k.name == "" {
			k.name = strconv.Itoa(i + 1)
		}
		k.sink = event.NewSink(bus, rule.On, queued, k.hear)
		h.all = append(h.all, k)
	}
	return h
}

// Close stops listening and deals with what is queued. When ctx ends, that is cut off; the
// error says so.
func (h *Hooks) Close(ctx context.Context) error {
	var errs []error
	for _, k := range h.all {
		if err := k.sink.Close(ctx); err != nil {
			h.stop(errLate)
			errs = append(errs, err)
			<-k.sink.Done()
		}
		k.tellDropped()
	}
	h.stop(errLate)
	return errors.Join(errs...)
}

// hear deals with an event.
func (k *hook) hear(e event.Event) {
	f, err := fieldsOf(e)
	if err == nil && !k.wants(f) {
		return
	}
	if k.ctx.Err() != nil {
		k.dropped.End++
		return
	}
	now := time.Now()
	if !k.allow(now) {
		k.dropped.Rate++
		return
	}
	k.tellDropped()
	if err == nil {
		err = k.act(e, f)
	}
	if err != nil {
		k.failed(e, err)
	}
}

// wants reports whether the hook is about an event of a type that it listens to.
func (k *hook) wants(f fields) bool {
	if len(f.event.Type) >= len(eventPrefix) && f.event.Type[:len(eventPrefix)] == eventPrefix {
		return false
	}
	for name, condition := range k.rule.Where {
		value, found := f.get(name)
		if !condition.holds(value, !found) {
			return false
		}
	}
	return true
}

// allow reports whether the hook may act at a time, and counts that.
func (k *hook) allow(now time.Time) bool {
	if now.Sub(k.window) >= k.rule.Rate.Per {
		k.window, k.acted = now, 0
	}
	if k.rule.Rate.Count > 0 && k.acted >= k.rule.Rate.Count {
		return false
	}
	k.acted++
	return true
}

// tellDropped tells of what was dropped since it was told last.
func (k *hook) tellDropped() {
	lost := k.sink.Dropped()
	k.dropped.Queue, k.lost = int(lost-k.lost), lost //nolint:gosec // nobody drops that many
	if k.dropped == (dropData{}) {
		return
	}
	d := k.dropped
	k.dropped = dropData{}
	k.log().Warn().Str("hook", k.name).Int("rate", d.Rate).Int("queue", d.Queue).Int("end", d.End).Msg("a hook has not dealt with all events")
	k.record(eventDropped.New(k.name, d))
}

// log returns the log of procops.
func (k *hook) log() *zerolog.Logger {
	log := k.deps.Log()
	return &log
}

// failed tells of what could not be done.
func (k *hook) failed(e event.Event, err error) {
	k.log().Warn().Err(err).Str("hook", k.name).Str("on", e.Type).Str("about", e.Subject).Msg("a hook has failed")
	k.record(eventFailed.New(k.name, failData{Action: k.rule.Action(), On: e.Type, About: e.Subject, Error: err.Error()}))
}

// recordPatience is how long the record of an event may take.
const recordPatience = 10 * time.Second

func (k *hook) record(e event.Event) {
	ctx, cancel := context.WithTimeout(context.Background(), recordPatience)
	defer cancel()
	if k.deps.Record == nil {
		return
	}
	if err := k.deps.Record(ctx, e); err != nil {
		k.log().Warn().Err(err).Str("hook", k.name).Msg("cannot record an event")
	}
}

// limit returns how long the hook may take for one event.
func (r *Rule) limit() time.Duration {
	const byDefault = time.Minute
	limit := r.Timeout.Std()
	if limit == 0 {
		limit = byDefault
	}
	if r.Webhook != nil && r.Timeout == unit.Duration(byDefault) {
		limit = max(limit, r.Webhook.Limit())
	}
	return limit
}
