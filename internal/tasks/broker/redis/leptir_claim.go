package redis

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"procops/internal/tasks/broker"
)

const (
	// spareDocuments is how many documents more than wanted are looked at, because others may be
	// faster.
	spareDocuments = 16
	// mostDocuments is how many documents are read at once.
	mostDocuments = 1000
)

// Claim leases messages.
func (q *Leptir) Claim(ctx context.Context, ask broker.Ask) (leases []broker.Lease, err error) {
	ask.From = cmp.Or(ask.From, broker.StateReady)
	if ask.From == broker.StateBuried {
		leases, err = q.takeBuried(ctx, ask)
	} else {
		leases, err = q.claim(ctx, ask)
	}
	if err != nil {
		return leases, fmt.Errorf("cannot claim tasks: %w", err)
	}
	return leases, nil
}

// claim goes through the set until it has enough. What others are interested in lies in
// between, and stays where it is.
func (q *Leptir) claim(ctx context.Context, ask broker.Ask) (leases []broker.Lease, err error) {
	most, sight := min(ask.Max+spareDocuments, mostDocuments), ""
	if len(ask.IDs) > 0 {
		most = mostDocuments
	}
	for skip, missed := 0, 0; len(leases) < ask.Max; most = min(4*most, mostDocuments) {
		p, err := q.look(ctx, string(ask.From), skip, most)
		if err != nil {
			return leases, err
		}
		sight = cmp.Or(sight, p.sight)
		wanted := q.choose(p, ask)
		taken, err := q.take(ctx, ask, ask.Max-len(leases), wanted)
		leases = append(leases, taken...)
		missed += len(wanted) - len(taken)
		if err != nil {
			return leases, err
		}
		if len(p.documents) < most {
			if len(leases) == 0 && len(ask.IDs) == 0 && ask.From == broker.StateReady {
				return nil, q.noteDry(ctx, ask, sight, missed > 0)
			}
			break
		}
		skip += len(p.documents) - len(taken)
	}
	return leases, nil
}

// noteDry takes note that nothing that is ready can be claimed for these types. Where
// something could not be taken somebody has been faster; but if all looks as before, it is a
// document whose id somebody has under a lease already.
func (q *Leptir) noteDry(ctx context.Context, ask broker.Ask, sight string, missed bool) error {
	if missed {
		p, err := q.look(ctx, string(broker.StateReady), 0, 0)
		if err != nil || p.sight != sight {
			return err
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dry[typesKey(ask.Types)] = dryness{sight, time.Now().Add(dryFor)}
	return nil
}

// isDry reports whether nothing that is ready is for these types.
func (q *Leptir) isDry(types []string, sight string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	d := q.dry[typesKey(types)]
	return d.sight == sight && time.Now().Before(d.until)
}

func typesKey(types []string) string { return strings.Join(types, "\n") }

// candidate is a document that is wanted.
type candidate struct {
	message broker.Message
	member  string
	better  string // what the document is to be from now on
}

// choose returns what is wanted of a page.
func (q *Leptir) choose(p page, ask broker.Ask) (wanted []candidate) {
	for _, d := range p.documents {
		m, known := q.message(d)
		switch {
		case !known:
			continue
		case len(ask.IDs) > 0:
			if !slices.Contains(ask.IDs, m.ID) {
				continue
			}
		case len(ask.Types) > 0 && !slices.Contains(ask.Types, m.Type):
			continue
		}
		c := candidate{message: m, member: d.member}
		c.better = q.withID(&c.message, d.member)
		wanted = append(wanted, c)
	}
	return wanted
}

// take leases up to so many of the candidates, those that nobody else has got.
func (q *Leptir) take(ctx context.Context, ask broker.Ask, most int, wanted []candidate) ([]broker.Lease, error) {
	if len(wanted) == 0 {
		return nil, nil
	}
	args := []any{most, ask.Lease.Microseconds(), string(ask.From)}
	messages := map[string]broker.Message{}
	for i := range wanted {
		c := &wanted[i]
		args = append(args, c.message.ID, c.message.Type, c.member, c.better)
		if _, twice := messages[c.message.ID]; !twice {
			messages[c.message.ID] = c.message
		}
	}
	rows, err := q.run(ctx, q.scripts.take, args...).Slice()
	if err != nil {
		return nil, err
	}
	return q.readLeases(rows, func(id, _, _ string) broker.Message { return messages[id] })
}

// takeBuried leases what was put aside.
func (q *Leptir) takeBuried(ctx context.Context, ask broker.Ask) ([]broker.Lease, error) {
	args := append([]any{ask.Max, ask.Lease.Microseconds(), len(ask.IDs)}, anys(ask.IDs)...)
	if len(ask.IDs) == 0 {
		args = append(args, anys(ask.Types)...)
	}
	rows, err := q.run(ctx, q.scripts.takeBuried, args...).Slice()
	if err != nil {
		return nil, err
	}
	return q.readLeases(rows, func(id, typ, member string) broker.Message {
		m := q.kept(id, typ, member)
		m.Buried = true
		return m
	})
}

// kept returns the message of a document that is kept beside the set.
func (q *Leptir) kept(id, typ, member string) broker.Message {
	m, _ := q.message(document{member: member})
	m.ID, m.Type = id, typ
	return m
}

// readLeases reads what the scripts return of what they have taken. message returns what is
// in a document.
func (q *Leptir) readLeases(rows []any, message func(id, typ, member string) broker.Message) ([]broker.Lease, error) {
	leases := make([]broker.Lease, len(rows))
	for i, row := range rows {
		f, err := texts(row, 8)
		if err != nil {
			return nil, err
		}
		l := broker.Lease{Message: message(f[0], f[7], f[6])}
		if err := past(&l.Message, f[2], f[1], f[3], f[4]); err != nil {
			return nil, err
		}
		micros, err := strconv.ParseInt(f[5], 10, 64)
		if err != nil {
			return nil, err
		}
		l.Until = time.UnixMicro(micros)
		leases[i] = l
	}
	return leases, nil
}

// past reads what is kept of a message beside its document.
func past(m *broker.Message, score, number, attempts, crashes string) (err error) {
	if m.RunAt, err = timeOf(score); err != nil {
		return err
	}
	for text, into := range map[*string]func(int64){
		&number:   func(n int64) { m.Number = n },
		&attempts: func(n int64) { m.Attempts = int(n) },
		&crashes:  func(n int64) { m.Crashes = int(n) },
	} {
		n, err := strconv.ParseInt(*text, 10, 64)
		if err != nil {
			return err
		}
		into(n)
	}
	return nil
}

// texts reads a row of so many texts.
func texts(row any, n int) ([]string, error) {
	fields, ok := row.([]any)
	if !ok || len(fields) != n {
		return nil, fmt.Errorf("unexpected answer %v", row)
	}
	list := make([]string, n)
	for i, field := range fields {
		if list[i], ok = field.(string); !ok {
			return nil, fmt.Errorf("unexpected answer %v", row)
		}
	}
	return list, nil
}

// Await returns true when there may be something to claim. Procops tells when it has queued
// something; for what others have queued it looks from time to time.
func (q *Leptir) Await(ctx context.Context, types []string, patience time.Duration) (bool, error) {
	woken, done, err := q.ears.listen(ctx, types)
	if err != nil {
		return false, cannotWait(ctx, err)
	}
	defer done()
	for end := time.Now().Add(patience); ; {
		found, wait, err := q.next(ctx, types)
		if err != nil {
			return false, cannotWait(ctx, err)
		}
		left := time.Until(end)
		if found || left <= 0 {
			return found, nil
		}
		timer := time.NewTimer(min(wait, q.poll, left))
		select {
		case <-woken:
			timer.Stop()
			return true, nil
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false, context.Cause(ctx)
		}
	}
}

// next reports whether there may be something to claim, or after what time there may be.
func (q *Leptir) next(ctx context.Context, types []string) (found bool, wait time.Duration, err error) {
	answer, err := q.run(ctx, q.scripts.next).Slice()
	if err != nil {
		return false, 0, err
	}
	if len(answer) != 3 {
		return false, 0, fmt.Errorf("unexpected answer %v", answer)
	}
	ready, ok1 := answer[0].(int64)
	sight, ok2 := answer[1].(string)
	text, ok3 := answer[2].(string)
	micros, err := strconv.ParseInt(text, 10, 64)
	if !ok1 || !ok2 || !ok3 || err != nil {
		return false, 0, fmt.Errorf("unexpected answer %v", answer)
	}
	if micros == 0 || ready > 0 && !q.isDry(types, sight) {
		return true, 0, nil
	}
	if wait = time.Duration(micros) * time.Microsecond; micros < 0 {
		wait = time.Hour
	}
	return false, wait, nil
}
