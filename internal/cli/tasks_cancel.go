package cli

import (
	"context"
	"errors"

	"github.com/urfave/cli/v2"

	"procops/internal/fault"
	"procops/internal/tasks"
)

func tasksCancelCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "cancel",
		Usage:     "take tasks off that nobody wants any more",
		ArgsUsage: "[ID...]",
		Description: "One that is pending or retrying is not run any more. One that is running is asked to\n" +
			"end and then killed, as its type says in \"stop\", by whichever worker on this host\n" +
			"runs it. The ids of those cancelled are printed. One that has ended is an error (exit\n" +
			"code 4), and so is one that is not known (3); the others are cancelled all the same.\n\n" +
			examples("procops tasks cancel 01KB0V6M3G7Q9WJ2Y4T8XN5RCE", "procops tasks cancel --type mail.send"),
		Flags: []cli.Flag{
			typeFlag("cancel all tasks of this `TYPE` that have not ended"), allFlag("cancel all tasks that have not ended"), jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			return handTasks(c, io, handling{
				done: "cancelled", do: (*tasks.Queue).Cancel, missed: notCancelled,
				find: func(q *tasks.Queue, ctx context.Context, f tasks.Filter) ([]tasks.Record, error) {
					f.States = []tasks.State{tasks.StatePending, tasks.StateRunning, tasks.StateRetrying}
					return q.List(ctx, f)
				},
			})
		},
	}
}

// notCancelled says why some tasks could not be cancelled.
func notCancelled(ctx context.Context, q *tasks.Queue, ids []string) error {
	var errs []error
	for _, id := range ids {
		r, err := q.Get(ctx, id)
		if err == nil {
			err = fault.New(fault.Conflict, "cannot cancel task %q: it is %s", id, r.State)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
