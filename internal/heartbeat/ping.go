package heartbeat

import (
	"context"
	"fmt"
	"strings"

	"procops/internal/fault"
	"procops/internal/store"
)

// PingKind says what a ping means.
type PingKind string

// The kinds of pings.
const (
	PingSuccess PingKind = "success" // a beat, or the good end of a run
	PingStart   PingKind = "start"   // a run has begun
	PingFail    PingKind = "fail"    // the client has failed
	PingLog     PingKind = "log"     // something to be kept, which means nothing
)

// maxPingBody is how many bytes of what comes with a ping are kept: the last ones.
const maxPingBody = 10 << 10

// Ping is a sign of life from afar, such as by HTTP.
type Ping struct {
	Kind     PingKind
	ExitCode int    // of what the client has run
	HasCode  bool   // it has told one
	Run      string // the client's id of the run; may be empty
	Body     []byte // what it said; the last 10 kB are kept
	Source   string // who it is, for people
	Create   bool   // attach the heartbeat if it is not in the list
}

// Ping takes in a ping. A name that is not in the list is a fault.NotFound unless p
// says to create it.
func (l *List) Ping(ctx context.Context, name string, p Ping) (receipt Receipt, err error) {
	if err := CheckName(name); err != nil {
		return Receipt{}, err
	}
	if len(p.Body) > maxPingBody {
		p.Body = p.Body[len(p.Body)-maxPingBody:]
	}
	err = l.store.Update(ctx, func(tx *store.Tx) error {
		receipt, err = l.ping(tx, name, p)
		return err
	})
	if err == nil && p.Kind == PingSuccess && !receipt.Coalesced {
		err = receipt.file.write(Beat{Time: receipt.Time})
	}
	return receipt, err
}

func (l *List) ping(tx *store.Tx, name string, p Ping) (Receipt, error) {
	h, created, err := l.expect(tx, name, p.Create)
	if err != nil {
		return Receipt{}, err
	}
	if p.saysMore() {
		if err := savePing(tx, name, p, l.retention()); err != nil {
			return Receipt{}, err
		}
	}
	receipt := Receipt{Time: tx.Now(), Created: created, file: h.file}
	switch p.Kind {
	case PingLog:
		return receipt, nil
	case PingStart:
		if err := ensureRow(tx, name); err != nil {
			return Receipt{}, err
		}
		return receipt, l.live(tx, h, func(t *turn) error { return t.begin(p.Run, tx.Now()) })
	case PingSuccess, PingFail:
		b := Beat{Time: tx.Now(), Outcome: Good}
		if p.Kind == PingFail {
			b.Outcome, b.Message = Bad, p.failure()
		}
		if b.Outcome == Good && h.tooFast(tx.Now()) {
			r, err := l.tooFast(tx, h)
			r.Created = created
			return r, err
		}
		receipt.Number, err = l.saveSign(tx, h, b, p.Run)
		return receipt, err
	default:
		return Receipt{}, fault.New(fault.Usage, "there is no kind of ping %q", p.Kind)
	}
}

// saysMore reports whether a ping is worth keeping: what only says that all is well
// is a beat.
func (p Ping) saysMore() bool {
	return len(p.Body) > 0 || p.Kind == PingLog || p.Kind == PingFail
}

// saidFailed is the message of a failure that a client did not explain.
const saidFailed = "said that it failed"

// failure says for people what a ping tells.
func (p Ping) failure() string {
	text := saidFailed
	if p.HasCode {
		text = fmt.Sprintf("failed with exit code %d", p.ExitCode)
	}
	return text
}

// NameOf returns the name of the heartbeat with an address in the ping API. One that
// no heartbeat has is a fault.NotFound.
func (l *List) NameOf(ctx context.Context, id string) (name string, err error) {
	for name, target := range l.cfg.Heartbeats {
		if target.UUID != "" && strings.EqualFold(target.UUID, id) {
			return name, nil
		}
	}
	err = l.store.View(ctx, func(tx *store.Tx) error {
		name, err = nameByUUID(tx, strings.ToLower(id))
		return err
	})
	if err == nil && name == "" {
		err = fault.New(fault.NotFound, "no heartbeat has this address")
	}
	return name, err
}
