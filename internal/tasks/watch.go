package tasks

import (
	"context"
	"errors"
	"reflect"
	"time"

	"procops/internal/fault"
	"procops/internal/store"
)

// Ended reports whether a task in this state is not run any more, unless somebody gives it
// another life.
func (s State) Ended() bool { return s == StateDone || s == StateDead || s == StateCancelled }

// watchPatience is how long a watch waits for a change before it looks by itself.
const watchPatience = time.Minute

// Watch calls show with what is known of a task, at once and whenever that changes, until
// the task has ended or ctx does. It returns what was shown last. A task that is not known
// is a fault.NotFound.
func (q *Queue) Watch(ctx context.Context, id string, show func(*Record) error) (r Record, err error) {
	if r, err = q.Get(ctx, id); err != nil {
		return r, err
	}
	for {
		if err := show(&r); err != nil || r.State.Ended() {
			return r, err
		}
		shown := r
		_, err := q.store.Await(ctx, watchPatience, func(tx *store.Tx) (bool, error) {
			next, err := load(tx, id)
			if err != nil {
				return false, err
			}
			r = next
			return !reflect.DeepEqual(shown, r), nil
		})
		if errors.Is(err, errNoRecord) {
			return shown, fault.New(fault.NotFound, "task %q was forgotten while it was watched", id)
		}
		if err != nil {
			return shown, err
		}
	}
}
