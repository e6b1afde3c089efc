package sqlite

import (
	"testing"

	"procops/internal/tasks/broker/conformance"
)

// TestModel: whatever is done in whatever order, the queue is as its model.
func TestModel(t *testing.T) {
	dir, clock := t.TempDir(), newClock()
	conformance.Model(t, conformance.Bench{
		Broker: New(openStore(t, dir, clock.options())), Other: New(openStore(t, dir, clock.options())),
		Now: clock.now, Pass: clock.pass,
	})
}
