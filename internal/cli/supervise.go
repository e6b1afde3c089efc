package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"procops/internal/app"
	"procops/internal/control"
	"procops/internal/fault"
	"procops/internal/unit"
)

// Flags of several supervise commands.
const (
	flagAll        = "all"
	flagNoPrefix   = "no-prefix"
	flagTimeout    = "timeout"
	flagTimestamps = "timestamps"
)

func superviseCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:  "supervise",
		Usage: "keep processes up: a tree of them, started in order and restarted when they fail",
		Description: "`run` brings the tree of the config up in this terminal, `start` in the\n" +
			"background. The other commands talk to the supervisor that runs on the state\n" +
			"directory.\n\n" +
			examples("procops supervise run", "procops supervise status", "procops supervise restart web", "procops supervise logs -f web"),
		Subcommands: []*cli.Command{
			superviseRunCommand(io),
			superviseStartCommand(io),
			superviseStopCommand(io),
			superviseRestartCommand(io),
			superviseScaleCommand(io),
			superviseReloadCommand(io),
			superviseUpgradeCommand(io),
			superviseSignalCommand(io),
			superviseLogsCommand(io),
			superviseStatusCommand(io),
			superviseTreeCommand(io),
			superviseWaitCommand(io),
			supervisePIDCommand(io),
		},
	}
}

// dial returns a client of the supervisor. Where the state directory is named
// the config is not looked at: a broken one must not keep an operator from
// stopping what runs.
func dial(c *cli.Context, io IO) (*control.Client, error) {
	dir := c.String(flagStateDir)
	if dir == "" {
		dir, _ = io.Getenv("PROCOPS_STATE_DIR")
	}
	if dir != "" {
		absolute, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		return control.Dial((&app.App{StateDir: absolute}).SocketPath()), nil
	}
	a, err := openApp(c, io, "supervise", lasting)
	if err != nil {
		return nil, err
	}
	return control.Dial(a.SocketPath()), nil
}

// converse calls talk with a client of the supervisor and a context that a
// signal ends.
func converse(c *cli.Context, io IO, talk func(context.Context, *control.Client) error) error {
	client, err := dial(c, io)
	if err != nil {
		return err
	}
	ctx, done := io.untilSignal(c.Context)
	defer done()
	return talk(ctx, client)
}

// timeoutFlag is the flag --timeout.
func timeoutFlag(usage string) cli.Flag {
	return &cli.StringFlag{Name: flagTimeout, Usage: usage}
}

// timeout returns what --timeout says, 0 for no limit.
func timeout(c *cli.Context) (time.Duration, error) {
	text := c.String(flagTimeout)
	if text == "" {
		return 0, nil
	}
	d, err := unit.ParseDuration(text)
	if err != nil {
		return 0, fault.Wrap(fault.Usage, err, "%s: --%s", commandName(c), flagTimeout)
	}
	return d, nil
}

// withLimit returns ctx with a time limit; 0 is none. late is the error once
// the time is over.
func withLimit(ctx context.Context, d time.Duration, late error) (context.Context, context.CancelFunc) {
	if d == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, d, late)
}

// span writes a length of time in its two largest units.
func span(d time.Duration) string {
	d = max(d, 0).Truncate(time.Second)
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return d.String()
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%dd%02dh", d/day, d%day/time.Hour)
	}
}
