package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"procops/internal/fault"
	"procops/internal/tasks"
)

func tasksDeadCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:  "dead",
		Usage: "tasks that have failed for good: list, show, requeue, delete",
		Description: "A dead task has failed as often as it may, or too many workers have died of it. It\n" +
			"stays until somebody requeues or deletes it.\n\n" +
			examples(
				"procops tasks dead list",
				"procops tasks dead requeue 01KB0V6M3G7Q9WJ2Y4T8XN5RCE",
				"procops tasks dead delete --type mail.send",
			),
		Subcommands: []*cli.Command{deadListCommand(io), deadShowCommand(io), deadRequeueCommand(io), deadDeleteCommand(io)},
	}
}

func deadListCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:  "list",
		Usage: "list dead tasks, the newest last",
		Description: "Those of other hosts that share the queue are there as well; why they died is\n" +
			"known where they did.\n\n" +
			examples("procops tasks dead list", "procops tasks dead list --type mail.send --since 1d --json"),
		Flags: []cli.Flag{
			typeFlag("only those of this `TYPE`"), sinceFlag("only those pushed"),
			&cli.IntFlag{Name: "number", Aliases: []string{"n"}, Usage: "at most the newest `N`; 0: all", Value: 50},
			jsonFlag(), utcFlag(),
		},
		Action: func(c *cli.Context) error {
			if _, err := args(c, 0, 0, ""); err != nil {
				return err
			}
			since, err := sinceOf(c)
			if err != nil {
				return err
			}
			filter := tasks.Filter{Type: c.String(flagType), Since: since, Limit: c.Int("number")}
			return withQueue(c, io, func(ctx context.Context, queue *tasks.Queue, _ tasks.Config) error {
				records, err := queue.Dead(ctx, filter)
				if err != nil {
					return err
				}
				return writeTasks(c, io, records)
			})
		},
	}
}

func deadShowCommand(io IO) *cli.Command {
	show := tasksShowCommand(io)
	show.Usage = "show what is known of a dead task, the same as `procops tasks show`"
	show.Description = strings.ReplaceAll(show.Description, "tasks show", "tasks dead show")
	return show
}

func deadRequeueCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "requeue",
		Usage:     "give dead tasks another life",
		ArgsUsage: "[ID...]",
		Description: "They are run as if they had just been pushed: attempts and crashes begin anew. The\n" +
			"ids of those requeued are printed. An ID that is no dead task is an error (exit code\n" +
			"3); the others are requeued all the same.\n\n" +
			examples("procops tasks dead requeue 01KB0V6M3G7Q9WJ2Y4T8XN5RCE", "procops tasks dead requeue --type mail.send", "procops tasks dead requeue --all"),
		Flags: selectDeadFlags("requeue"),
		Action: func(c *cli.Context) error {
			return handTasks(c, io, handling{done: "requeued", find: (*tasks.Queue).Dead, do: (*tasks.Queue).Requeue, missed: notDead})
		},
	}
}

func deadDeleteCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "delete",
		Usage:     "delete dead tasks, and what is known of them",
		ArgsUsage: "[ID...]",
		Description: "The ids of those deleted are printed. An ID that is no dead task is an error (exit\n" +
			"code 3); the others are deleted all the same.\n\n" +
			examples("procops tasks dead delete 01KB0V6M3G7Q9WJ2Y4T8XN5RCE", "procops tasks dead delete --type mail.send"),
		Flags: selectDeadFlags("delete"),
		Action: func(c *cli.Context) error {
			return handTasks(c, io, handling{done: "deleted", find: (*tasks.Queue).Dead, do: (*tasks.Queue).DeleteDead, missed: notDead})
		},
	}
}

const flagType = "type"

func typeFlag(usage string) cli.Flag { return &cli.StringFlag{Name: flagType, Usage: usage} }

func selectDeadFlags(what string) []cli.Flag {
	return []cli.Flag{
		typeFlag(what + " all dead tasks of this `TYPE`"), allFlag(what + " all dead tasks"), jsonFlag(),
	}
}

// handling is something that is done to tasks.
type handling struct {
	done string // what they are afterwards
	find func(*tasks.Queue, context.Context, tasks.Filter) ([]tasks.Record, error)
	do   func(*tasks.Queue, context.Context, []string) ([]string, error)
	// missed says why it was not done to some tasks that were named.
	missed func(context.Context, *tasks.Queue, []string) error
}

// handTasks does something to the tasks that the command line names or selects.
func handTasks(c *cli.Context, io IO, h handling) error {
	least, most := 1, -1
	selects := c.Bool(flagAll) || c.IsSet(flagType)
	if selects {
		least, most = 0, 0
	}
	ids, err := args(c, least, most, "the ID of a task, --type or --all")
	if err != nil {
		return err
	}
	return withQueue(c, io, func(ctx context.Context, queue *tasks.Queue, _ tasks.Config) error {
		if selects {
			records, err := h.find(queue, ctx, tasks.Filter{Type: c.String(flagType)})
			if err != nil {
				return err
			}
			for i := range records {
				ids = append(ids, records[i].ID)
			}
		}
		changed, err := h.do(queue, ctx, ids)
		if printed := printHanded(c, io, h.done, changed); err != nil || printed != nil {
			return errors.Join(err, printed)
		}
		rest := slices.DeleteFunc(ids, func(id string) bool { return slices.Contains(changed, id) })
		if selects || len(rest) == 0 { // who was faster has done what was wanted
			return nil
		}
		return h.missed(ctx, queue, rest)
	})
}

// printHanded prints the ids of the tasks to which something was done.
func printHanded(c *cli.Context, io IO, done string, ids []string) error {
	if c.Bool(flagJSON) {
		return printJSON(io.Stdout, map[string][]string{done: append([]string{}, ids...)})
	}
	for _, id := range ids {
		if _, err := fmt.Fprintln(io.Stdout, id); err != nil {
			return err
		}
	}
	return nil
}

// notDead says which tasks are not dead.
func notDead(_ context.Context, _ *tasks.Queue, ids []string) error {
	return fault.New(fault.NotFound, "there is no dead task %q", strings.Join(ids, " ")).
		WithHint("`procops tasks dead list` shows them; one that somebody else has in hand is free a little later")
}
