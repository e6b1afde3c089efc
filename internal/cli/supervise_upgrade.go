package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"procops/internal/control"
	"procops/internal/fault"
	"procops/internal/supervise"
)

const flagProgram = "program"

const (
	// upgradePatience is how long an upgrade may take, unless --timeout says otherwise.
	upgradePatience = time.Minute
	// upgradeLook is the time between two looks whether the next procops answers.
	upgradeLook = 5 * time.Millisecond
)

func superviseUpgradeCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:  "upgrade",
		Usage: "make the running supervisor another version of procops, without stopping a process",
		Description: "The supervisor becomes the procops that runs this command, or the one that\n" +
			"--program names, in the same process: its children, their pipes, readiness\n" +
			"and counts of restarts go on. The other procops first rehearses beside it;\n" +
			"if it cannot read the config or the state, or is no procops, nothing happens.\n\n" +
			examples("procops supervise upgrade", "./bin/procops supervise upgrade", "procops supervise upgrade --program /opt/procops/procops"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: flagProgram, Usage: "become this `FILE` (default: this procops)"},
			timeoutFlag("give up when it has not happened after this `TIME` (default 1m)"),
		},
		Action: func(c *cli.Context) error { return upgradeSupervisor(c, io) },
	}
}

func upgradeSupervisor(c *cli.Context, io IO) error {
	if _, err := args(c, 0, 0, ""); err != nil {
		return fault.New(fault.Usage, "%v", err).WithHint("another procops is named with --%s: `%s --%s %s`", flagProgram, commandName(c), flagProgram, c.Args().First())
	}
	program, err := programOf(c)
	if err != nil {
		return err
	}
	patience, err := timeout(c)
	if err != nil {
		return err
	}
	if patience == 0 {
		patience = upgradePatience
	}
	return converse(c, io, func(ctx context.Context, client *control.Client) error {
		late := fault.New(fault.Failure, "the supervisor has not become %q within %v", program, patience)
		ctx, cancel := withLimit(ctx, patience, late)
		defer cancel()
		status, err := upgradeTo(ctx, client, program)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(io.Stdout, "the supervisor (pid %d) is %s now; %s\n", status.PID, status.Program, goOn(status))
		return err
	})
}

// goOn says how many processes go on.
func goOn(status supervise.Status) string {
	running := 0
	for _, p := range status.Processes {
		if p.PID != 0 {
			running++
		}
	}
	return count(running, "process goes on", "processes go on")
}

// programOf returns the absolute path of the program to become.
func programOf(c *cli.Context) (string, error) {
	if file := c.String(flagProgram); file != "" {
		return filepath.Abs(file)
	}
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("cannot tell which procops this is: %w; name one with --%s", err, flagProgram)
	}
	return path, nil
}

// nameOther returns an error if the supervisor has become another program than it was
// asked to: somebody else has asked as well.
func nameOther(became, asked string) error {
	if resolved, err := filepath.EvalSymlinks(asked); err == nil {
		asked = resolved
	}
	if became == asked || became == "" {
		return nil
	}
	return fault.New(fault.Conflict, "the supervisor has become %q by another upgrade meanwhile, not %q", became, asked)
}

// upgradeTo asks for the upgrade and waits until the next procops answers.
func upgradeTo(ctx context.Context, client *control.Client, program string) (supervise.Status, error) {
	before, err := client.Status(ctx)
	if err != nil {
		return before, err
	}
	refused := client.Upgrade(ctx, program)
	var f *fault.Error
	if refused != nil && (!errors.As(refused, &f) || f.Kind != fault.Unreachable) {
		return before, refused
	}
	look := time.NewTicker(upgradeLook)
	defer look.Stop()
	for {
		now, err := client.Status(ctx)
		switch {
		case err == nil && now.PID == before.PID && now.Upgrades > before.Upgrades:
			return now, nameOther(now.Program, program)
		case err != nil && ctx.Err() == nil:
			return now, fmt.Errorf("cannot tell whether the upgrade was done: %w", err)
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return now, context.Cause(ctx)
		}
	}
}
