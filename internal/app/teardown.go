package app

import (
	"context"
	"errors"
	"fmt"
)

// teardown is a list of named clean-ups, run last in first out. Each gets the
// same context and is expected to give up when that ends.
type teardown struct{ steps []step }

type step struct {
	name string
	run  func(context.Context) error
}

func (t *teardown) add(name string, run func(context.Context) error) {
	t.steps = append(t.steps, step{name, run})
}

func (t *teardown) run(ctx context.Context) error {
	var errs []error
	for i := len(t.steps) - 1; i >= 0; i-- {
		if err := t.steps[i].run(ctx); err != nil {
			errs = append(errs, fmt.Errorf("cannot close %s: %w", t.steps[i].name, err))
		}
	}
	t.steps = nil
	return errors.Join(errs...)
}
