package cli

import (
	"context"
	"errors"
	"fmt"
	stdio "io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"procops/internal/control"
	"procops/internal/fault"
	"procops/internal/supervise"
)

const flagReady = "ready"

// connectInterval is the time between two attempts to reach a supervisor that
// does not run yet.
const connectInterval = 50 * time.Millisecond

func superviseTreeCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:        "tree",
		Usage:       "draw the tree of groups and processes",
		Description: examples("procops supervise tree", "procops supervise tree --json"),
		Flags:       []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if _, err := args(c, 0, 0, ""); err != nil {
				return err
			}
			client, err := dial(c, io)
			if err != nil {
				return err
			}
			status, err := client.Status(c.Context)
			if err != nil {
				return err
			}
			if c.Bool(flagJSON) {
				return printJSON(io.Stdout, status.Tree)
			}
			return drawTree(io.Stdout, newPalette(io, io.Stdout), status.Tree, "")
		},
	}
}

// drawTree draws nodes side by side, each with what is below it.
func drawTree(w stdio.Writer, p palette, nodes []supervise.Node, indent string) error {
	for i, n := range nodes {
		branch, below := "├─ ", "│  "
		if i == len(nodes)-1 {
			branch, below = "└─ ", "   "
		}
		line := []byte(indent + branch)
		if n.Group {
			line = p.paint(line, bold, n.Name)
		} else {
			line = append(line, n.Name...)
		}
		line = p.paint(append(line, "  "...), nodeColour(n.State), string(n.State))
		if n.Instances != nil {
			line = p.paint(append(line, "  "...), dim, count(*n.Instances, "instance", "instances"))
		}
		if _, err := w.Write(append(line, '\n')); err != nil {
			return err
		}
		if err := drawTree(w, p, n.Children, indent+below); err != nil {
			return err
		}
	}
	return nil
}

func nodeColour(s supervise.State) colour {
	switch {
	case s == supervise.StateFatal:
		return red
	case s == supervise.StateRunning || s.AtRest():
		return dim
	default:
		return yellow
	}
}

func superviseWaitCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "wait",
		Usage:     "wait until processes are ready",
		ArgsUsage: "[NAME...]",
		Description: "Without names it waits for all that are wanted. A supervisor that does not run\n" +
			"yet is waited for, too. Exit code 0 when they are ready, 1 when the time is over,\n" +
			"one of them was given up or what is named is stopped, 5 when no supervisor\n" +
			"runs.\n\n" +
			examples("procops supervise run & procops supervise wait --ready --timeout 30s", "procops supervise wait --ready db cache"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: flagReady, Usage: "until they are ready (the default)"},
			&cli.StringFlag{Name: flagTimeout, Usage: "give up after this `TIME`; 0: never", Value: "1m"},
		},
		Action: func(c *cli.Context) error {
			names, err := args(c, 0, -1, "")
			if err != nil {
				return err
			}
			patience, err := timeout(c)
			if err != nil {
				return err
			}
			return converse(c, io, func(ctx context.Context, client *control.Client) error {
				late := fault.New(fault.Failure, "not ready after %v", patience).WithHint("see `procops supervise status`")
				limited, cancel := withLimit(ctx, patience, late)
				defer cancel()
				err := waitReady(limited, client, names, late)
				if !errors.Is(err, late) {
					return err
				}
				if open := stillOpen(ctx, client, names); open != "" {
					return fault.New(fault.Failure, "not ready after %v: %s", patience, open).WithHint("see `procops supervise status`")
				}
				return err
			})
		},
	}
}

// stillOpen says which of the processes are wanted and not ready, "" if none is
// or nobody can tell.
func stillOpen(ctx context.Context, client *control.Client, names []string) string {
	status, err := client.Status(ctx)
	if err != nil {
		return ""
	}
	found, err := selectProcesses(status, names)
	if err != nil {
		return ""
	}
	var open []string
	for _, p := range found {
		if p.Wanted && p.State != supervise.StateRunning && p.State != supervise.StateCompleted {
			open = append(open, p.Name+" is "+inState(p.State))
		}
	}
	return strings.Join(open, ", ")
}

// waitReady waits for the supervisor and then for what it supervises. late is
// the error that the end of the time gives.
func waitReady(ctx context.Context, client *control.Client, names []string, late error) error {
	if err := waitReachable(ctx, client, late); err != nil {
		return err
	}
	return client.WaitReady(ctx, names)
}

// waitReachable returns when a supervisor answers; when it is late, why none
// does.
func waitReachable(ctx context.Context, client *control.Client, late error) error {
	again := time.NewTicker(connectInterval)
	defer again.Stop()
	var absent error
	for {
		_, err := client.Status(ctx)
		switch {
		case fault.Is(err, fault.Unreachable):
			absent = err
		case errors.Is(err, late) && absent != nil:
			return absent
		default:
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, late) {
				return cause
			}
			return absent
		}
	}
}

func supervisePIDCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:        "pid",
		Usage:       "print the process id of a process",
		ArgsUsage:   "NAME",
		Description: "Exit code 1 if it does not run.\n\n" + examples("kill -USR1 $(procops supervise pid web)"),
		Action: func(c *cli.Context) error {
			names, err := args(c, 1, 1, "the NAME of a process")
			if err != nil {
				return err
			}
			client, err := dial(c, io)
			if err != nil {
				return err
			}
			status, err := client.Status(c.Context)
			if err != nil {
				return err
			}
			found, err := selectProcesses(status, names)
			if err != nil {
				return err
			}
			if len(found) != 1 || found[0].Name != names[0] {
				return fault.New(fault.Usage, "%q is a group", names[0]).WithHint("`procops supervise status %s` shows its processes", names[0])
			}
			if found[0].PID == 0 && !found[0].Started.IsZero() {
				return fault.New(fault.Failure, "%q has no process of its own: it runs in the supervisor (pid %d)", names[0], status.PID)
			}
			if found[0].PID == 0 {
				return fault.New(fault.Failure, "%q does not run: it is %s", names[0], inState(found[0].State))
			}
			_, err = fmt.Fprintln(io.Stdout, found[0].PID)
			return err
		},
	}
}
