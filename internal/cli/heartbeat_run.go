package cli

import (
	"context"
	"fmt"
	goio "io"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"procops/internal/app"
	"procops/internal/fault"
	"procops/internal/heartbeat"
	"procops/internal/proc"
	"procops/internal/unit"
)

// wrapperUsage is how the help writes the arguments of a command that runs
// another one. The "--" may be left out.
const wrapperUsage = "NAME -- COMMAND [ARGUMENT...]"

func heartbeatRunCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "run a command and record how it ends",
		ArgsUsage: wrapperUsage,
		Description: "Input, output, signals and the exit code pass through. The start, the end and the\n" +
			"last 10 kB of the output are recorded, and the heartbeat beats: good news for exit\n" +
			"code 0, bad news otherwise. A heartbeat that is not in the list is attached. What\n" +
			"cannot be recorded is a warning, and the command runs all the same.\n\n" +
			"Exit codes: those of the command, 128 + n if signal n ended it, 124 after\n" +
			"--max-runtime, 127 command not found, 126 not executable, 4 --no-overlap.\n\n" +
			examples(
				"procops heartbeat run backup -- ./backup.sh --all",
				"procops heartbeat run report --max-runtime 30m --no-overlap -- sh -c 'make report | mail me'",
			),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "max-runtime", Usage: "end the command, with all it has started, after this `TIME`"},
			&cli.BoolFlag{Name: "no-overlap", Usage: "refuse to run (exit code 4) while another run of NAME is under way"},
			&cli.BoolFlag{Name: "wait", Usage: "with --no-overlap: wait for the end of the other run instead"},
		},
		Action: func(c *cli.Context) error { return runHeartbeat(c, io) },
	}
}

func runHeartbeat(c *cli.Context, io IO) (err error) {
	wrap, err := wrapOf(c, io)
	if err != nil {
		return err
	}
	a, err := openApp(c, io, "heartbeat", brief)
	if err != nil && wrap.NoOverlap {
		return err // where the lock is, the config says
	}
	if err == nil {
		wrap.LockDir = filepath.Join(a.StateDir, "locks")
	}
	wrap.Open = opener(a, err)
	// The host is not closed: that would end what the command has left running in
	// the background. The process ends now. As a subreaper it sees the end of
	// processes that their parents did not wait for, and need not rely on init.
	host, err := proc.NewHost(proc.HostOptions{Subreaper: true})
	if err != nil {
		return err
	}
	if a != nil {
		a.UseHost(host)
	}
	code, err := wrap.Run(c.Context, host)
	if err != nil && code != 0 {
		printError(io.Stderr, err)
		return exit(code)
	}
	if err != nil {
		return err
	}
	return exit(code)
}

// opener opens the state for the record of a run. broken is what keeps it from
// that, such as an error in the config.
func opener(a *app.App, broken error) func(context.Context) (*heartbeat.List, func() error, error) {
	return func(ctx context.Context) (*heartbeat.List, func() error, error) {
		if broken != nil {
			return nil, nil, broken
		}
		list, err := a.Heartbeats(ctx)
		return list, func() error { return a.Close(ctx) }, err
	}
}

// wrapOf reads the command line of run.
func wrapOf(c *cli.Context, io IO) (heartbeat.Wrap, error) {
	if c.Args().First() == "--" {
		return heartbeat.Wrap{}, fault.New(fault.Usage, "%s needs a NAME before --", commandName(c)).WithHint("see `%s --help`", commandName(c))
	}
	words, err := args(c, 2, -1, "a NAME and, after --, a command")
	if err != nil {
		return heartbeat.Wrap{}, err
	}
	name, argv := words[0], words[1:]
	if argv[0] == "--" {
		argv = argv[1:]
	}
	if len(argv) == 0 {
		return heartbeat.Wrap{}, fault.New(fault.Usage, "%s needs a command after --", commandName(c)).WithHint("see `%s --help`", commandName(c))
	}
	if c.Bool("wait") && !c.Bool("no-overlap") {
		return heartbeat.Wrap{}, fault.New(fault.Usage, "%s: --wait needs --no-overlap", commandName(c))
	}
	limit, err := unit.ParseDuration(c.String("max-runtime"))
	if c.IsSet("max-runtime") && (err != nil || limit == 0) {
		return heartbeat.Wrap{}, fault.New(fault.Usage, "%s: --max-runtime %q is not a time such as 90s or 2h", commandName(c), c.String("max-runtime"))
	}
	return heartbeat.Wrap{
		Name: name, Argv: argv,
		Stdin: io.Stdin, Stdout: io.Stdout, Stderr: io.Stderr, Signals: io.Signals(), OtherSignals: io.OtherSignals(),
		MaxRuntime: limit, NoOverlap: c.Bool("no-overlap"), Wait: c.Bool("wait"),
		Warn: func(err error) { printWarning(io.Stderr, err) },
	}, nil
}

// printWarning tells of something that does not stop the command, such as all the
// mistakes of a config.
func printWarning(w goio.Writer, err error) {
	for line := range strings.SplitSeq(strings.TrimRight(err.Error(), "\n"), "\n") {
		fmt.Fprintf(w, "procops: warning: %s\n", oneLine(line))
	}
	for _, hint := range fault.Hints(err) {
		fmt.Fprintf(w, "procops: hint: %s\n", hint)
	}
}

func runsCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "runs",
		Usage:     "how the runs of a wrapped command have ended, and what they printed",
		ArgsUsage: "NAME",
		Description: "The newest last; the last hundred are kept. What clients have said that ping procops\n" +
			"serve is in pings.\n\n" +
			examples("procops heartbeat runs backup", "procops heartbeat runs backup --failed -n 1 --output"),
		Flags: []cli.Flag{
			newestFlag("at most the newest `N`; 0: all", 20),
			&cli.BoolFlag{Name: flagFailed, Usage: "only those that failed or were cut off"},
			&cli.Int64Flag{Name: flagID, Usage: "only the run with this `NUMBER`"},
			&cli.BoolFlag{Name: "output", Usage: "print the end of the output of each run, and nothing else"},
			jsonFlag(), utcFlag(),
		},
		Action: func(c *cli.Context) error {
			names, err := args(c, 1, 1, "the NAME of a heartbeat")
			if err != nil {
				return err
			}
			filter, err := keptFilter(c)
			if err != nil {
				return err
			}
			return withList(c, io, func(ctx context.Context, list *heartbeat.List) error {
				runs, err := list.Runs(ctx, names[0], filter)
				if err != nil {
					return err
				}
				return printRuns(c, io, runs)
			})
		},
	}
}

func printRuns(c *cli.Context, io IO, runs []heartbeat.Run) error {
	switch {
	case c.Bool(flagJSON):
		views := make([]runView, len(runs))
		for i, r := range runs {
			views[i] = runViewOf(r)
		}
		return printJSON(io.Stdout, views)
	case c.Bool("output"):
		for _, r := range runs {
			if _, err := io.Stdout.Write(r.Output); err != nil {
				return err
			}
		}
		return nil
	}
	clock := newClock(c.Bool(flagUTC))
	t := newTable(io.Stdout, "RUN", "STATE", "STARTED", "DURATION", "CODE", "PROGRAM", "MESSAGE")
	for _, r := range runs {
		var code, duration string
		if !r.Ended.IsZero() {
			code, duration = fmt.Sprint(r.Code), r.Duration.Round(time.Millisecond).String()
		}
		t.row(fmt.Sprint(r.ID), string(r.State), clock.format(r.Started), duration, code, r.Program, r.Message)
	}
	return t.flush()
}
