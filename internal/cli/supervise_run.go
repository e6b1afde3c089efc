package cli

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"procops/internal/config"
	"procops/internal/fault"
	"procops/internal/logging"
)

const (
	flagFormation = "formation"
	flagLogFile   = "log-file"
	flagProcfile  = "procfile"
	flagQuiet     = "quiet"
	flagThen      = "then"
)

func superviseRunCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "bring the tree up in this terminal and keep it up",
		ArgsUsage: "[--then -- CMD...]",
		Description: "Ctrl-C (or TERM) stops the tree in order, a second one kills what is left.\n" +
			"HUP opens the log files again and then reads the config again, as\n" +
			"`procops supervise reload` does. Output of the processes goes to stdout and\n" +
			"stderr as they wrote it, marked \"|\" and \"!\"; lines of procops' own are marked\n" +
			"\"*\" and go to stderr. It ends when all processes have ended, with exit code 0\n" +
			"or that of the first failure; with `exit_with = \"NAME\"` in [supervise], when\n" +
			"that process has ended, with its exit code. USR1, USR2, WINCH and the like are\n" +
			"then passed on to it.\n\n" +
			"With --then it runs CMD once all is ready, takes everything down and exits with\n" +
			"CMD's code; stdout is then CMD's alone.\n\n" +
			"With --procfile it runs a Procfile as foreman does, without a config.\n\n" +
			examples(
				"procops supervise run",
				"procops supervise run --config app.toml --json | jq .text",
				"procops supervise run --quiet --timeout 30s --then -- ./integration-tests",
				"procops supervise run --procfile Procfile --env .env --env local.env",
				"procops supervise run --procfile Procfile --formation web=3,worker=2",
			),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: flagJSON, Usage: "print output, and on stderr events, as JSON lines"},
			&cli.BoolFlag{Name: flagNoPrefix, Usage: "print output without the name of its process"},
			&cli.BoolFlag{Name: flagTimestamps, Aliases: []string{"t"}, Usage: "print the time of each line"},
			utcFlag(),
			&cli.BoolFlag{Name: flagQuiet, Aliases: []string{"q"}, Usage: "do not print the output of the processes"},
			&cli.StringFlag{Name: flagLogFile, Usage: "write to this `FILE`, which rotates, instead of stdout and stderr"},
			&cli.BoolFlag{Name: flagThen, Usage: "run the command after \"--\" once all is ready, then stop"},
			timeoutFlag("with --then: give up when not all is ready after this `TIME`"),
			&cli.StringFlag{Name: flagProcfile, Usage: "run this Procfile, a `FILE`, instead of a config"},
			envFlag(),
			&cli.StringFlag{Name: flagFormation, Aliases: []string{"m"}, Usage: "with --procfile: how many of each process, such as web=3,worker=2; all=N for those not named, which else do not run (`LIST`)"},
		},
		Action: func(c *cli.Context) error { return runSupervise(c, io) },
	}
}

// runOptions are the flags of run.
type runOptions struct {
	style   lineStyle
	quiet   bool
	logFile string
	then    []string // command to run when all is ready; nil: none
	timeout time.Duration
}

func runOptionsOf(c *cli.Context) (o runOptions, err error) {
	o.quiet, o.logFile = c.Bool(flagQuiet), c.String(flagLogFile)
	if o.timeout, err = timeout(c); err != nil {
		return o, err
	}
	if c.Bool(flagThen) {
		o.then, err = args(c, 1, -1, "the command to run after \"--\"")
		return o, err
	}
	if o.timeout > 0 {
		return o, fault.New(fault.Usage, "%s: --%s goes with --%s only", commandName(c), flagTimeout, flagThen)
	}
	if c.Args().Present() {
		_, err = args(c, 0, 0, "")
		return o, fault.New(fault.Usage, "%v", err).WithHint("it brings the whole tree up; `--%s -- CMD...` runs a command then, `procops supervise start NAME` starts one process of a supervisor that runs", flagThen)
	}
	return o, nil
}

// styleOf returns the style that the flags ask for.
func styleOf(c *cli.Context, names []string) lineStyle {
	s := newLineStyle(names, c.Bool(flagNoPrefix))
	s.json, s.times = c.Bool(flagJSON), c.Bool(flagTimestamps)
	s.location = newClock(c.Bool(flagUTC)).location
	return s
}

// runSupervise runs the tree and reports how it ended.
func runSupervise(c *cli.Context, io IO) (err error) {
	opt, err := runOptionsOf(c)
	if err != nil {
		return err
	}
	a, err := openRun(c, io)
	if err != nil {
		return err
	}
	opt.style = styleOf(c, append(slices.Collect(maps.Keys(a.Config.Supervise.Expanded().Process)), procopsName))
	files, err := openRunFiles(a.Config.Log, opt.logFile)
	if err != nil {
		return errors.Join(err, a.Close(c.Context))
	}
	s, err := newSession(c.Context, io, a, opt, files)
	if err != nil {
		return errors.Join(err, files.close(), a.Close(c.Context))
	}
	return s.run()
}

// runFiles are the log files of a run, nil where the config and the flags name
// none.
type runFiles struct {
	console *logging.File // takes what would go to the terminal
	log     *logging.File // takes procops' own log
}

func openRunFiles(cfg config.LogConfig, console string) (files runFiles, err error) {
	rotation := logging.Rotation{MaxSize: cfg.MaxSize, MaxFiles: cfg.MaxFiles, MaxAge: cfg.MaxAge.Std(), Compress: cfg.Compress}
	if console != "" {
		if files.console, err = logging.OpenFile(console, rotation); err != nil {
			return files, err
		}
	}
	if cfg.File != "" {
		if files.log, err = logging.OpenFile(cfg.File, rotation); err != nil {
			return files, errors.Join(err, files.close())
		}
	}
	return files, nil
}

func (f runFiles) each(do func(*logging.File) error) error {
	var errs []error
	for _, file := range []*logging.File{f.console, f.log} {
		if file != nil {
			errs = append(errs, do(file))
		}
	}
	return errors.Join(errs...)
}

func (f runFiles) close() error { return f.each((*logging.File).Close) }

// streamsOf returns where a run writes.
func streamsOf(io IO, opt runOptions, files runFiles) consoleStreams {
	switch {
	case files.console != nil:
		return consoleStreams{out: files.console, err: files.console, same: true}
	case opt.then != nil:
		// Standard output belongs to the command.
		colours := newPalette(io, io.Stderr)
		return consoleStreams{out: io.Stderr, err: io.Stderr, outColours: colours, errColours: colours, same: true}
	default:
		return consoleStreams{
			out: io.Stdout, outColours: newPalette(io, io.Stdout),
			err: io.Stderr, errColours: newPalette(io, io.Stderr),
			same: sameFile(io.Stdout, io.Stderr),
		}
	}
}
