package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"procops/internal/control"
	"procops/internal/fault"
	"procops/internal/proc"
	"procops/internal/supervise"
)

const (
	flagNoWait  = "no-wait"
	flagRolling = "rolling"

	signalName = "signal" // the command
)

func noWaitFlag() cli.Flag {
	return &cli.BoolFlag{Name: flagNoWait, Usage: "return when the wish is recorded, not when it has come true"}
}

// actionFlags are the flags of commands that act on processes.
func actionFlags(more ...cli.Flag) []cli.Flag {
	return append([]cli.Flag{
		&cli.BoolFlag{Name: flagAll, Aliases: []string{"a"}, Usage: "all processes"},
		noWaitFlag(),
		timeoutFlag("give up waiting after this `TIME`"),
		jsonFlag(),
	}, more...)
}

func superviseRestartCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "restart",
		Usage:     "stop and start processes and groups",
		ArgsUsage: "NAME...",
		Description: "It returns when all are ready again, or have failed.\n\n" +
			"With --rolling one is restarted after the other, in order of the tree, the next\n" +
			"when the last is ready again. What is stopped or has ended well is passed over,\n" +
			"unless it is named itself. When one does not become ready the rest is left as it\n" +
			"is and the exit code is 1; so it is after Ctrl-C, once the present one is through.\n\n" +
			examples("procops supervise restart web", "procops supervise restart backend web --timeout 30s",
				"procops supervise restart --rolling web", "procops supervise restart --all"),
		Flags: actionFlags(&cli.BoolFlag{Name: flagRolling, Usage: "one after the other, each when the one before is ready"}),
		Action: func(c *cli.Context) error {
			names, err := targets(c)
			if err != nil {
				return err
			}
			rolling := c.Bool(flagRolling)
			if rolling && c.Bool(flagNoWait) {
				return fault.New(fault.Usage, "%s: only one of --%s and --%s can be given", commandName(c), flagRolling, flagNoWait)
			}
			return act(c, io, supervise.Request{Action: supervise.ActionRestart, Names: names, Rolling: rolling})
		},
	}
}

func superviseSignalCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:        signalName,
		Usage:       "send a signal to processes",
		ArgsUsage:   "SIGNAL NAME...",
		Description: examples("procops supervise signal HUP nginx", "procops supervise signal USR1 --all"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: flagAll, Aliases: []string{"a"}, Usage: "all processes"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			words, err := args(c, 1, -1, "a SIGNAL and the NAMEs of processes")
			if err != nil {
				return err
			}
			if err := checkSignal(c, words); err != nil {
				return err
			}
			if err := checkTargets(c, words[1:]); err != nil {
				return err
			}
			return act(c, io, supervise.Request{Action: supervise.ActionSignal, Signal: words[0], Names: words[1:]})
		},
	}
}

// checkSignal checks the first of the words on the command line of signal.
func checkSignal(c *cli.Context, words []string) error {
	_, err := proc.ParseSignal(words[0])
	if err == nil {
		return nil
	}
	e := fault.Wrap(fault.Usage, err, "%s", commandName(c))
	if len(words) < 2 {
		return e
	}
	if _, err := proc.ParseSignal(words[1]); err == nil {
		return fault.New(fault.Usage, "%s: %q is not a signal", commandName(c), words[0]).
			WithHint("the signal comes first: `%s %s %s`", commandName(c), words[1], words[0])
	}
	return e
}

// targets returns the names of processes and groups on the command line, of
// which there must be some unless --all is set.
func targets(c *cli.Context) ([]string, error) {
	names, err := args(c, 0, -1, "")
	if err != nil {
		return nil, err
	}
	return names, checkTargets(c, names)
}

func checkTargets(c *cli.Context, names []string) error {
	switch all := c.Bool(flagAll); {
	case all && len(names) > 0:
		return fault.New(fault.Usage, "%s takes either names or --%s", commandName(c), flagAll)
	case !all && len(names) == 0:
		return fault.New(fault.Usage, "%s needs the NAME of a process or group, or --%s", commandName(c), flagAll).
			WithHint("`procops supervise status` lists the names")
	}
	return nil
}

// act carries out an action and prints what became of it.
func act(c *cli.Context, io IO, r supervise.Request) error {
	r.All, r.NoWait = c.Bool(flagAll), c.Bool(flagNoWait)
	results, err := perform(c, io, r.Action, func(ctx context.Context, client *control.Client) ([]supervise.Result, error) {
		return client.Do(ctx, r)
	})
	if refused, ok := errors.AsType[*fault.Error](err); ok && refused.Kind == fault.NotFound && slices.Contains(r.Names, "all") {
		return refused.WithHint("--%s means all", flagAll)
	}
	if err != nil {
		return err
	}
	return conclude(c, io, r, results)
}

// perform asks a supervisor for an action, for as long as --timeout allows.
func perform(c *cli.Context, io IO, a supervise.Action, ask func(context.Context, *control.Client) ([]supervise.Result, error)) (results []supervise.Result, err error) {
	patience, err := timeout(c)
	if err != nil {
		return nil, err
	}
	hint := "it goes on; `procops supervise status` shows how far it is"
	if c.Bool(flagRolling) {
		hint = "it ends with the present process; `procops supervise status` shows how far it is"
	}
	err = converse(c, io, func(ctx context.Context, client *control.Client) (err error) {
		late := fault.New(fault.Failure, "%s has not come true after %v", a, patience).WithHint("%s", hint)
		ctx, cancel := withLimit(ctx, patience, late)
		defer cancel()
		results, err = ask(ctx, client)
		return err
	})
	return results, err
}

// conclude prints what became of an action. It is a failure if something did not
// come true.
func conclude(c *cli.Context, io IO, r supervise.Request, results []supervise.Result) error {
	var err error
	if c.Bool(flagJSON) {
		err = printJSON(io.Stdout, append([]supervise.Result{}, results...)) // a list, if an empty one
	} else {
		err = printResults(io, r, results)
	}
	if err != nil {
		return err
	}
	return asExit(resultCode(results))
}

// resultCode is 1 if one of the results is bad.
func resultCode(results []supervise.Result) int {
	for _, r := range results {
		if !r.OK {
			return int(fault.Failure)
		}
	}
	return 0
}

// printResults prints the good results of a request, and the bad ones as
// errors.
func printResults(io IO, request supervise.Request, results []supervise.Result) error {
	for _, r := range results {
		if !r.OK {
			printError(io.Stderr, fmt.Errorf("%s: %s", r.Name, oneLine(resultNote(r))))
			continue
		}
		became := string(r.State)
		if request.Action == supervise.ActionSignal {
			became = "sent " + request.Signal // how it takes the signal is not known yet
		}
		line := fmt.Sprintf("%s: %s", r.Name, became)
		if r.PID != 0 {
			line += fmt.Sprintf(" (pid %d)", r.PID)
		}
		if r.Note != "" {
			line += "; " + oneLine(r.Note)
		}
		if _, err := fmt.Fprintln(io.Stdout, line); err != nil {
			return err
		}
	}
	return nil
}

// resultNote says why a result is bad.
func resultNote(r supervise.Result) string {
	if r.Note == "" {
		return "it is " + inState(r.State)
	}
	return fmt.Sprintf("it is %s: %s", inState(r.State), r.Note)
}

// inState is what follows "it is".
func inState(s supervise.State) string {
	if s == supervise.StateBackoff {
		return "in backoff" // the one state that is a noun
	}
	return string(s)
}
