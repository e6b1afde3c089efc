package cli

import (
	"context"
	"fmt"
	stdio "io"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"procops/internal/app"
	"procops/internal/control"
	"procops/internal/fault"
	"procops/internal/supervise"
)

const (
	// startPatience is how long a supervisor in the background may take until
	// it answers, unless --timeout says otherwise.
	startPatience = 30 * time.Second
	// startLook is the time between two looks whether it does.
	startLook = 10 * time.Millisecond
)

func superviseStartCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "start",
		Usage:     "start the supervisor in the background, or processes and groups of it",
		ArgsUsage: "[NAME...]",
		Description: "Without names a supervisor is started in the background; the command returns\n" +
			"when it answers. It writes to supervise.log in the state directory. With names\n" +
			"or --all those processes, and what they depend on, are started; the command\n" +
			"returns when they are ready or have failed.\n\n" +
			examples("procops supervise start", "procops supervise start web", "procops supervise start --all --timeout 1m"),
		Flags: actionFlags(),
		Action: func(c *cli.Context) error {
			if c.Args().Len() == 0 && !c.Bool(flagAll) {
				return startSupervisor(c, io)
			}
			names, err := targets(c)
			if err != nil {
				return err
			}
			return act(c, io, supervise.Request{Action: supervise.ActionStart, Names: names})
		},
	}
}

// startSupervisor starts a supervisor that outlives this process and waits
// until it answers.
func startSupervisor(c *cli.Context, io IO) error {
	patience, err := timeout(c)
	if err != nil {
		return err
	}
	if patience == 0 {
		patience = startPatience
	}
	a, err := openApp(c, io, "supervise", lasting)
	if err != nil {
		return err
	}
	ctx, done := io.untilSignal(c.Context)
	defer done()
	late := fault.New(fault.Failure, "the supervisor does not answer after %v", patience).
		WithHint("see %q", backgroundLog(a))
	ctx, cancel := withLimit(ctx, patience, late)
	defer cancel()
	client := control.Dial(a.SocketPath())
	if status, err := client.Status(ctx); err == nil {
		return fault.New(fault.Conflict, "a supervisor already runs on state directory %q (pid %d)", a.StateDir, status.PID).
			WithHint("`procops supervise status` shows it")
	}
	line := append(baseLine(a), "supervise", "run", "--"+flagQuiet, "--"+flagTimestamps, "--"+flagLogFile, backgroundLog(a))
	background, err := startBackground(a, "the supervisor", backgroundLog(a), line, nil)
	if err != nil {
		return err
	}
	running, err := background.awaitSupervisor(ctx, client, io.Stderr)
	if err != nil {
		return err
	}
	state := fmt.Sprintf("runs in the background (pid %d)", background.process.Pid)
	if !running {
		state = "has ended already: all processes have ended well"
	}
	if _, err = fmt.Fprintf(io.Stdout, "the supervisor %s; its log is %s\n", state, background.log); err != nil || !running {
		return err
	}
	return tellByHand(ctx, a, client, io)
}

// tellByHand says which processes were not started because an operator had
// stopped them before.
func tellByHand(ctx context.Context, a *app.App, client *control.Client, io IO) error {
	status, err := client.Status(ctx)
	if err != nil {
		return nil //nolint:nilerr // it has ended meanwhile, and was started all the same
	}
	var names []string
	for _, p := range status.Processes {
		if cfg, _ := a.Config.Supervise.Find(p.Name); !p.Wanted && cfg.Autostart {
			names = append(names, p.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	_, err = fmt.Fprintf(io.Stdout, "stopped by hand and left so: %s; `procops supervise start --%s` starts them\n",
		strings.Join(abbreviate(names, 10), ", "), flagAll)
	return err
}

// backgroundLog is the log file of a supervisor in the background.
func backgroundLog(a *app.App) string { return filepath.Join(a.StateDir, "supervise.log") }

// awaitSupervisor returns when the supervisor answers, or has ended well. If it has
// failed, it prints why.
func (b *background) awaitSupervisor(ctx context.Context, client *control.Client, stderr stdio.Writer) (running bool, err error) {
	look := time.NewTicker(startLook)
	defer look.Stop()
	for {
		select {
		case code := <-b.exited:
			if code == 0 {
				return false, nil
			}
			return false, b.failed(code, stderr)
		case <-look.C:
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
		if status, err := client.Status(ctx); err == nil && status.PID == b.process.Pid {
			return true, nil
		}
	}
}
