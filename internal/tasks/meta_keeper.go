package tasks

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"procops/internal/tasks/leptir"
)

const (
	metaMost  = 10_000 // of so many tasks news are kept for a store that is away
	metaBatch = 200    // so many are written at once
	// The times between two attempts to reach a store that is away.
	metaPauseFirst = time.Second
	metaPauseMost  = 30 * time.Second
)

// keeper brings news to one store. The goroutine of run writes; whoever has news adds them.
type keeper struct {
	store NamedMeta
	log   zerolog.Logger
	wake  chan struct{} // room for one: there are news
	done  chan struct{} // closed: there will be no more
	once  sync.Once     // closes done
	ended chan struct{} // closed: all is written, or given up

	ctx  context.Context // ends what is being written
	stop context.CancelCauseFunc

	mu    sync.Mutex
	room  *sync.Cond // less is waiting, or the store is away
	news  map[string]leptir.Info
	order []string // IDs of news, the oldest first
	away  bool
	lost  int // tasks whose news were dropped, since it is away
}

func startKeeper(store NamedMeta, log zerolog.Logger) *keeper {
	k := &keeper{store: store, log: log, wake: make(chan struct{}, 1), done: make(chan struct{}), ended: make(chan struct{}), news: map[string]leptir.Info{}}
	k.room = sync.NewCond(&k.mu)
	k.ctx, k.stop = context.WithCancelCause(context.Background())
	go k.run()
	return k
}

// add takes news. When there are too many it waits for a store that answers, and forgets
// the oldest of one that does not.
func (k *keeper) add(i leptir.Info) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, known := k.news[i.ID]; !known {
		for len(k.order) >= metaMost && !k.away {
			k.room.Wait()
		}
		if len(k.order) >= metaMost {
			delete(k.news, k.order[0])
			k.order = k.order[1:]
			k.lost++
		}
		k.order = append(k.order, i.ID)
	}
	k.news[i.ID] = i
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// finish says that there will be no more. When ctx ends all is given up that is not written.
func (k *keeper) finish(ctx context.Context) {
	context.AfterFunc(ctx, func() { k.stop(context.Cause(ctx)) })
	k.once.Do(func() { close(k.done) })
}

func (k *keeper) run() {
	defer close(k.ended)
	defer k.stop(nil)
	pause := metaPauseFirst
	for {
		batch := k.take()
		if len(batch) == 0 {
			if !k.sleep(nil) {
				return
			}
			continue
		}
		err := k.save(batch)
		if err == nil {
			pause = metaPauseFirst
			k.arrived()
			continue
		}
		k.failed(batch, err)
		timer := time.NewTimer(pause)
		more := k.sleep(timer.C)
		timer.Stop()
		pause = min(2*pause, metaPauseMost)
		if !more {
			k.giveUp()
			return
		}
	}
}

// sleep waits for news, or for the end of a pause during which news do not matter. It returns
// false when there is nothing more to wait for.
func (k *keeper) sleep(pause <-chan time.Time) bool {
	wake := k.wake
	if pause != nil {
		wake = nil
	}
	select {
	case <-wake:
	case <-pause:
	case <-k.done:
		k.mu.Lock()
		defer k.mu.Unlock()
		return pause == nil && len(k.order) > 0
	}
	return true
}

// take returns the oldest news.
func (k *keeper) take() []leptir.Info {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := min(metaBatch, len(k.order))
	batch := make([]leptir.Info, n)
	for i, id := range k.order[:n] {
		batch[i] = k.news[id]
		delete(k.news, id)
	}
	k.order = k.order[n:]
	k.room.Broadcast()
	return batch
}

func (k *keeper) save(batch []leptir.Info) error {
	ctx, cancel := context.WithTimeoutCause(k.ctx, metaTimeout, errors.New("it does not answer"))
	defer cancel()
	err := k.store.Save(ctx, batch)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// arrived takes note that a store has answered.
func (k *keeper) arrived() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.away {
		k.log.Info().Int("lost", k.lost).Msg("the meta store answers again")
	}
	k.away, k.lost = false, 0
}

// failed takes note that a store is away. What it did not take waits, unless there are
// newer news by now.
func (k *keeper) failed(batch []leptir.Info, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var again []string
	for _, i := range batch {
		if _, newer := k.news[i.ID]; !newer {
			k.news[i.ID] = i
			again = append(again, i.ID)
		}
	}
	k.order = append(again, k.order...)
	if !k.away {
		k.log.Warn().Err(err).Msg("the meta store is away; the tasks go on without it")
	}
	k.away = true
	k.room.Broadcast()
}

// giveUp tells how much was not written.
func (k *keeper) giveUp() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.log.Warn().Int("tasks", len(k.order)+k.lost).Msg("the meta store has not got the news of some tasks")
}
