package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"procops/internal/tasks/broker"
)

// Options say where the queue is.
type Options struct {
	// URL is the server, as "redis://user:password@host:6379/0"; rediss:// for TLS,
	// unix:// for a socket. Empty: "redis://127.0.0.1:6379/0".
	URL string
	// Prefix begins all keys of the queue; with it in braces, they stay together in a
	// cluster. Empty: "{procops}".
	Prefix string
	// Timeout bounds a call, where the URL does not; 0: some seconds.
	Timeout time.Duration
}

// Broker is a queue in Redis.
type Broker struct {
	server  *server
	prefix  string
	scripts scripts
	ears    *ears
}

// scripts are what Redis runs. Each is sent once to a server, and then called by its sum.
type scripts struct {
	push, claim, extend, ack, nack, bury, count, next, read script
}

// New returns a queue. It connects when that is first needed; the error says what is
// wrong with the options.
func New(o Options) (*Broker, error) {
	server, err := connect(o.URL, o.Timeout)
	if err != nil {
		return nil, err
	}
	o.Prefix = cmp.Or(o.Prefix, "{procops}")
	return &Broker{
		server: server, prefix: o.Prefix, ears: newEars(server.client, o.Prefix),
		scripts: scripts{
			push: taking(scriptPush), claim: draining(scriptClaim), extend: draining(scriptExtend),
			ack: draining(scriptAck), nack: draining(scriptNack), bury: draining(scriptBury),
			count: draining(scriptCount), next: draining(scriptNext), read: draining(scriptRead),
		},
	}, nil
}

// clearAtOnce is how many keys one call removes.
const clearAtOnce = 1000

// Clear removes all of the queue.
func (b *Broker) Clear(ctx context.Context) error {
	pattern := strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`).Replace(b.prefix) + ":*"
	for cursor := uint64(0); ; {
		keys, next, err := b.server.client.Scan(ctx, cursor, pattern, clearAtOnce).Result()
		if err == nil && len(keys) > 0 {
			err = b.server.client.Unlink(ctx, keys...).Err()
		}
		if err != nil {
			return fmt.Errorf("cannot remove the queue: %w", err)
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// Close closes the connections.
func (b *Broker) Close() error { return errors.Join(b.ears.close(), b.server.client.Close()) }

func (b *Broker) run(ctx context.Context, s script, args ...any) *redis.Cmd {
	return b.server.run(ctx, s, []string{b.prefix}, args...)
}

// Push queues messages.
func (b *Broker) Push(ctx context.Context, messages []broker.Message) error {
	const perMessage = 9
	args := make([]any, 0, perMessage*len(messages))
	for i := range messages {
		m := &messages[i]
		args = append(args, m.ID, m.Type, m.Priority, m.RunAt.UnixMicro(), m.Body, m.Number, m.Attempts, m.Crashes, flag(m.Buried))
	}
	if err := b.run(ctx, b.scripts.push, args...).Err(); err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("cannot queue tasks: %w", refusal(err))
	}
	return nil
}

// Claim leases messages.
func (b *Broker) Claim(ctx context.Context, ask broker.Ask) ([]broker.Lease, error) {
	from := cmp.Or(ask.From, broker.StateReady)
	args := append([]any{ask.Max, ask.Lease.Microseconds(), string(from), len(ask.IDs)}, anys(ask.IDs)...)
	if len(ask.IDs) == 0 {
		args = append(args, anys(ask.Types)...)
	}
	rows, err := b.run(ctx, b.scripts.claim, args...).Slice()
	if err != nil {
		return nil, fmt.Errorf("cannot claim tasks: %w", err)
	}
	leases := make([]broker.Lease, len(rows))
	for i, row := range rows {
		m, until, err := readMessage(row)
		if err != nil {
			return nil, fmt.Errorf("cannot claim tasks: %w", err)
		}
		micros, err := strconv.ParseInt(until, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("cannot claim tasks: %w", err)
		}
		m.Buried = from == broker.StateBuried
		leases[i] = broker.Lease{Message: m, Until: time.UnixMicro(micros)}
	}
	return leases, nil
}

// readMessage reads a row of what scriptClaim and scriptRead return: a message, and a
// field more.
func readMessage(row any) (m broker.Message, more string, err error) {
	fields, ok := row.([]any)
	if !ok || len(fields) != 9 {
		return m, "", fmt.Errorf("unexpected answer %v", row)
	}
	texts := make([]string, len(fields))
	for i, field := range fields {
		if texts[i], ok = field.(string); !ok {
			return m, "", fmt.Errorf("unexpected answer %v", row)
		}
	}
	number := func(text string) int64 {
		n, bad := strconv.ParseInt(text, 10, 64)
		err = errors.Join(err, bad)
		return n
	}
	m.ID, m.Type, m.Body = texts[0], texts[1], []byte(texts[4])
	m.Priority, m.RunAt, m.Number = int(number(texts[2])), time.UnixMicro(number(texts[3])), number(texts[5])
	m.Attempts, m.Crashes = int(number(texts[6])), int(number(texts[7]))
	return m, texts[8], err
}

// Extend makes leases end so long from now.
func (b *Broker) Extend(ctx context.Context, leases []broker.Lease, by time.Duration) (lost []broker.Lease, err error) {
	if lost, err = each(ctx, b.run, b.scripts.extend, leases, by.Microseconds()); err != nil {
		return nil, fmt.Errorf("cannot extend the leases of tasks: %w", err)
	}
	return lost, nil
}

// Ack removes messages.
func (b *Broker) Ack(ctx context.Context, leases []broker.Lease) (lost []broker.Lease, err error) {
	if lost, err = each(ctx, b.run, b.scripts.ack, leases); err != nil {
		return nil, fmt.Errorf("cannot remove tasks: %w", err)
	}
	return lost, nil
}

// runner runs a script of a queue.
type runner func(ctx context.Context, s script, args ...any) *redis.Cmd

// each runs a script for leases, which returns the places of those that are lost, from 1.
func each(ctx context.Context, run runner, s script, leases []broker.Lease, args ...any) (lost []broker.Lease, err error) {
	for i := range leases {
		args = append(args, leases[i].ID, leases[i].Number)
	}
	places, err := run(ctx, s, args...).Int64Slice()
	if err != nil {
		return nil, err
	}
	for _, place := range places {
		if place < 1 || place > int64(len(leases)) {
			return nil, fmt.Errorf("unexpected answer %v", places)
		}
		lost = append(lost, leases[place-1])
	}
	return lost, nil
}

// Nack gives a message back.
func (b *Broker) Nack(ctx context.Context, l broker.Lease, again broker.Again) error {
	at := ""
	if !again.At.IsZero() {
		at = strconv.FormatInt(again.At.UnixMicro(), 10)
	}
	return settle(ctx, b.run, b.scripts.nack, "give back", l, at, flag(again.Failed), flag(again.Fresh))
}

// Bury puts a message aside.
func (b *Broker) Bury(ctx context.Context, l broker.Lease) error {
	return settle(ctx, b.run, b.scripts.bury, "bury", l)
}

func settle(ctx context.Context, run runner, s script, what string, l broker.Lease, more ...any) error {
	held, err := run(ctx, s, append([]any{l.ID, l.Number}, more...)...).Int()
	switch {
	case err != nil:
		return fmt.Errorf("cannot %s task %q: %w", what, l.ID, err)
	case held == 0:
		return broker.ErrLost
	default:
		return nil
	}
}

// Count counts the messages of some types.
func (b *Broker) Count(ctx context.Context, types []string) (broker.Counts, error) {
	n, err := b.run(ctx, b.scripts.count, anys(types)...).Int64Slice()
	if err != nil || len(n) != 4 {
		return broker.Counts{}, fmt.Errorf("cannot count tasks: %w", err)
	}
	return broker.Counts{Ready: int(n[0]), Scheduled: int(n[1]), Leased: int(n[2]), Buried: int(n[3])}, nil
}

// Await returns true when there may be something to claim.
func (b *Broker) Await(ctx context.Context, types []string, patience time.Duration) (bool, error) {
	woken, done, err := b.ears.listen(ctx, types)
	if err != nil {
		return false, cannotWait(ctx, err)
	}
	defer done()
	micros, err := b.run(ctx, b.scripts.next, anys(types)...).Int64()
	if err != nil {
		return false, cannotWait(ctx, err)
	}
	next := time.Duration(micros) * time.Microsecond
	if micros == 0 {
		return true, nil
	}
	wait := patience
	if micros > 0 {
		wait = min(wait, next)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-woken:
		return true, nil
	case <-timer.C:
		return micros > 0 && next <= patience, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}

// cannotWait returns why a wait has failed; where that was the end of ctx, its cause.
func cannotWait(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("cannot wait for tasks: %w", err)
}

// flag returns what stands for a yes or a no in a script.
func flag(yes bool) string {
	if yes {
		return "1"
	}
	return "0"
}

func anys(texts []string) []any {
	list := make([]any, len(texts))
	for i, text := range texts {
		list[i] = text
	}
	return list
}
