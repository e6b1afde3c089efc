package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"procops/internal/control"
	"procops/internal/fault"
	"procops/internal/supervise"
)

const flagNow = "now"

func superviseStopCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "stop",
		Usage:     "stop processes and groups, or the whole supervisor",
		ArgsUsage: "[NAME...]",
		Description: "With names or --all those processes are stopped and stay down until they are\n" +
			"started again, also after a restart of the supervisor; the supervisor goes on.\n" +
			"Without, the supervisor stops everything in order and ends; the command returns\n" +
			"when it is gone.\n\n" +
			examples("procops supervise stop web", "procops supervise stop", "procops supervise stop --now --timeout 10s"),
		Flags: actionFlags(&cli.BoolFlag{Name: flagNow, Usage: "without names: kill what is running instead of asking it to end"}),
		Action: func(c *cli.Context) error {
			if c.Args().Len() == 0 && !c.Bool(flagAll) {
				return stopSupervisor(c, io)
			}
			if c.Bool(flagNow) {
				return fault.New(fault.Usage, "%s: --%s is for the whole supervisor", commandName(c), flagNow).
					WithHint("`procops supervise signal KILL NAME` kills a process")
			}
			names, err := targets(c)
			if err != nil {
				return err
			}
			return act(c, io, supervise.Request{Action: supervise.ActionStop, Names: names})
		},
	}
}

// stopSupervisor ends the supervisor and returns when its process has ended.
func stopSupervisor(c *cli.Context, io IO) error {
	patience, err := timeout(c)
	if err != nil {
		return err
	}
	return converse(c, io, func(ctx context.Context, client *control.Client) error {
		late := fault.New(fault.Failure, "the supervisor still runs after %v", patience)
		ctx, cancel := withLimit(ctx, patience, late)
		defer cancel()
		return endSupervisor(ctx, c, io, client, late)
	})
}

func endSupervisor(ctx context.Context, c *cli.Context, io IO, client *control.Client, late *fault.Error) (err error) {
	running, err := client.Find(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, running.Close()) }()
	if err := askToEnd(ctx, c, client); err != nil {
		return err
	}
	if c.Bool(flagNoWait) {
		_, err = fmt.Fprintf(io.Stdout, "the supervisor (pid %d) is on its way down\n", running.PID)
		return err
	}
	err = running.Wait(ctx)
	if errors.Is(err, late) {
		return stillRunning(c.Context, client, late)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(io.Stdout, "the supervisor (pid %d) has ended\n", running.PID)
	return err
}

// askToEnd asks the supervisor to go down, with --now to hurry as well.
func askToEnd(ctx context.Context, c *cli.Context, client *control.Client) error {
	if err := client.Shutdown(ctx); err != nil {
		return err
	}
	if !c.Bool(flagNow) {
		return nil
	}
	err := client.Shutdown(ctx)
	if fault.Is(err, fault.Unreachable) {
		return nil // it has ended already
	}
	return err
}

// stillRunning adds to late what the supervisor waits for.
func stillRunning(ctx context.Context, client *control.Client, late *fault.Error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	status, err := client.Status(ctx)
	if err != nil {
		return late
	}
	if names := stillUp(status); len(names) > 0 {
		late.Cause = fmt.Errorf("it waits for %s", strings.Join(names, ", "))
	}
	return late.WithHint("`procops supervise stop --%s` kills what is left", flagNow)
}
