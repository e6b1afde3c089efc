package daemon

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"procops/internal/event"
	"procops/internal/fault"
	"procops/internal/name"
)

// tellState records where the daemon is now, together with events about that.
func (d *Daemon) tellState(reason string, events ...event.Event) {
	d.known.state, d.known.reason = d.state, reason
	now := d.known
	d.seen.Store(&now)
	d.journal.note(func(p *page) {
		p.state = &now
		p.events = append(p.events, events...)
	})
}

// tellLong records that a turn is under way, if it still is.
func (d *Daemon) tellLong(number uint64) {
	if d.known.turn.Number == number && (d.state == StateRunning || d.state == StateEnding) {
		d.tellState(d.known.reason)
	}
}

// tellTurn says how a turn has gone, and how long it is until the next; 0 when it follows
// at once or never.
func (d *Daemon) tellTurn(t Turn, delay time.Duration) {
	if d.deps.Beat != nil && t.Outcome != "cancelled" {
		d.beats.tell(d.cfg.heartbeat(d.id.Name), !t.Failed(), t.Message)
	}
	data := turnData{
		Context: d.id.Context, Instance: d.id.Instance, Turn: t.Number, Outcome: t.Outcome, Code: t.Code,
		Seconds: t.Duration.Seconds(), Memory: t.Memory, Delay: delay.Seconds(), Message: t.Message, Failures: d.known.failures,
	}
	if !t.Failed() {
		eventDone.Publish(d.deps.Bus, d.id.Name, data)
		d.journal.note(func(p *page) { p.turns = append(p.turns, t) })
		return
	}
	d.logs.say("failed", fmt.Sprintf("turn %d: %s", t.Number, t.Message))
	d.deps.Log.Warn().Str("daemon", d.id.String()).Uint64("turn", t.Number).Str("outcome", t.Outcome).Msg("a turn has failed: " + t.Message)
	d.journal.note(func(p *page) {
		p.turns = append(p.turns, t)
		p.events = append(p.events, eventFailed.New(d.id.Name, data))
	})
}

// heartbeat returns the name of the heartbeat of a daemon; empty: none.
func (s Section) heartbeat(daemon string) string {
	if s.Heartbeat == Own {
		return daemon
	}
	return string(s.Heartbeat)
}

func (d *Daemon) tellSkipped(n int) {
	data := skipData{Context: d.id.Context, Instance: d.id.Instance, Count: n, Reason: "the turn before was still under way"}
	d.journal.note(func(p *page) { p.events = append(p.events, eventSkipped.New(d.id.Name, data)) })
}

func (d *Daemon) tellReload(err error) {
	data := reloadData{Context: d.id.Context, Instance: d.id.Instance}
	if err != nil {
		data.Error = err.Error()
		d.deps.Log.Error().Err(err).Str("daemon", d.id.String()).Msg("it is not reloaded, and goes on as before")
	}
	d.logs.say("reload", data.Error)
	d.journal.note(func(p *page) { p.events = append(p.events, eventReload.New(d.id.Name, data)) })
}

// conclude says that the daemon has ended.
func (d *Daemon) conclude() {
	data := stopData{
		PID: d.known.by.PID, Context: d.id.Context, Instance: d.id.Instance,
		Turns: d.known.turns, Reason: d.reason, Failed: d.failed,
	}
	if used := d.worker.usage(); d.cfg.memoryTooLarge(used) {
		data.Memory, data.Limit = used, d.cfg.MemoryLimit.Bytes()
	}
	d.logs.say("stop", d.reason)
	d.known.next = time.Time{}
	d.tellState(d.reason, eventStop.New(d.id.Name, data))
}

// Find returns a section; the error is a fault.NotFound.
func (c Config) Find(daemon string) (Section, error) {
	s, ok := c.Daemons[daemon]
	if ok {
		return s, nil
	}
	e := fault.New(fault.NotFound, "there is no daemon %q in the configuration%s", daemon, name.DidYouMean(daemon, c.Names()))
	return s, e.WithHint("add a section [daemon.%s]", daemon)
}

// checkInstance refuses a number that the section does not have.
func (s Section) checkInstance(id *ID) error {
	n := max(1, s.Instances)
	switch {
	case n == 1 && id.Instance <= 1:
		id.Instance = 0
		return nil
	case id.Instance == 0:
		return fault.New(fault.Usage, "daemon %q has %d instances: say which one", id.Name, n).
			WithHint("--instance 1 to %d; `procops daemon start %s` starts all of them", n, id.Name)
	case id.Instance < 0 || id.Instance > n:
		return fault.New(fault.NotFound, "daemon %q has no instance %d: there are %d", id.Name, id.Instance, n)
	default:
		return nil
	}
}

// Names returns the names of the daemons, sorted.
func (c Config) Names() []string { return slices.Sorted(maps.Keys(c.Daemons)) }

// Hosted returns which daemon is meant by NAME, or NAME-N for an instance. The error is a
// fault.NotFound.
func (c Config) Hosted(name string) (ID, error) {
	if s, known := c.Daemons[name]; known {
		return ID{Name: name, Context: c.contextOf(s)}, nil
	}
	if dash := strings.LastIndexByte(name, '-'); dash > 0 {
		n, err := strconv.Atoi(name[dash+1:])
		if s, known := c.Daemons[name[:dash]]; known && err == nil {
			return ID{Name: name[:dash], Context: c.contextOf(s), Instance: n}, nil
		}
	}
	_, err := c.Find(name)
	return ID{}, err
}
