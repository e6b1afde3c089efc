package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"procops/internal/fault"
	"procops/internal/tasks"
	"procops/internal/unit"
)

func tasksCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:  "tasks",
		Usage: "work off queued tasks: push, work, list, show, watch",
		Description: "A task has a type and parameters. Whoever wants something done pushes one; a\n" +
			"worker runs the command that the config has for the type.\n\n" +
			examples(
				"procops tasks push mail.send --param to=ann@example.org",
				"procops tasks work                            # in a supervised process",
				"procops tasks list --status dead",
			),
		Subcommands: []*cli.Command{
			tasksPushCommand(io), tasksWorkCommand(io), tasksStartCommand(io), tasksStopCommand(io), tasksStatusCommand(io), tasksListCommand(io), tasksShowCommand(io),
			tasksWatchCommand(io), tasksStatsCommand(io), tasksCancelCommand(io), tasksPauseCommand(io), tasksResumeCommand(io),
			tasksDeadCommand(io), tasksBenchCommand(io),
			tasksBrokersCommand(io),
		},
	}
}

// withQueue calls fn with the queue of tasks and closes the state.
func withQueue(c *cli.Context, io IO, fn func(context.Context, *tasks.Queue, tasks.Config) error) (err error) {
	a, err := openApp(c, io, "tasks", brief)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close(c.Context)) }()
	queue, err := a.Tasks(c.Context)
	if err != nil {
		return err
	}
	return fn(c.Context, queue, a.Config.Tasks)
}

const flagStatus = "status"

func tasksListCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:  "list",
		Usage: "list tasks, the newest last",
		Description: "A task is pending, running, retrying (it has failed and is tried again), done, dead\n" +
			"(it has failed and was given up) or cancelled.\n\n" +
			examples("procops tasks list", "procops tasks list --status dead --status retrying --since 1d", "procops tasks list --type mail.send --json"),
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: flagStatus, Usage: "only those in this `STATE`; may be repeated"},
			typeFlag("only those of this `TYPE`"),
			sinceFlag("only those pushed"),
			&cli.IntFlag{Name: "number", Aliases: []string{"n"}, Usage: "at most the newest `N`; 0: all", Value: 50},
			jsonFlag(), utcFlag(),
		},
		Action: func(c *cli.Context) error {
			if _, err := args(c, 0, 0, ""); err != nil {
				return err
			}
			filter, err := taskFilter(c)
			if err != nil {
				return err
			}
			return withQueue(c, io, func(ctx context.Context, queue *tasks.Queue, _ tasks.Config) error {
				records, err := queue.List(ctx, filter)
				if err != nil {
					return err
				}
				if err := writeTasks(c, io, records); err != nil || c.Bool(flagJSON) {
					return err
				}
				return notePaused(ctx, io, queue)
			})
		},
	}
}

// writeTasks writes tasks as JSON or as a table.
func writeTasks(c *cli.Context, io IO, records []tasks.Record) error {
	if !c.Bool(flagJSON) {
		return printTasks(io, records, newClock(c.Bool(flagUTC)))
	}
	views := make([]taskView, len(records))
	for i := range records {
		views[i] = taskViewOf(&records[i])
	}
	return printJSON(io.Stdout, views)
}

// taskFilter reads the flags of list.
func taskFilter(c *cli.Context) (f tasks.Filter, err error) {
	f.Type, f.Limit = c.String(flagType), c.Int("number")
	for _, text := range c.StringSlice(flagStatus) {
		var s tasks.State
		if err := s.UnmarshalText([]byte(text)); err != nil {
			return f, fault.Wrap(fault.Usage, err, "%s: --%s", commandName(c), flagStatus)
		}
		f.States = append(f.States, s)
	}
	f.Since, err = sinceOf(c)
	return f, err
}

func printTasks(io IO, records []tasks.Record, clock clock) error {
	t := newTable(io.Stdout, "ID", "TYPE", "STATUS", "RESULT", "ATTEMPTS", "PUSHED", "STARTED", "TOOK", "MESSAGE")
	for i := range records {
		r := &records[i]
		var took string
		if !r.Run.Ended.IsZero() {
			took = r.Run.Duration.Round(time.Millisecond).String()
		}
		t.row(r.ID, r.Type, string(r.State), string(r.Run.Result), fmt.Sprint(r.Attempts), clock.format(r.Pushed),
			clock.format(r.Run.Started), took, r.Run.Message)
	}
	return t.flush()
}

func tasksShowCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "show",
		Usage:     "show what is known of a task, its parameters and what came of it",
		ArgsUsage: "ID",
		Description: "The response is the end of what the command wrote to standard output.\n\n" +
			examples("procops tasks show 01KB0V6M3G7Q9WJ2Y4T8XN5RCE", "procops tasks show 01KB0V6M3G7Q9WJ2Y4T8XN5RCE --json"),
		Flags: []cli.Flag{jsonFlag(), utcFlag()},
		Action: func(c *cli.Context) error {
			ids, err := args(c, 1, 1, "the ID of a task")
			if err != nil {
				return err
			}
			return withQueue(c, io, func(ctx context.Context, queue *tasks.Queue, _ tasks.Config) error {
				r, err := queue.Get(ctx, ids[0])
				if err != nil {
					return err
				}
				if c.Bool(flagJSON) {
					return printJSON(io.Stdout, taskViewOf(&r))
				}
				return printTask(io, &r, newClock(c.Bool(flagUTC)))
			})
		},
	}
}

// printTask prints a task for people, what it has no value for left out.
func printTask(io IO, r *tasks.Record, clock clock) error {
	t := newTable(io.Stdout, "id", r.ID)
	row := func(name, value string) {
		if value != "" {
			t.row(name, value)
		}
	}
	row("type", r.Type)
	row("status", string(r.State))
	row("result", string(r.Run.Result))
	row("message", r.Run.Message)
	row("parameters", string(r.Params))
	row("priority", fmt.Sprint(r.Priority))
	if r.TimeLimit > 0 {
		row("time limit", unit.Duration(r.TimeLimit).String())
	}
	row("pushed", clock.format(r.Pushed))
	row("not before", clock.format(r.RunAt))
	row("attempts", fmt.Sprintf("%d failed, %d crashed", r.Attempts, r.Crashes))
	row("started", clock.format(r.Run.Started))
	if !r.Run.Ended.IsZero() {
		row("ended", clock.format(r.Run.Ended))
		row("took", r.Run.Duration.Round(time.Millisecond).String())
		row("exit code", fmt.Sprint(r.Run.Code))
	}
	if p := r.Run.Progress; p != nil {
		row("progress", progressText(p))
	}
	if err := t.flush(); err != nil {
		return err
	}
	if err := printAccount(io, &r.Run.Account, clock); err != nil {
		return err
	}
	for _, text := range []struct{ title, text string }{{"response", string(r.Run.Response)}, {"diagnostics", r.Run.Diagnostics}} {
		if text.text == "" {
			continue
		}
		if _, err := fmt.Fprintf(io.Stdout, "\n%s:\n%s\n", text.title, strings.TrimRight(text.text, "\n")); err != nil {
			return err
		}
	}
	return nil
}

// progressText is progress in a few words, such as "3 of 10 (30%) crop".
func progressText(p *tasks.RunProgress) string {
	var words []string
	switch {
	case p.Total == 100:
		words = append(words, strconv.FormatFloat(p.Percent, 'f', -1, 64)+"%")
	case p.Total > 0:
		words = append(words, fmt.Sprintf("%d of %d (%.0f%%)", p.Done, p.Total, p.Percent))
	}
	if p.Message != "" {
		words = append(words, p.Message)
	}
	return strings.Join(words, " ")
}

// printAccount prints what the handler has told.
func printAccount(io IO, a *tasks.Account, clock clock) error {
	t := newTable(io.Stdout, "state", "since")
	for _, s := range a.Flow {
		t.row(s.State, clock.format(s.Time))
	}
	m := newTable(io.Stdout, "meta", "value")
	for _, name := range slices.Sorted(maps.Keys(a.Meta)) {
		m.row(name, string(a.Meta[name]))
	}
	for _, part := range []struct {
		there bool
		table table
	}{{len(a.Flow) > 0, t}, {len(a.Meta) > 0, m}} {
		if !part.there {
			continue
		}
		if _, err := fmt.Fprintln(io.Stdout); err != nil {
			return err
		}
		if err := part.table.flush(); err != nil {
			return err
		}
	}
	return nil
}

// taskView is a task as list --json and show --json print it. It is an
// interface: fields are added, never renamed.
type taskView struct {
	ID          string          `json:"id"`
	Type        string          `json:"type"`
	Status      tasks.State     `json:"status"`
	Params      json.RawMessage `json:"params"`
	Priority    int             `json:"priority"`
	TimeLimit   float64         `json:"time_limit_seconds,omitempty"` // its own
	Pushed      time.Time       `json:"pushed"`
	RunAt       time.Time       `json:"run_at"`
	Attempts    int             `json:"attempts"`
	Crashes     int             `json:"crashes"`
	Started     *time.Time      `json:"started"` // null before the first run
	Ended       *time.Time      `json:"ended"`   // null before the end of a run
	Duration    float64         `json:"duration_seconds"`
	Result      *tasks.Result   `json:"result"`   // null before the end of a run
	ResultCode  int             `json:"ret_code"` // leptir's retC: 1 success, 2 warning, 3 error, 4 unknown, 5 time limit; 0 before
	ExitCode    *int            `json:"exit_code"`
	Message     string          `json:"message,omitempty"`
	Response    string          `json:"response,omitempty"`
	Diagnostics string          `json:"diagnostics,omitempty"`
	// What its handler has told of the newest run.
	Progress *tasks.RunProgress         `json:"progress,omitempty"`
	Flow     []tasks.Step               `json:"flow,omitempty"` // the states that it has passed
	Meta     map[string]json.RawMessage `json:"meta,omitempty"`
}

func taskViewOf(r *tasks.Record) taskView {
	v := taskView{
		ID: r.ID, Type: r.Type, Status: r.State, Params: r.Params, Priority: r.Priority, TimeLimit: r.TimeLimit.Seconds(),
		Pushed: r.Pushed, RunAt: r.RunAt, Attempts: r.Attempts, Crashes: r.Crashes,
		Duration: r.Run.Duration.Seconds(), ResultCode: r.Run.Result.Code(), Message: r.Run.Message,
		Response: string(r.Run.Response), Diagnostics: r.Run.Diagnostics,
		Progress: r.Run.Progress, Flow: r.Run.Flow, Meta: r.Run.Meta,
	}
	if !r.Run.Started.IsZero() {
		v.Started = &r.Run.Started
	}
	if !r.Run.Ended.IsZero() {
		v.Ended, v.Result, v.ExitCode = &r.Run.Ended, &r.Run.Result, &r.Run.Code
	}
	return v
}
