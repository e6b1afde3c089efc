package redis

import (
	"strings"
	"testing"
	"time"

	"procops/internal/tasks/broker/conformance"
)

// stopClock gives the scripts of a broker the clock in the key PREFIX:clock.
func stopClock(b *Broker) {
	still := func(text string) script {
		return draining(strings.Replace(text, `local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]`, `local now = tonumber(redis.call('GET', prefix .. ':clock'))`, 1))
	}
	b.scripts = scripts{
		push: still(scriptPush), claim: still(scriptClaim), extend: still(scriptExtend), ack: still(scriptAck),
		nack: still(scriptNack), bury: still(scriptBury), count: still(scriptCount), next: still(scriptNext), read: still(scriptRead),
	}
}

// TestModel: whatever is done in whatever order, the queue is as its model.
func TestModel(t *testing.T) {
	url := startServer(t)
	b, other := open(t, url, "{model}"), open(t, url, "{model}")
	stopClock(b)
	stopClock(other)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	pass := func(d time.Duration) {
		now = now.Add(d)
		if err := b.server.client.Set(t.Context(), "{model}:clock", now.UnixMicro(), 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	pass(0)
	conformance.Model(t, conformance.Bench{Broker: b, Other: other, Now: func() time.Time { return now }, Pass: pass})
}
