package redis

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"procops/internal/tasks/broker"
)

// pageLength is about how many messages are read at once.
const pageLength = 500

// List goes through the messages. It walks over all keys of the database, a few at a time,
// so that it holds nobody up: it is for people, not for workers.
func (b *Broker) List(ctx context.Context, types []string) iter.Seq2[broker.Entry, error] {
	return func(yield func(broker.Entry, error) bool) {
		seen := map[string]bool{} // a walk may come to a key twice
		for cursor := uint64(0); ; {
			ids, next, err := b.scan(ctx, cursor)
			var entries []broker.Entry
			if err == nil {
				ids = slices.DeleteFunc(ids, func(id string) bool {
					twice := seen[id]
					seen[id] = true
					return twice
				})
				entries, err = b.read(ctx, ids)
			}
			if err != nil {
				yield(broker.Entry{}, fmt.Errorf("cannot read the queue: %w", err))
				return
			}
			for _, e := range entries {
				if (len(types) == 0 || slices.Contains(types, e.Type)) && !yield(e, nil) {
					return
				}
			}
			if cursor = next; cursor == 0 {
				return
			}
		}
	}
}

// scan returns the next IDs of a walk.
func (b *Broker) scan(ctx context.Context, cursor uint64) (ids []string, next uint64, err error) {
	begin := b.prefix + ":task:"
	literal := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(begin)
	keys, next, err := b.server.client.Scan(ctx, cursor, literal+"*", pageLength).Result()
	for _, key := range keys {
		ids = append(ids, strings.TrimPrefix(key, begin))
	}
	return ids, next, err
}

// read returns what is known of messages, those left out that are gone.
func (b *Broker) read(ctx context.Context, ids []string) (entries []broker.Entry, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	rows, err := b.run(ctx, b.scripts.read, anys(ids)...).Slice()
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		m, state, err := readMessage(row)
		if err != nil {
			return nil, err
		}
		m.Buried = state == string(broker.StateBuried)
		entries = append(entries, broker.Entry{Message: m, State: broker.State(state)})
	}
	return entries, nil
}
