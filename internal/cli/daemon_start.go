package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"procops/internal/app"
	"procops/internal/daemon"
	"procops/internal/fault"
	"procops/internal/proc"
)

func daemonStartCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "start",
		Usage:     "start daemons in the background",
		ArgsUsage: "NAME...",
		Description: "It returns when the daemon is up: it has its pidfile and has begun its first turn, or\n" +
			"waits for the time of that. Otherwise it prints why not. Without --instance all\n" +
			"instances are started; those that run already are left alone, and the exit code is 4\n" +
			"if none was started.\n\n" +
			examples("procops daemon start report", "procops daemon start --all", "procops daemon start resize --instance 2"),
		Flags: append(append(instanceFlags(), changeFlags()...), allFlag("all daemons of the config")),
		Action: func(c *cli.Context) error {
			_, words, err := changeOf(c)
			if err != nil {
				return err
			}
			return onDaemons(c, io, func(ctx context.Context, a *app.App, ids []daemon.ID) error {
				return startDaemons(ctx, io, a, ids, words)
			})
		},
	}
}

func daemonStopCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "stop",
		Usage:     "stop daemons and wait for their end",
		ArgsUsage: "NAME...",
		Description: "The turn under way is stopped: a signal, time to end, SIGKILL. With --after-turn it\n" +
			"may end by itself. A daemon that does not run is no error.\n\n" +
			examples("procops daemon stop report", "procops daemon stop report --after-turn", "procops daemon stop --all --timeout 1m"),
		Flags: append(instanceFlags(), allFlag("all daemons of the config"),
			&cli.BoolFlag{Name: "after-turn", Usage: "let the turn under way end by itself"},
			timeoutFlag("give up waiting after this `TIME`")),
		Action: func(c *cli.Context) error {
			patience, err := timeout(c)
			if err != nil {
				return err
			}
			return onDaemons(c, io, func(ctx context.Context, a *app.App, ids []daemon.ID) error {
				return stopDaemons(ctx, io, a, ids, stopSignal(c), patience)
			})
		},
	}
}

func daemonRestartCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:        "restart",
		Usage:       "stop daemons, and start them in the background",
		ArgsUsage:   "NAME...",
		Description: examples("procops daemon restart report", "procops daemon restart report --after-turn"),
		Flags: append(append(instanceFlags(), changeFlags()...), allFlag("all daemons of the config"),
			&cli.BoolFlag{Name: "after-turn", Usage: "let the turn under way end by itself"}),
		Action: func(c *cli.Context) error {
			_, words, err := changeOf(c)
			if err != nil {
				return err
			}
			return onDaemons(c, io, func(ctx context.Context, a *app.App, ids []daemon.ID) error {
				if err := stopDaemons(ctx, io, a, ids, stopSignal(c), 0); err != nil {
					return err
				}
				return startDaemons(ctx, io, a, ids, words)
			})
		},
	}
}

func daemonReloadCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "reload",
		Usage:     "have daemons read the config and open their logs again",
		ArgsUsage: "NAME...",
		Description: "The turn under way goes on; the next one is as the config says now. A config with\n" +
			"mistakes is refused here, and changes nothing.\n\n" +
			examples("procops daemon reload report", "procops daemon reload --all"),
		Flags: append(instanceFlags(), allFlag("all daemons of the config")),
		Action: func(c *cli.Context) error {
			return onDaemons(c, io, func(_ context.Context, a *app.App, ids []daemon.ID) error {
				var errs []error
				for _, id := range ids {
					by, err := a.Config.Daemon.Signal(id, a.StateDir, proc.Signal(syscall.SIGHUP))
					if err == nil {
						_, err = fmt.Fprintf(io.Stdout, "%s: told to reload (pid %d)\n", id, by.PID)
					}
					errs = append(errs, err)
				}
				return errors.Join(errs...)
			})
		},
	}
}

func allFlag(usage string) cli.Flag { return &cli.BoolFlag{Name: flagAll, Usage: usage} }

// onDaemons calls fn with the daemons that are named, or with --all of all.
func onDaemons(c *cli.Context, io IO, fn func(context.Context, *app.App, []daemon.ID) error) error {
	names := c.Args().Slice()
	if c.Bool(flagAll) == (len(names) > 0) {
		return fault.New(fault.Usage, "%s: want the NAMEs of daemons or --%s", commandName(c), flagAll).
			WithHint("`procops daemon list` shows the daemons of the config")
	}
	return withDaemons(c, io, names, fn)
}

func stopSignal(c *cli.Context) proc.Signal {
	if c.Bool("after-turn") {
		return proc.Signal(syscall.SIGQUIT)
	}
	return proc.Signal(syscall.SIGTERM)
}

// startDaemons starts those that do not run.
func startDaemons(ctx context.Context, io IO, a *app.App, ids []daemon.ID, words []string) error {
	started, running := 0, error(nil)
	for _, id := range ids {
		if by, runs := a.Config.Daemon.RunningBy(id, a.StateDir); runs {
			where := fmt.Sprintf("pid %d", by.PID)
			if by.PID == 0 {
				where = "in a supervisor"
			}
			running = fault.New(fault.Conflict, "daemon %q already runs (%s)", id, where).
				WithHint("`procops daemon status %s` shows it", id.Name)
			if _, err := fmt.Fprintf(io.Stdout, "%s: runs already (%s)\n", id, where); err != nil {
				return err
			}
			continue
		}
		if err := startDaemon(ctx, io, a, id, words); err != nil {
			return err
		}
		started++
	}
	if started == 0 {
		return running
	}
	return nil
}

// startDaemon starts a daemon and waits until it is up.
func startDaemon(ctx context.Context, io IO, a *app.App, id daemon.ID, words []string) error {
	line := append(baseLine(a), "daemon", "run", id.Name, "--"+flagContext, id.Context, "--"+flagBackground)
	if id.Instance > 0 {
		line = append(line, "--"+flagInstance, strconv.Itoa(id.Instance))
	}
	b, err := startUp(ctx, io, a, fmt.Sprintf("daemon %q", id.Name), a.Config.Daemon.LogPath(id, a.StateDir), append(line, words...))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(io.Stdout, "%s: runs in the background (pid %d); its log is %s\n", id, b.process.Pid, b.log)
	return err
}

// stopDaemons stops those that run and waits for their ends.
func stopDaemons(ctx context.Context, io IO, a *app.App, ids []daemon.ID, sig proc.Signal, patience time.Duration) error {
	late := fault.New(fault.Failure, "not all daemons have ended after %v", patience).
		WithHint("`procops daemon status` shows them")
	ctx, cancel := withLimit(ctx, patience, late)
	defer cancel()
	told := make([]proc.Identity, len(ids))
	for i, id := range ids {
		by, err := a.Config.Daemon.Signal(id, a.StateDir, sig)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
		if err == nil {
			told[i] = by
		}
	}
	for i, id := range ids {
		said := "does not run"
		if told[i].PID != 0 {
			said = "has ended"
			if err := awaitEnd(ctx, told[i]); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintf(io.Stdout, "%s: %s\n", id, said); err != nil {
			return err
		}
	}
	return nil
}
