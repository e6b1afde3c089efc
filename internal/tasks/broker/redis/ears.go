package redis

import (
	"context"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"
)

// ears hear that there may be something to claim, over one connection for all who wait.
type ears struct {
	client *redis.Client
	prefix string

	mu      sync.Mutex
	sub     *redis.PubSub            // nil until somebody waits
	ended   chan struct{}            // closed when nobody reads sub any more
	heard   map[string]chan struct{} // by channel; closed once the server has confirmed that it tells of it
	waiting []*waiter
}

// waiter waits for news on some channels.
type waiter struct {
	channels []string
	woken    chan struct{} // room for one
}

func newEars(client *redis.Client, prefix string) *ears {
	return &ears{client: client, prefix: prefix, heard: map[string]chan struct{}{}}
}

// listen returns what is told when there may be something of the types from now on, until
// done is called.
func (e *ears) listen(ctx context.Context, types []string) (woken <-chan struct{}, done func(), err error) {
	w := &waiter{woken: make(chan struct{}, 1)}
	for _, t := range types {
		w.channels = append(w.channels, e.prefix+":wake:"+t)
	}
	confirmed, err := e.add(ctx, w)
	if err != nil {
		return nil, nil, err
	}
	for _, c := range confirmed {
		select {
		case <-c:
		case <-ctx.Done():
			e.remove(w)
			return nil, nil, context.Cause(ctx)
		}
	}
	return w.woken, func() { e.remove(w) }, nil
}

// add makes sure that the server tells of the channels, and returns what is closed when
// it does.
func (e *ears) add(ctx context.Context, w *waiter) (confirmed []<-chan struct{}, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var fresh []string
	for _, c := range w.channels {
		if e.heard[c] == nil {
			fresh = append(fresh, c)
		}
	}
	if e.sub == nil {
		e.sub = e.client.Subscribe(ctx)
		e.ended = make(chan struct{})
		go e.hear(e.sub.ChannelWithSubscriptions(), e.ended)
	}
	if len(fresh) > 0 {
		if err := e.sub.Subscribe(ctx, fresh...); err != nil {
			return nil, err
		}
	}
	for _, c := range fresh {
		e.heard[c] = make(chan struct{})
	}
	for _, c := range w.channels {
		confirmed = append(confirmed, e.heard[c])
	}
	e.waiting = append(e.waiting, w)
	return confirmed, nil
}

func (e *ears) remove(w *waiter) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiting = slices.DeleteFunc(e.waiting, func(x *waiter) bool { return x == w })
}

// hear wakes those who wait. The library connects again by itself; then there may have
// been news that nobody has heard, so all are woken.
func (e *ears) hear(news <-chan any, ended chan struct{}) {
	defer close(ended)
	for one := range news {
		switch m := one.(type) {
		case *redis.Message:
			e.wake(m.Channel)
		case *redis.Subscription:
			if !e.confirm(m.Channel) {
				e.wake(m.Channel)
			}
		}
	}
}

// confirm notes that the server tells of a channel. It returns false if it did before.
func (e *ears) confirm(channel string) (first bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	confirmed := e.heard[channel]
	select {
	case <-confirmed:
		return false
	default:
		close(confirmed)
		return true
	}
}

func (e *ears) wake(channel string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, w := range e.waiting {
		if slices.Contains(w.channels, channel) {
			select {
			case w.woken <- struct{}{}:
			default:
			}
		}
	}
}

func (e *ears) close() error {
	e.mu.Lock()
	sub, ended := e.sub, e.ended
	e.mu.Unlock()
	if sub == nil {
		return nil
	}
	err := sub.Close()
	<-ended
	return err
}
