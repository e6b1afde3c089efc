package cli

import (
	"context"
	"errors"
	"os"
	"syscall"

	"github.com/urfave/cli/v2"

	"procops/internal/app"
	"procops/internal/daemon"
	"procops/internal/proc"
	"procops/internal/sdnotify"
)

func daemonRunCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "run a daemon in this terminal until it ends",
		ArgsUsage: "NAME",
		Description: "Turns write to this terminal and to the daemon's log. Signals: QUIT ends it after the\n" +
			"turn under way; TERM and INT (Ctrl-C) stop that turn, a second one kills it; HUP reads\n" +
			"the config and opens the logs again; USR1 starts the next turn now, or runs on_usr1;\n" +
			"USR2 runs on_usr2. Exit codes: 0 it was stopped or has ended in good order, 1 it has\n" +
			"given up, 4 it runs already.\n\n" +
			examples("procops daemon run report", "procops daemon run report --sleep 500ms", "procops daemon run resize --instance 2"),
		Flags: append(append(instanceFlags(), changeFlags()...),
			&cli.BoolFlag{Name: flagQuiet, Aliases: []string{"q"}, Usage: "do not print what turns write"},
			&cli.BoolFlag{Name: flagBackground, Hidden: true}),
		Action: func(c *cli.Context) error {
			_, err := runDaemon(c, io, false)
			return err
		},
	}
}

func daemonOnceCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "once",
		Usage:     "run one turn of a daemon, now",
		ArgsUsage: "NAME",
		Description: "The exit code is that of the turn: 127 if it could not be started, 128 + n for\n" +
			"signal n. While the daemon runs it is refused with exit code 4: turns never overlap;\n" +
			"signal USR1 starts the next turn of one that runs.\n\n" +
			examples("procops daemon once report"),
		Flags: append(append(instanceFlags(), changeFlags()...),
			&cli.BoolFlag{Name: flagQuiet, Aliases: []string{"q"}, Usage: "do not print what the turn writes"}),
		Action: func(c *cli.Context) error {
			turn, err := runDaemon(c, io, true)
			if err != nil {
				return err
			}
			return asExit(turn.Code)
		},
	}
}

// runDaemon runs a daemon, or one turn of it.
func runDaemon(c *cli.Context, io IO, once bool) (last daemon.Turn, err error) {
	names, err := args(c, 1, 1, "the NAME of a daemon")
	if err != nil {
		return last, err
	}
	change, _, err := changeOf(c)
	if err != nil {
		return last, err
	}
	background := c.Bool(flagBackground)
	if background {
		settleInBackground()
	}
	// From here on signals are ours, before anything is started.
	signals := io.Signals()
	a, err := openApp(c, io, "daemon", lasting)
	if err != nil {
		return last, err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.Background(), closePatience)
		defer cancel()
		err = errors.Join(err, a.Close(closing))
	}()
	log, err := openLog(io.Stderr, a)
	if err != nil {
		return last, err
	}
	opt := app.DaemonOptions{
		ID:     daemon.ID{Name: names[0], Context: c.String(flagContext), Instance: c.Int(flagInstance)},
		Change: change, Once: once, Log: log, Output: turnPrinter(c, io),
	}
	if background {
		opt.Begun, opt.Output = tellStarter(io), nil
	}
	sender := sdnotify.NewSender(io.Getenv)
	if !background && !once {
		opt.Begun = func(err error) {
			if err == nil {
				_ = sender.Send("READY=1") // who started it would say so
			}
		}
	}
	d, err := a.Daemon(c.Context, opt)
	if err != nil {
		return last, err
	}
	watching, enough := context.WithCancel(c.Context)
	defer enough()
	go sender.Watch(watching, d.Alive)
	over, conducted := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(conducted)
		conductDaemon(d, signals, over)
	}()
	err = d.Run(c.Context)
	close(over)
	<-conducted
	return d.Last(), err
}

// conductDaemon passes signals on to the daemon.
func conductDaemon(d *daemon.Daemon, signals <-chan os.Signal, over <-chan struct{}) {
	for {
		var got os.Signal
		select {
		case got = <-signals:
		case <-over:
			return
		}
		if sig, ok := got.(syscall.Signal); ok {
			d.Signal(sig)
		}
	}
}

// turnPrinter prints what turns write, as it is.
func turnPrinter(c *cli.Context, io IO) func(proc.Stream, []byte) {
	if c.Bool(flagQuiet) {
		return nil
	}
	return func(s proc.Stream, data []byte) {
		to := io.Stdout
		if s == proc.Stderr {
			to = io.Stderr
		}
		_, _ = to.Write(data) // the daemon goes on, whoever reads
	}
}
