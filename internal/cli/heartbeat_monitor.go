package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"procops/internal/app"
	"procops/internal/fault"
	"procops/internal/heartbeat"
	"procops/internal/unit"
)

const flagOnce = "once"

func monitorCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:  "monitor",
		Usage: "knock at all heartbeats when they are due, and act on those that are down",
		Description: "Knocks at each heartbeat once in its pulse, and at once when it has failed or beats\n" +
			"again, and sees every deadline pass. When one is down it does what on_attack of the\n" +
			"config says, when it is up again what on_recovery says; every change is an event.\n" +
			"One line is printed for each heartbeat whose status is another than before. There is\n" +
			"one monitor for a state directory.\n\n" +
			"With --once it makes one pass, for cron and CI: the exit code is that of the worst\n" +
			"heartbeat that was due: 0 ok, 1 warning, 2 critical, 3 unknown.\n\n" +
			examples("procops heartbeat monitor", "procops heartbeat monitor --once", "* * * * * procops heartbeat monitor --once --quiet"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: flagOnce, Usage: "make one pass and end"},
			&cli.StringFlag{Name: "interval", Usage: "`TIME` between two passes", DefaultText: "1s"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print no lines"},
			&cli.BoolFlag{Name: flagJSON, Usage: "print each knock as a JSON object in a line"},
		},
		Action: func(c *cli.Context) error { return monitor(c, io) },
	}
}

func monitor(c *cli.Context, io IO) (err error) {
	if _, err := args(c, 0, 0, ""); err != nil {
		return err
	}
	opt := heartbeat.MonitorOptions{Once: c.Bool(flagOnce), OnKnock: knockPrinter(c, io)}
	if text := c.String("interval"); text != "" {
		interval, err := unit.ParseDuration(text)
		if err != nil || interval <= 0 {
			return fault.New(fault.Usage, "%s: --interval %q: want a time such as 1s", commandName(c), text)
		}
		opt.Interval = interval
	}
	a, err := openApp(c, io, "heartbeat", lasting)
	if err != nil {
		return err
	}
	signals := stopBySignals(c.Context, io)
	defer signals.end()
	report, err := runMonitor(signals.ctx, io, a, opt)
	closing, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	err = errors.Join(err, a.Close(closing))
	var sig *signalError
	switch {
	case err != nil || !opt.Once:
		return err
	case errors.As(context.Cause(signals.ctx), &sig):
		return sig
	default:
		return exit(report.Worst().ExitCode())
	}
}

// knockPrinter prints the knocks that find another status than the one before; as
// JSON all.
func knockPrinter(c *cli.Context, io IO) func(heartbeat.Knock) {
	asJSON, quiet, clock := c.Bool(flagJSON), c.Bool("quiet"), newClock(false)
	return func(k heartbeat.Knock) {
		switch {
		case quiet:
		case asJSON:
			_ = json.NewEncoder(io.Stdout).Encode(knockViews([]heartbeat.Knock{k})[0]) // it goes on watching, whoever reads
		case k.Status != k.Before:
			_, _ = fmt.Fprintf(io.Stdout, "%s %s - %s: %s\n", clock.format(k.Time),
				strings.ToUpper(string(k.Status)), k.Heartbeat.Name, oneLine(k.Message))
		}
	}
}

// runMonitor watches until ctx ends, or once.
func runMonitor(ctx context.Context, io IO, a *app.App, opt heartbeat.MonitorOptions) (report heartbeat.PassReport, err error) {
	log, err := openLog(io.Stderr, a)
	if err != nil {
		return report, err
	}
	return a.Monitor(ctx, log, opt)
}
