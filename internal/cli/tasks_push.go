package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	goio "io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"procops/internal/fault"
	"procops/internal/tasks"
	"procops/internal/unit"
)

// The flags of push that describe the task; they have no meaning for many.
const (
	flagParam     = "param"
	flagParams    = "params"
	flagAt        = "at"
	flagIn        = "in"
	flagPriority  = "priority"
	flagTimeLimit = "time-limit"
)

func tasksPushCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "push",
		Usage:     "queue a task, or many",
		ArgsUsage: "TYPE | -",
		Description: "Prints the id of the task once it is safe: from then on it survives the end of\n" +
			"procops, however it ends. A --param is a string, unless the config declares its type.\n\n" +
			"With \"-\" for the TYPE it reads tasks from standard input, one JSON object a line:\n" +
			"{\"type\": \"mail.send\", \"params\": {\"to\": \"ann\"}, \"in\": \"5m\"}; at, priority and\n" +
			"time_limit are known as well. All lines are checked before the first task is\n" +
			"queued: when one is wrong none is. The ids come in the order of the lines.\n\n" +
			"With --wait it prints the response of the task instead, when that has ended, and exits\n" +
			"with its exit code.\n\n" +
			examples(
				"procops tasks push mail.send --param to=ann@example.org --param subject=Hello",
				"procops tasks push report --params '{\"year\": 2026, \"parts\": [1, 2]}' --in 10m",
				"procops tasks push report --params - --time-limit 1h < params.json",
				"procops tasks push report --wait --timeout 5m > report.txt",
				"procops tasks push - < tasks.jsonl",
			),
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: flagParam, Usage: "a parameter, as `KEY=VALUE`; may be repeated"},
			&cli.StringFlag{Name: flagParams, Usage: "the parameters as a JSON `OBJECT`; \"-\" reads it from standard input"},
			&cli.StringFlag{Name: flagAt, Usage: "not before this `TIME`, such as 2026-03-01T12:00:00Z, \"2026-03-01 12:00\" or 2026-03-01"},
			&cli.StringFlag{Name: flagIn, Usage: "not before this `TIME` has passed, such as 90s or 2h"},
			&cli.IntFlag{Name: flagPriority, Usage: "lower `NUMBERS` come first"},
			&cli.BoolFlag{Name: flagWait, Usage: "wait until it has ended, print its response, and exit as it has"},
			timeoutFlag("with --wait: wait for at most this `TIME`; the task goes on"),
			&cli.StringFlag{Name: flagTimeLimit, Usage: "end it after this `TIME` (default: the limit of its type)"},
		},
		Action: func(c *cli.Context) error {
			words, err := args(c, 1, 1, "the TYPE of a task, or \"-\" for many")
			if err != nil {
				return err
			}
			if c.IsSet(flagTimeout) && !c.Bool(flagWait) {
				return fault.New(fault.Usage, "%s: --%s goes with --%s only", commandName(c), flagTimeout, flagWait)
			}
			return withQueue(c, io, func(ctx context.Context, queue *tasks.Queue, cfg tasks.Config) error {
				if words[0] == "-" {
					return pushMany(ctx, c, io, queue)
				}
				task, err := taskOf(c, io, words[0], cfg)
				if err != nil {
					return err
				}
				if c.Bool(flagWait) {
					return pushAndWait(ctx, c, io, queue, task)
				}
				id, err := queue.Push(ctx, task)
				if id == "" {
					return err
				}
				_, printed := fmt.Fprintln(io.Stdout, id)
				return errors.Join(err, printed)
			})
		},
	}
}

// taskOf reads the flags of push.
func taskOf(c *cli.Context, io IO, typ string, cfg tasks.Config) (t tasks.Task, err error) {
	t = tasks.Task{Type: typ, Priority: c.Int(flagPriority)}
	bad := func(err error) error { return fault.Wrap(fault.Usage, err, "%s", commandName(c)) }
	if t.At, err = runAt(c.String(flagAt), c.String(flagIn), time.Now()); err != nil {
		return t, bad(err)
	}
	if t.TimeLimit, err = taskLimit(c.String(flagTimeLimit)); err != nil {
		return t, bad(err)
	}
	if t.Params, err = paramsOf(c, io); err != nil {
		return t, bad(err)
	}
	if pairs := c.StringSlice(flagParam); len(pairs) > 0 {
		if t.Params, err = addParams(t, pairs, cfg); err != nil {
			return t, bad(err)
		}
	}
	return t, nil
}

// runAt reads the time before which a task is not run; zero if there is none.
func runAt(at, in string, now time.Time) (time.Time, error) {
	switch {
	case at != "" && in != "":
		return time.Time{}, errors.New("a task cannot have both a time (at) and a delay (in)")
	case in != "":
		d, err := unit.ParseDuration(in)
		if err != nil {
			return time.Time{}, fmt.Errorf("in: %w", err)
		}
		return now.Add(d), nil
	case at != "":
		t, ok := parseTime(at, now.Location())
		if !ok {
			return time.Time{}, fmt.Errorf("at: %q is not a time such as \"2026-03-01T12:00:00Z\"", at)
		}
		return t, nil
	default:
		return time.Time{}, nil
	}
}

// taskLimit reads the time limit of a task; 0 if there is none.
func taskLimit(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := unit.ParseDuration(text)
	if err != nil || d == 0 {
		return 0, fmt.Errorf("the time limit %q is not a time such as \"90s\" or \"2h\"", text)
	}
	return d, nil
}

// paramsOf reads --params; nil without.
func paramsOf(c *cli.Context, io IO) (json.RawMessage, error) {
	if text := c.String(flagParams); text != "-" {
		return json.RawMessage(text), nil
	}
	text, err := goio.ReadAll(goio.LimitReader(io.Stdin, tasks.MaxParams+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read standard input: %w", err)
	}
	if len(text) > tasks.MaxParams {
		return nil, fmt.Errorf("the parameters on standard input have more than %d bytes", tasks.MaxParams)
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, errors.New("there are no parameters on standard input")
	}
	return text, nil
}

// addParams adds the parameters that are given one by one.
func addParams(t tasks.Task, pairs []string, cfg tasks.Config) (json.RawMessage, error) {
	values := map[string]json.RawMessage{}
	if len(t.Params) > 0 {
		if err := json.Unmarshal(t.Params, &values); err != nil || values == nil {
			return nil, errors.New("--params is not a JSON object")
		}
	}
	for _, pair := range pairs {
		key, text, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("--param %q is not of the form KEY=VALUE", pair)
		}
		if _, twice := values[key]; twice {
			return nil, fmt.Errorf("parameter %q is given twice", key)
		}
		value, err := cfg.ParseParam(t.Type, key, text)
		if err != nil {
			return nil, err
		}
		values[key] = value
	}
	return json.Marshal(values)
}

const (
	// longestLine of standard input: the largest parameters and what else a line has.
	longestLine = tasks.MaxParams + 4<<10
	// pushAtOnce bounds a transaction, so that others who write get their turn.
	pushAtOnce = 500
	// badLinesShown bounds what is said about a file that is wrong altogether.
	badLinesShown = 20
)

// taskLine is a task as push reads it from standard input. It is an interface:
// fields are added, never renamed.
type taskLine struct {
	Type      string          `json:"type"`
	Params    json.RawMessage `json:"params"`
	At        string          `json:"at"`
	In        string          `json:"in"`
	Priority  int             `json:"priority"`
	TimeLimit any             `json:"time_limit"` // a duration, or a number of seconds
}

// pushMany queues what standard input has, if all of it is good.
func pushMany(ctx context.Context, c *cli.Context, io IO, queue *tasks.Queue) error {
	for _, flag := range []string{flagParam, flagParams, flagAt, flagIn, flagPriority, flagTimeLimit, flagWait} {
		if c.IsSet(flag) {
			return fault.New(fault.Usage, "%s: --%s goes with a TYPE; with \"-\" each line says it for itself", commandName(c), flag)
		}
	}
	all, err := readTasks(io.Stdin, queue)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(io.Stdout)
	for done := 0; done < len(all); done += pushAtOnce {
		ids, err := queue.PushAll(ctx, all[done:min(done+pushAtOnce, len(all))])
		queued := done
		for _, id := range ids {
			fmt.Fprintln(out, id) // an empty line for one that is not queued
			if id != "" {
				queued++
			}
		}
		if printed := out.Flush(); err != nil || printed != nil {
			err = errors.Join(err, printed)
			return fault.Wrap(fault.Kind(fault.ExitCode(err)), err, "%s of %d tasks are queued, the others are not", whichQueued(queued, done+len(ids)), len(all))
		}
	}
	return nil
}

// whichQueued says which tasks are queued, of so many that were tried.
func whichQueued(queued, tried int) string {
	if queued == tried {
		return fmt.Sprintf("the first %d", queued)
	}
	return fmt.Sprintf("those with an id (%d)", queued)
}

// readTasks reads and checks one task a line. The error names each line that is
// wrong.
func readTasks(from goio.Reader, queue *tasks.Queue) (all []tasks.Task, err error) {
	var (
		wrong []error
		bad   int
		now   = time.Now()
		lines = bufio.NewScanner(from)
		n     int
	)
	lines.Buffer(nil, longestLine)
	for lines.Scan() {
		n++
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		t, err := readTask(line, now)
		if err == nil {
			t, err = queue.Check(t)
		}
		if err == nil {
			all = append(all, t)
			continue
		}
		if bad++; bad <= badLinesShown {
			wrong = append(wrong, fmt.Errorf("line %d: %w", n, err))
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fault.New(fault.Usage, "nothing was queued: line %d is longer than %d bytes", n+1, longestLine)
	case err != nil:
		return nil, fault.Wrap(fault.Failure, err, "nothing was queued: cannot read standard input")
	case bad > badLinesShown:
		wrong = append(wrong, fmt.Errorf("and %d more", bad-badLinesShown))
	}
	if bad > 0 {
		return nil, fault.Wrap(fault.Usage, errors.Join(wrong...), "nothing was queued: %d of %d lines are wrong", bad, n)
	}
	return all, nil
}

// readTask reads one line.
func readTask(text []byte, now time.Time) (t tasks.Task, err error) {
	var line taskLine
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&line); err != nil {
		return t, fmt.Errorf("it is not the JSON object of a task: %w", err)
	}
	if decoder.More() {
		return t, errors.New("there is something behind the JSON object")
	}
	if line.Type == "" {
		return t, errors.New("it has no \"type\"")
	}
	t = tasks.Task{Type: line.Type, Priority: line.Priority}
	if string(line.Params) != "null" {
		t.Params = bytes.Clone(line.Params)
	}
	if t.At, err = runAt(line.At, line.In, now); err != nil {
		return t, err
	}
	limit := ""
	if line.TimeLimit != nil {
		limit = fmt.Sprint(line.TimeLimit)
	}
	t.TimeLimit, err = taskLimit(limit)
	return t, err
}
