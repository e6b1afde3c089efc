package mongo

import (
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"procops/internal/tasks/broker"
)

// The states of a document. Whether one that waits is ready its time says.
const (
	stateWaiting  = "waiting"
	stateLeased   = "leased"
	stateBuried   = "buried"
	stateTaking   = "taking"   // it may still be in leptir's collection, where it comes from
	stateArriving = "arriving" // pushed together with others, and not all of them are there yet
)

// document is a message in the collection.
type document struct {
	ID       string `bson:"_id"`
	Type     string `bson:"type"`
	State    string `bson:"state"`
	Priority int64  `bson:"priority"`
	RunAt    int64  `bson:"run_at"` // Unix time in microseconds
	Order    int64  `bson:"order"`  // of the push, among messages of one priority and time
	Body     []byte `bson:"body"`
	Lease    int64  `bson:"lease"` // how often it was claimed
	Attempts int64  `bson:"attempts"`
	Crashes  int64  `bson:"crashes"`

	// While it is leased:
	Until int64        `bson:"until,omitempty"` // the end of the lease, as RunAt
	Back  broker.State `bson:"back,omitempty"`  // where it was claimed from

	Batch string `bson:"batch,omitempty"` // while it is arriving
	From  string `bson:"from,omitempty"`  // while it is taken from leptir's collection: its _id there
}

func newDocument(m *broker.Message, order int64) document {
	d := document{
		ID: m.ID, Type: m.Type, State: stateWaiting, Priority: int64(m.Priority), RunAt: m.RunAt.UnixMicro(), Order: order,
		Body: append([]byte{}, m.Body...), Lease: m.Number, Attempts: int64(m.Attempts), Crashes: int64(m.Crashes),
	}
	if m.Buried {
		d.State = stateBuried
	}
	return d
}

func (d *document) message() broker.Message {
	return broker.Message{
		ID: d.ID, Type: d.Type, Priority: int(d.Priority), RunAt: time.UnixMicro(d.RunAt), Body: d.Body,
		Number: d.Lease, Attempts: int(d.Attempts), Crashes: int(d.Crashes),
		Buried: d.State == stateBuried || d.State == stateLeased && d.Back == broker.StateBuried,
	}
}

func (d *document) asLease() broker.Lease {
	return broker.Lease{Message: d.message(), Until: time.UnixMicro(d.Until)}
}

// stateAt returns the state of the message at a time.
func (d *document) stateAt(now time.Time) broker.State {
	switch {
	case d.State == stateLeased && d.Until > now.UnixMicro():
		return broker.StateLeased
	case d.State == stateBuried, d.State == stateLeased && d.Back == broker.StateBuried:
		return broker.StateBuried
	case d.RunAt > now.UnixMicro():
		return broker.StateScheduled
	default:
		return broker.StateReady
	}
}

// is selects documents by a key; with more than one they all have to hold.
func is(key string, value any) bson.D { return bson.D{{Key: key, Value: value}} }

func and(conditions ...bson.D) (all bson.D) {
	for _, c := range conditions {
		all = append(all, c...)
	}
	return all
}

func in(key string, values []string) bson.D { return is(key, is("$in", append([]string{}, values...))) }

// ofTypes selects documents of some types; none: of all.
func ofTypes(types []string) bson.D {
	if len(types) == 0 {
		return nil
	}
	return in("type", types)
}

// due selects what waits and whose time has come.
func due(now time.Time) bson.D {
	return and(is("state", stateWaiting), is("run_at", is("$lte", now.UnixMicro())))
}

// later selects what waits for its time.
func later(now time.Time) bson.D {
	return and(is("state", stateWaiting), is("run_at", is("$gt", now.UnixMicro())))
}

// ended selects what was claimed under a lease that has ended. Documents without a lease
// have no "until".
func ended(now time.Time) bson.D {
	return and(is("state", stateLeased), is("until", is("$lte", now.UnixMicro())))
}

// held selects the message of a lease while that is held.
func held(l *broker.Lease) bson.D {
	return and(is("_id", l.ID), is("state", stateLeased), is("lease", l.Number))
}

// heldAny selects the messages of leases that are held.
func heldAny(leases []broker.Lease) bson.D {
	each := make([]bson.D, len(leases))
	for i := range leases {
		each[i] = held(&leases[i])
	}
	return is("$or", each)
}

// inOrder is the order in which messages are claimed.
func inOrder() bson.D {
	return bson.D{{Key: "priority", Value: 1}, {Key: "run_at", Value: 1}, {Key: "order", Value: 1}}
}

func set(fields bson.D) bson.D { return is("$set", fields) }

// release takes the lease off a document.
func release() bson.D {
	return is("$unset", bson.D{{Key: "until", Value: ""}, {Key: "back", Value: ""}})
}
