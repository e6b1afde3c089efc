package heartbeat

import (
	"context"
	"sync"
	"time"

	"procops/internal/store"
)

const (
	// couriers is how many reactions run at a time.
	couriers = 8
	// alertsChunk is how many alerts are in memory at a time.
	alertsChunk = 1000
)

// courier brings alerts to whom they are for. The alerts of one heartbeat go one
// after the other; one whose reaction hangs keeps none of the others back.
type courier struct {
	list    *List
	reactor reactor
	free    chan struct{} // one for each reaction at work
	done    chan struct{} // holds one sign when a reaction has ended
	workers sync.WaitGroup

	mu      sync.Mutex
	busy    map[string]bool // heartbeats with an alert on its way
	brought map[int64]bool  // alerts of which it could not be recorded yet that they are delivered
}

func newCourier(l *List, deps Deps) *courier {
	return &courier{
		list: l, reactor: reactor{list: l, deps: deps},
		free: make(chan struct{}, couriers), done: make(chan struct{}, 1), busy: map[string]bool{}, brought: map[int64]bool{},
	}
}

// deliver has the alerts that are open delivered, as far as there is a courier for
// them; it does not wait for the end of that.
func (c *courier) deliver(ctx context.Context) error {
	var after int64
	for {
		open, err := c.list.openAlerts(ctx, after)
		if err != nil {
			return err
		}
		var silent []int64
		for _, d := range open {
			after = d.id
			switch {
			case len(c.list.reactions(d.heartbeat, d.Alert)) == 0:
				silent = append(silent, d.id)
			case !c.send(ctx, d):
				return c.list.delivered(ctx, silent) // they come again with the next pass
			}
		}
		if err := c.list.delivered(ctx, silent); err != nil || len(open) < alertsChunk {
			return err
		}
	}
}

// addressed is an alert with the heartbeat that it is about.
type addressed struct {
	delivery

	heartbeat Heartbeat
}

// send has an alert delivered; false means that no courier is free.
func (c *courier) send(ctx context.Context, d addressed) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy[d.Name] {
		return true // after the one before it
	}
	select {
	case c.free <- struct{}{}:
	default:
		return false
	}
	c.busy[d.Name] = true
	c.workers.Go(func() { c.carry(ctx, d) })
	return true
}

// carry delivers an alert. It counts as delivered when the reactions have ended,
// however they have; when the monitor ends meanwhile, the next one delivers it again.
func (c *courier) carry(ctx context.Context, d addressed) {
	if err := c.bring(ctx, d); err != nil && ctx.Err() == nil {
		c.reactor.deps.Log.Debug().Err(err).Str("heartbeat", d.Name).Msg("cannot record that an alert is delivered; it is tried again")
	}
	c.mu.Lock()
	delete(c.busy, d.Name)
	c.mu.Unlock()
	<-c.free
	select {
	case c.done <- struct{}{}:
	default:
	}
}

func (c *courier) bring(ctx context.Context, d addressed) error {
	// Since it was read the courier before this one may have delivered it.
	open, err := c.list.isOpen(ctx, d.id)
	if err != nil || !open {
		return err
	}
	if !c.isBrought(d.id) {
		c.reactor.react(ctx, d.heartbeat, d.delivery)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	err = c.list.delivered(ctx, []int64{d.id})
	c.noteBrought(d.id, err != nil)
	return err
}

// isBrought reports whether an alert was delivered and only the record of that is missing,
// because the disk is full or the like: nobody is told a second time for that.
func (c *courier) isBrought(alert int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.brought[alert]
}

func (c *courier) noteBrought(alert int64, unrecorded bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if delete(c.brought, alert); unrecorded {
		c.brought[alert] = true
	}
}

func (c *courier) wait() { c.workers.Wait() }

// openAlerts returns the alerts behind an id that are not delivered yet.
func (l *List) openAlerts(ctx context.Context, after int64) (open []addressed, err error) {
	err = l.store.View(ctx, func(tx *store.Tx) error {
		open = nil
		found, err := loadOpenAlerts(tx, after, alertsChunk)
		if err != nil {
			return err
		}
		for _, d := range found {
			r, err := loadOne(tx, d.Name)
			if err != nil {
				return err
			}
			h := l.heartbeat(r)
			if h.Last != nil {
				d.PID = h.Last.Client.PID
			}
			open = append(open, addressed{d, h})
		}
		return nil
	})
	return open, err
}

func (l *List) isOpen(ctx context.Context, alert int64) (open bool, err error) {
	err = l.store.View(ctx, func(tx *store.Tx) error {
		open, err = alertIsOpen(tx, alert)
		return err
	})
	return open, err
}

// alertsKept is how long delivered alerts are kept.
const alertsKept = 30 * 24 * time.Hour

// delivered records that alerts need no further delivery.
func (l *List) delivered(ctx context.Context, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	return l.store.Update(ctx, func(tx *store.Tx) error { return saveDelivered(tx, ids) })
}
