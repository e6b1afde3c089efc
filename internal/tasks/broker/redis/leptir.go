package redis

import (
	"cmp"
	"context"
	"crypto/sha1" //nolint:gosec // it names a text, and guards nothing
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"procops/internal/tasks/broker"
	"procops/internal/tasks/broker/leptirdoc"
	"procops/internal/tasks/leptir"
)

// LeptirOptions say where a queue of leptir is.
type LeptirOptions struct {
	// URL is the server, as in Options.
	URL string
	// Key is the sorted set with the tasks. Empty: "leptir:ztasks".
	Key string
	// Classes says which PHP class stands for which type.
	Classes leptir.Classes
	// Poll is how often an idle worker looks for tasks that others have queued, who do not
	// tell; 0: twice a second, as leptir does.
	Poll time.Duration
	// Timeout bounds a call, where the URL does not; 0: some seconds.
	Timeout time.Duration
}

// Leptir is a queue in leptir's own sorted set, which producers and consumers in PHP share.
// It is ordered by time alone. A document that is claimed leaves the set, and comes back into
// it when its lease ends. Whatever leptir has no place for is kept in keys beside the set.
type Leptir struct {
	server  *server
	keys    []string
	format  leptirdoc.Format
	poll    time.Duration
	scripts leptirScripts
	ears    *ears

	mu  sync.Mutex
	dry map[string]dryness // by types
}

// leptirScripts are what Redis runs.
type leptirScripts struct {
	push, look, take, takeBuried, extend, ack, nack, bury, beside, next script
}

// dryness says that there was nothing to claim.
type dryness struct {
	sight string // what was ready, for others
	until time.Time
}

// dryFor is how long it is believed that there is nothing to claim among documents that look
// the same.
const dryFor = 10 * time.Second

// NewLeptir returns a queue of leptir. It connects when that is first needed; the error says
// what is wrong with the options.
func NewLeptir(o LeptirOptions) (*Leptir, error) {
	server, err := connect(o.URL, o.Timeout)
	if err != nil {
		return nil, err
	}
	key := cmp.Or(o.Key, "leptir:ztasks")
	prefix := beside(key)
	return &Leptir{
		server: server, keys: []string{key, prefix}, format: leptirdoc.Format{Classes: o.Classes},
		poll: cmp.Or(o.Poll, 500*time.Millisecond), ears: newEars(server.client, prefix), dry: map[string]dryness{},
		scripts: leptirScripts{
			push: taking(leptirPush), look: draining(leptirLook), take: draining(leptirTake),
			takeBuried: draining(leptirTakeBuried), extend: draining(leptirExtend), ack: draining(leptirAck),
			nack: draining(leptirNack), bury: draining(leptirBury), beside: draining(leptirBeside),
			next: draining(leptirNext),
		},
	}, nil
}

// beside returns a prefix of keys that a cluster keeps in the same slot as key.
func beside(key string) string {
	if _, tag, found := strings.Cut(key, "{"); found && strings.Index(tag, "}") > 0 {
		return key + ":procops"
	}
	return "{" + key + "}:procops"
}

// Close closes the connections.
func (q *Leptir) Close() error { return errors.Join(q.ears.close(), q.server.client.Close()) }

func (q *Leptir) run(ctx context.Context, s script, args ...any) *redis.Cmd {
	return q.server.run(ctx, s, q.keys, args...)
}

// score returns a time as the set has it.
func score(t time.Time) string {
	text := strconv.FormatInt(t.Unix(), 10)
	if micros := t.Nanosecond() / int(time.Microsecond); micros > 0 {
		text += fmt.Sprintf(".%06d", micros)
	}
	return text
}

// timeOf reads a score.
func timeOf(text string) (time.Time, error) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.Abs(f) > 1<<40 {
		return time.Time{}, fmt.Errorf("unexpected score %q", text)
	}
	return time.UnixMicro(int64(math.Round(f * 1e6))), nil
}

// Push queues messages.
func (q *Leptir) Push(ctx context.Context, messages []broker.Message) error {
	var args []any
	for i := range messages {
		m := &messages[i]
		document, err := q.format.Encode(m)
		if err != nil {
			return fmt.Errorf("cannot queue tasks: %w", err)
		}
		args = append(args, m.ID, m.Type, score(m.RunAt), document, m.Number, m.Attempts, m.Crashes, flag(m.Buried))
	}
	if err := q.run(ctx, q.scripts.push, args...).Err(); err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("cannot queue tasks: %w", refusal(err))
	}
	return nil
}

// Extend makes leases end so long from now.
func (q *Leptir) Extend(ctx context.Context, leases []broker.Lease, by time.Duration) (lost []broker.Lease, err error) {
	if lost, err = each(ctx, q.run, q.scripts.extend, leases, by.Microseconds()); err != nil {
		return nil, fmt.Errorf("cannot extend the leases of tasks: %w", err)
	}
	return lost, nil
}

// Ack removes messages.
func (q *Leptir) Ack(ctx context.Context, leases []broker.Lease) (lost []broker.Lease, err error) {
	if lost, err = each(ctx, q.run, q.scripts.ack, leases); err != nil {
		return nil, fmt.Errorf("cannot remove tasks: %w", err)
	}
	return lost, nil
}

// Nack gives a message back. It gets into the set again as it was, with another time.
func (q *Leptir) Nack(ctx context.Context, l broker.Lease, again broker.Again) error {
	at := ""
	if !again.At.IsZero() {
		at = score(again.At)
	}
	return settle(ctx, q.run, q.scripts.nack, "give back", l, at, flag(again.Failed), flag(again.Fresh))
}

// Bury puts a message aside.
func (q *Leptir) Bury(ctx context.Context, l broker.Lease) error {
	return settle(ctx, q.run, q.scripts.bury, "bury", l)
}

// page is a part of the set.
type page struct {
	sight     string // what all that is ready looks like
	now       time.Time
	documents []document
}

// document is a member of the set.
type document struct {
	member string
	at     time.Time // its score
}

// look reads a part of the set: of what is ready, what is scheduled, or all.
func (q *Leptir) look(ctx context.Context, from string, skip, most int) (p page, err error) {
	answer, err := q.run(ctx, q.scripts.look, from, skip, most).Slice()
	if err != nil {
		return p, err
	}
	if len(answer) != 3 {
		return p, fmt.Errorf("unexpected answer %v", answer)
	}
	sight, ok1 := answer[0].(string)
	now, ok2 := answer[1].(string)
	list, ok3 := answer[2].([]any)
	if !ok1 || !ok2 || !ok3 {
		return p, fmt.Errorf("unexpected answer %v", answer)
	}
	p.sight = sight
	if p.now, err = timeOf(now); err != nil {
		return p, err
	}
	for pair := range slices.Chunk(list, 2) {
		member, isText := pair[0].(string)
		at, isScore := pair[1].(string)
		if !isText || !isScore {
			return p, fmt.Errorf("unexpected answer %v", pair)
		}
		d := document{member: member}
		if d.at, err = timeOf(at); err != nil {
			return p, err
		}
		p.documents = append(p.documents, d)
	}
	return p, nil
}

// message returns the message of a document. known is false where nobody can tell its type.
// A document that has a type and cannot be read otherwise has no body; one without an id
// gets one, by which it is known as long as it is not in the set.
func (q *Leptir) message(d document) (m broker.Message, known bool) {
	m, err := q.format.Decode([]byte(d.member))
	if m.Type == "" {
		return m, false
	}
	if err != nil {
		sum := sha1.Sum([]byte(d.member)) //nolint:gosec // as above
		m.ID = "unreadable-" + hex.EncodeToString(sum[:8])
	}
	m.RunAt = d.at
	return m, true
}

// withID returns a document as it is to be from now on: a message that has no ID gets one.
func (q *Leptir) withID(m *broker.Message, member string) string {
	if m.ID != "" {
		return member
	}
	d, err := leptir.Decode([]byte(member))
	if err != nil {
		return member // it has a name by its sum
	}
	d.ID = leptir.NewID(os.Getpid(), time.Now(), rand.Float64()) //nolint:gosec // no secret depends on it
	m.ID = d.ID
	better, err := d.Encode()
	if err != nil {
		return member
	}
	return string(better)
}
