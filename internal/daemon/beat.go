package daemon

import (
	"context"
	"time"
)

// beatLimit is how long one beat may take, and how long the last ones may at the end.
const beatLimit = 5 * time.Second

// beats tells heartbeats of turns, from a goroutine of its own: a store that stands
// still holds no turn up. While one beat is under way, the newest of each kind waits.
type beats struct {
	deps   Deps
	good   chan beat // room for one
	bad    chan beat // room for one
	quit   chan struct{}
	ended  chan struct{}
	broken bool // the last beat has failed, which was said; of the goroutine
}

type beat struct {
	heartbeat, message string
}

func newBeats(deps Deps) *beats {
	b := &beats{deps: deps, good: make(chan beat, 1), bad: make(chan beat, 1), quit: make(chan struct{}), ended: make(chan struct{})}
	go b.run()
	return b
}

// tell has a heartbeat told; an empty name is none.
func (b *beats) tell(heartbeat string, ok bool, message string) {
	if heartbeat == "" {
		return
	}
	queue := b.bad
	if ok {
		queue = b.good
	}
	for one := (beat{heartbeat, message}); ; {
		select {
		case queue <- one:
			return
		default:
		}
		select {
		case <-queue: // older news of the same kind
		default:
		}
	}
}

func (b *beats) run() {
	defer close(b.ended)
	for {
		select {
		case one := <-b.bad:
			b.beat(one, false)
		case one := <-b.good:
			b.beat(one, true)
		case <-b.quit:
			b.last()
			return
		}
	}
}

// last tells what still waits.
func (b *beats) last() {
	for {
		select {
		case one := <-b.bad:
			b.beat(one, false)
		case one := <-b.good:
			b.beat(one, true)
		default:
			return
		}
	}
}

func (b *beats) beat(one beat, ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), beatLimit)
	defer cancel()
	err := b.deps.Beat(ctx, one.heartbeat, ok, one.message)
	if err != nil && !b.broken {
		b.deps.Log.Warn().Err(err).Str("heartbeat", one.heartbeat).Msg("the heartbeat was not told of a turn")
	}
	b.broken = err != nil
}

func (b *beats) close() {
	close(b.quit)
	<-b.ended
}
