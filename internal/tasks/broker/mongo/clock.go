package mongo

import (
	"context"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// How long it is believed how the clock of the server differs from ours, and how far our
// own two clocks may drift apart before it is asked again: then somebody has set one of
// them, or the machine has slept.
const (
	clockTrust = time.Minute
	clockDrift = 50 * time.Millisecond
)

// clock tells the time of the server. A server tells it to whoever asks, to the
// millisecond, but cannot reckon with it in a change. So the difference to our own clock
// is measured now and then, and is as good as half of the time that the question takes.
type clock struct {
	mu     sync.Mutex
	asked  time.Time     // by our clocks; the zero time: never
	behind time.Duration // how far ours is behind
}

// now returns the time of the server of a database.
func (c *clock) now(ctx context.Context, db *mongo.Database) (time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	passed := now.Sub(c.asked) // by the clock that nobody sets
	if drift := now.Round(0).Sub(c.asked.Round(0)) - passed; c.asked.IsZero() || passed > clockTrust || drift.Abs() > clockDrift {
		behind, err := askClock(ctx, db)
		if err != nil {
			return time.Time{}, err
		}
		now = time.Now()
		c.asked, c.behind = now, behind
	}
	return now.Add(c.behind).Truncate(time.Microsecond), nil
}

func askClock(ctx context.Context, db *mongo.Database) (time.Duration, error) {
	var answer struct {
		LocalTime time.Time `bson:"localTime"`
	}
	before := time.Now().Round(0)
	if err := db.RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&answer); err != nil {
		return 0, err
	}
	return behind(before, answer.LocalTime, time.Now().Round(0)), nil
}

// behind returns how far our clock is behind that of the server, whose time is cut to the
// millisecond. Where what we know allows that they agree, they do: those of one host are the
// same, and what is due by the one must be so by the other.
func behind(before, server, after time.Time) time.Duration {
	least, most := server.Sub(after), server.Add(time.Millisecond).Sub(before)
	if least <= 0 && most >= 0 {
		return 0
	}
	return (least + most) / 2
}
