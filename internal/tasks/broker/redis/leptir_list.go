package redis

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"procops/internal/tasks/broker"
)

// Count counts the messages of some types. It reads all documents.
func (q *Leptir) Count(ctx context.Context, types []string) (n broker.Counts, err error) {
	for e, err := range q.all(ctx, types, false) {
		if err != nil {
			return broker.Counts{}, fmt.Errorf("cannot count tasks: %w", err)
		}
		switch e.State {
		case broker.StateReady:
			n.Ready++
		case broker.StateScheduled:
			n.Scheduled++
		case broker.StateLeased:
			n.Leased++
		case broker.StateBuried:
			n.Buried++
		}
	}
	return n, nil
}

// List goes through the messages. Documents that nobody can tell the type of have none; with
// types they are left out.
func (q *Leptir) List(ctx context.Context, types []string) iter.Seq2[broker.Entry, error] {
	return func(yield func(broker.Entry, error) bool) {
		for e, err := range q.all(ctx, types, true) {
			if err != nil {
				err = fmt.Errorf("cannot read the queue: %w", err)
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// all goes through the set and what is beside it; with what is kept of each document only
// where that is wanted.
func (q *Leptir) all(ctx context.Context, types []string, whole bool) iter.Seq2[broker.Entry, error] {
	return func(yield func(broker.Entry, error) bool) {
		for _, kept := range [][]any{{"leased"}, append([]any{"buried"}, anys(types)...)} {
			entries, err := q.beside(ctx, kept...)
			if err != nil {
				yield(broker.Entry{}, err)
				return
			}
			for _, e := range entries {
				if (len(types) == 0 || slices.Contains(types, e.Type)) && !yield(e, nil) {
					return
				}
			}
		}
		for skip := 0; ; {
			p, err := q.look(ctx, "all", skip, mostDocuments)
			var entries []broker.Entry
			if err == nil {
				entries, err = q.entries(ctx, p, types, whole)
			}
			if err != nil {
				yield(broker.Entry{}, err)
				return
			}
			for _, e := range entries {
				if !yield(e, nil) {
					return
				}
			}
			if len(p.documents) < mostDocuments {
				return
			}
			skip += len(p.documents)
		}
	}
}

// entries returns the messages of a page.
func (q *Leptir) entries(ctx context.Context, p page, types []string, whole bool) ([]broker.Entry, error) {
	var entries []broker.Entry
	for _, d := range p.documents {
		m, _ := q.message(d)
		if len(types) > 0 && !slices.Contains(types, m.Type) {
			continue
		}
		state := broker.StateReady
		if d.at.After(p.now) {
			state = broker.StateScheduled
		}
		entries = append(entries, broker.Entry{Message: m, State: state})
	}
	if !whole || len(entries) == 0 {
		return entries, nil
	}
	args := []any{"ids"}
	for _, e := range entries {
		args = append(args, e.ID)
	}
	kept, err := q.beside(ctx, args...)
	if err != nil {
		return nil, err
	}
	known := map[string]broker.Message{}
	for _, k := range kept {
		known[k.ID] = k.Message
	}
	for i := range entries {
		if k, found := known[entries[i].ID]; found {
			entries[i].Number, entries[i].Attempts, entries[i].Crashes = k.Number, k.Attempts, k.Crashes
		}
	}
	return entries, nil
}

// beside reads what is kept beside the set.
func (q *Leptir) beside(ctx context.Context, args ...any) (entries []broker.Entry, err error) {
	rows, err := q.run(ctx, q.scripts.beside, args...).Slice()
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		f, err := texts(row, 8)
		if err != nil {
			return nil, err
		}
		e := broker.Entry{Message: q.kept(f[0], f[1], f[7]), State: broker.State(f[2])}
		if err := past(&e.Message, f[3], f[4], f[5], f[6]); err != nil {
			return nil, err
		}
		e.Buried = e.State == broker.StateBuried
		entries = append(entries, e)
	}
	return entries, nil
}
