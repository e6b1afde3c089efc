package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// teardown is a list of named clean-ups, run last in first out. Each gets the
// same context and is expected to give up when that ends.
type teardown struct {
	mu    sync.Mutex
	steps []step
}

type step struct {
	name string
	run  func(context.Context) error
}

func (t *teardown) add(name string, run func(context.Context) error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.steps = append(t.steps, step{name, run})
}

func (t *teardown) run(ctx context.Context) error {
	t.mu.Lock()
	steps := t.steps
	t.steps = nil
	t.mu.Unlock()
	var errs []error
	for _, s := range slices.Backward(steps) {
		if err := s.run(ctx); err != nil {
			errs = append(errs, fmt.Errorf("cannot close %s: %w", s.name, err))
		}
	}
	return errors.Join(errs...)
}
