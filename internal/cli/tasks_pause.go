package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"procops/internal/tasks"
)

func tasksPauseCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "pause",
		Usage:     "begin no more tasks, of some types or at all",
		ArgsUsage: "[TYPE...]",
		Description: "No worker on this host begins a task of these types, or of any, until they are\n" +
			"resumed. What runs goes on, and tasks can be pushed all the time. `procops tasks list`\n" +
			"says what is paused.\n\n" +
			examples("procops tasks pause", "procops tasks pause mail.send report"),
		Action: func(c *cli.Context) error { return pauseTasks(c, io, "paused", (*tasks.Queue).Pause) },
	}
}

func tasksResumeCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "resume",
		Usage:     "end a pause of tasks, of some types or of all",
		ArgsUsage: "[TYPE...]",
		Description: "A type that was paused together with all others is resumed together with them.\n\n" +
			examples("procops tasks resume", "procops tasks resume mail.send"),
		Action: func(c *cli.Context) error { return pauseTasks(c, io, "resumed", (*tasks.Queue).Resume) },
	}
}

// pauseTasks pauses or resumes the types that the command line names.
func pauseTasks(c *cli.Context, io IO, done string, do func(*tasks.Queue, context.Context, []string) error) error {
	types, err := args(c, 0, -1, "the TYPE of tasks")
	if err != nil {
		return err
	}
	return withQueue(c, io, func(ctx context.Context, queue *tasks.Queue, _ tasks.Config) error {
		if err := do(queue, ctx, types); err != nil {
			return err
		}
		what := "all tasks"
		if len(types) > 0 {
			what = strings.Join(types, ", ")
		}
		if _, err := fmt.Fprintln(io.Stdout, done, what); err != nil {
			return err
		}
		return notePaused(ctx, io, queue)
	})
}

// notePaused says what is paused, if anything is.
func notePaused(ctx context.Context, io IO, queue *tasks.Queue) error {
	types, err := queue.Paused(ctx)
	if err != nil || len(types) == 0 {
		return err
	}
	_, err = fmt.Fprintf(io.Stderr, "procops: paused: %s\n", strings.ReplaceAll(strings.Join(types, ", "), tasks.AllTypes, "all tasks"))
	return err
}
