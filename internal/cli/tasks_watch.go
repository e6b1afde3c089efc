package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"procops/internal/fault"
	"procops/internal/tasks"
)

const flagWait = "wait"

func tasksWatchCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "watch",
		Usage:     "show how far a task is, until it has ended",
		ArgsUsage: "ID",
		Description: "Prints a line for each change: of its state, and of the progress that its handler\n" +
			"tells. With --json each is the task as \"show --json\" has it, on one line.\n\n" +
			"Exit codes: 0 the task is done, 1 it is dead or cancelled, 3 it is not known.\n\n" +
			examples("procops tasks watch 01KB0V6M3G7Q9WJ2Y4T8XN5RCE", "procops tasks watch 01KB0V6M3G7Q9WJ2Y4T8XN5RCE --timeout 10m"),
		Flags: []cli.Flag{timeoutFlag("give up after this `TIME`"), jsonFlag(), utcFlag()},
		Action: func(c *cli.Context) error {
			ids, err := args(c, 1, 1, "the ID of a task")
			if err != nil {
				return err
			}
			return withQueue(c, io, func(ctx context.Context, queue *tasks.Queue, _ tasks.Config) error {
				r, err := watchTask(ctx, c, io, queue, ids[0], watcher(c, io))
				if err == nil && r.State != tasks.StateDone {
					err = taskFailed(&r)
				}
				return err
			})
		},
	}
}

// watchTask watches a task until it has ended, --timeout is over or a signal comes.
func watchTask(ctx context.Context, c *cli.Context, io IO, queue *tasks.Queue, id string, show func(*tasks.Record) error) (tasks.Record, error) {
	limit, err := timeout(c)
	if err != nil {
		return tasks.Record{}, err
	}
	late := fault.New(fault.Failure, "task %q has not ended after %s; it is not disturbed by that", id, limit).
		WithHint("`procops tasks watch %s` goes on watching", id)
	ctx, done := io.untilSignal(ctx)
	defer done()
	ctx, cancel := withLimit(ctx, limit, late)
	defer cancel()
	r, err := queue.Watch(ctx, id, show)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	return r, err
}

// taskFailed is the error of a task that has ended, and not well.
func taskFailed(r *tasks.Record) error {
	why := string(r.Run.Result)
	if r.Run.Message != "" {
		why = r.Run.Message
	}
	if why == "" {
		return fault.New(fault.Failure, "task %q is %s", r.ID, r.State)
	}
	return fault.New(fault.Failure, "task %q is %s: %s", r.ID, r.State, why)
}

// watcher returns what shows a task on standard output each time it has changed.
func watcher(c *cli.Context, io IO) func(*tasks.Record) error {
	if c.Bool(flagJSON) {
		return func(r *tasks.Record) error {
			e := json.NewEncoder(io.Stdout)
			e.SetEscapeHTML(false)
			return e.Encode(taskViewOf(r))
		}
	}
	var (
		clock = newClock(c.Bool(flagUTC))
		line  = newStatusLine(io.Stdout)
		last  string
	)
	return func(r *tasks.Record) error {
		text := taskLineText(r)
		if r.State == tasks.StateRunning && line.terminal {
			line.show(text)
			return nil
		}
		line.show("")
		if text == last {
			return nil
		}
		last = text
		_, err := fmt.Fprintln(io.Stdout, clock.format(time.Now())+" "+text)
		return err
	}
}

// taskLineText says in a line how far a task is.
func taskLineText(r *tasks.Record) string {
	words := []string{string(r.State)}
	switch {
	case r.State.Ended() && r.Run.Result != "":
		words = append(words, string(r.Run.Result))
		if r.Run.Message != "" {
			words = append(words, r.Run.Message)
		}
	case r.State == tasks.StateRetrying:
		words = append(words, r.Run.Message)
	case r.State == tasks.StateRunning:
		if f := r.Run.Flow; len(f) > 0 {
			words = append(words, f[len(f)-1].State)
		}
		if p := r.Run.Progress; p != nil {
			if p.Total > 0 {
				words = append(words, bar(p.Percent))
			}
			words = append(words, progressText(p))
		}
	}
	return oneLine(strings.Join(words, " "))
}

// pushAndWait pushes a task, waits for its end and ends as its command has.
func pushAndWait(ctx context.Context, c *cli.Context, io IO, queue *tasks.Queue, task tasks.Task) error {
	id, err := queue.Push(ctx, task)
	if err != nil {
		return err
	}
	line := newStatusLine(io.Stderr)
	r, err := watchTask(ctx, c, io, queue, id, func(r *tasks.Record) error {
		line.show(id + " " + taskLineText(r))
		return nil
	})
	line.show("")
	if _, byHand := errors.AsType[*signalError](err); byHand {
		fmt.Fprintf(io.Stderr, "procops: the task goes on: `procops tasks watch %s`\n", id)
	}
	if err != nil {
		return err
	}
	if _, err := io.Stdout.Write(r.Run.Response); err != nil {
		return err
	}
	if _, err := io.Stderr.WriteString(r.Run.Diagnostics); err != nil {
		return err
	}
	if r.State != tasks.StateDone {
		printError(io.Stderr, taskFailed(&r))
		return exit(max(1, r.Run.Code))
	}
	return asExit(r.Run.Code)
}
