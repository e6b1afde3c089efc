package cli

import (
	"context"
	"errors"
	"strconv"

	"github.com/urfave/cli/v2"

	"procops/internal/app"
	"procops/internal/cron"
	"procops/internal/daemon"
	"procops/internal/fault"
	"procops/internal/unit"
)

const (
	flagInstance = "instance"
	flagContext  = "context"
)

func daemonCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:  "daemon",
		Usage: "run programs again and again",
		Description: "A section [daemon.NAME] of the config says what a turn runs and when the next\n" +
			"follows. A daemon is one at a time: it has a pidfile with a lock.\n\n" +
			examples(
				"procops daemon run report            # in this terminal, or below a supervisor",
				"procops daemon start report          # in the background",
				"procops daemon status",
				"procops daemon once report           # one turn, with its exit code: for CI",
			),
		Subcommands: []*cli.Command{
			daemonRunCommand(io), daemonOnceCommand(io),
			daemonStartCommand(io), daemonStopCommand(io), daemonRestartCommand(io), daemonReloadCommand(io),
			daemonStatusCommand(io), daemonListCommand(io), daemonHistoryCommand(io), daemonLogsCommand(io),
		},
	}
}

func instanceFlags() []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: flagInstance, Aliases: []string{"i"}, Usage: "only this one of its instances, from 1 (`N`)"},
		&cli.StringFlag{Name: flagContext, Usage: "in this `CONTEXT`, such as staging (default: that of the config)"},
	}
}

// changeFlags are the flags by which the command line changes a section.
func changeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "sleep", Usage: "`TIME` from the start of a turn to the start of the next, instead of what the config says"},
		&cli.StringFlag{Name: "min-sleep", Usage: "least `TIME` between two turns, instead of what the config says"},
		&cli.StringFlag{Name: "schedule", Usage: "cron `EXPRESSION`, instead of what the config says"},
		&cli.StringFlag{Name: flagTimeout, Usage: "a turn that takes longer than this `TIME` is stopped, instead of what the config says"},
		&cli.StringFlag{Name: "memory-limit", Usage: "`SIZE` such as 256M, instead of what the config says"},
		&cli.StringFlag{Name: "memory-threshold", Usage: "`PERCENT` of the memory limit, instead of what the config says"},
	}
}

// changeOf returns what the flags change in a section, and the words that say it again
// to another procops; nil if nothing.
func changeOf(c *cli.Context) (change func(*daemon.Section), words []string, err error) {
	var changes []func(*daemon.Section)
	for _, f := range []struct {
		name string
		read func(text string) (func(*daemon.Section), error)
	}{
		{"sleep", durationOf(func(s *daemon.Section, d unit.Duration) { s.Sleep, s.Schedule = &d, nil })},
		{"min-sleep", durationOf(func(s *daemon.Section, d unit.Duration) { s.MinSleep = d })},
		{flagTimeout, durationOf(func(s *daemon.Section, d unit.Duration) { s.Timeout = d })},
		{"schedule", func(text string) (func(*daemon.Section), error) {
			e, err := cron.Parse(text)
			return func(s *daemon.Section) { s.Schedule, s.Sleep = &e, nil }, err
		}},
		{"memory-limit", func(text string) (func(*daemon.Section), error) {
			var size unit.Size
			err := size.UnmarshalText([]byte(text))
			return func(s *daemon.Section) { s.MemoryLimit = size }, err
		}},
		{"memory-threshold", func(text string) (func(*daemon.Section), error) {
			percent, err := strconv.ParseFloat(text, 64)
			if err != nil || percent < 1 || percent > 100 {
				return nil, errors.New("want a number from 1 to 100")
			}
			return func(s *daemon.Section) { s.MemoryThreshold = percent }, nil
		}},
	} {
		if !c.IsSet(f.name) {
			continue
		}
		text := c.String(f.name)
		one, err := f.read(text)
		if err != nil {
			return nil, nil, fault.Wrap(fault.Usage, err, "%s: --%s %q", commandName(c), f.name, text)
		}
		changes, words = append(changes, one), append(words, "--"+f.name, text)
	}
	if changes == nil {
		return nil, nil, nil
	}
	return func(s *daemon.Section) {
		for _, one := range changes {
			one(s)
		}
	}, words, nil
}

func durationOf(set func(*daemon.Section, unit.Duration)) func(string) (func(*daemon.Section), error) {
	return func(text string) (func(*daemon.Section), error) {
		d, err := unit.ParseDuration(text)
		return func(s *daemon.Section) { set(s, unit.Duration(d)) }, err
	}
}

// withDaemons opens procops and calls fn with the daemons that the arguments mean: those
// that are named, with all their instances or the one that --instance says. without
// names they are all of the config.
func withDaemons(c *cli.Context, io IO, names []string, fn func(context.Context, *app.App, []daemon.ID) error) (err error) {
	a, err := openApp(c, io, "daemon", brief)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close(c.Context)) }()
	ids, err := daemonsOf(c, a, names)
	if err != nil {
		return err
	}
	ctx, done := io.untilSignal(c.Context)
	defer done()
	return fn(ctx, a, ids)
}

func daemonsOf(c *cli.Context, a *app.App, names []string) (all []daemon.ID, err error) {
	cfg := a.Config.Daemon
	if len(names) == 0 {
		names = cfg.Names()
	}
	for _, n := range names {
		ids, err := cfg.IDs(n, c.String(flagContext), c.Int(flagInstance))
		if err != nil {
			ids = leftDaemon(c, a, n)
		}
		if ids == nil {
			return nil, err
		}
		all = append(all, ids...)
	}
	return all, nil
}

// leftDaemon returns a daemon that runs and is not in the config any more; nil if none of
// that name does.
func leftDaemon(c *cli.Context, a *app.App, name string) []daemon.ID {
	id := daemon.ID{Name: name, Context: c.String(flagContext), Instance: c.Int(flagInstance)}
	if id.Context == "" {
		id.Context = a.Config.Daemon.Context
	}
	if _, runs := a.Config.Daemon.RunningBy(id, a.StateDir); !runs {
		return nil
	}
	return []daemon.ID{id}
}
