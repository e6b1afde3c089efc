package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"procops/internal/fault"
	"procops/internal/heartbeat"
	"procops/internal/unit"
)

func pauseCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "pause",
		Usage:     "expect nothing of a heartbeat for a while",
		ArgsUsage: "NAME",
		Description: "While it is paused nobody is told that it is late or down. The next beat ends the\n" +
			"pause, as do the time of --for or --until and resume; nobody is told of that either.\n\n" +
			examples("procops heartbeat pause backup", "procops heartbeat pause backup --for 2h", "procops heartbeat pause backup --until 2099-01-01"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "for", Usage: "for this `TIME`, such as 2h"},
			&cli.StringFlag{Name: "until", Usage: "until this `DATE` or time"},
		},
		Action: func(c *cli.Context) error {
			names, err := args(c, 1, 1, "the NAME of a heartbeat")
			if err != nil {
				return err
			}
			until, err := pauseEnd(c)
			if err != nil {
				return err
			}
			return withList(c, io, func(ctx context.Context, list *heartbeat.List) error {
				if err := list.Pause(ctx, names[0], until); err != nil {
					return err
				}
				text := "paused " + names[0]
				if !until.IsZero() {
					text += " until " + newClock(false).format(until)
				}
				_, err := fmt.Fprintln(io.Stdout, text)
				return err
			})
		},
	}
}

// pauseEnd reads --for and --until; zero: neither.
func pauseEnd(c *cli.Context) (time.Time, error) {
	span, at := c.String("for"), c.String("until")
	switch {
	case span != "" && at != "":
		return time.Time{}, fault.New(fault.Usage, "%s: --for and --until say the same: want one of them", commandName(c))
	case span != "":
		d, err := unit.ParseDuration(span)
		if err != nil {
			return time.Time{}, fault.Wrap(fault.Usage, err, "%s: --for", commandName(c))
		}
		return time.Now().Add(d), nil
	case at != "":
		until, ok := parseTime(at, time.Local)
		if !ok {
			return time.Time{}, fault.New(fault.Usage, "%s: --until %q: want a date or a time, such as 2099-01-31 or \"2099-01-31 12:00\"", commandName(c), at)
		}
		return until, nil
	default:
		return time.Time{}, nil
	}
}

func resumeCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:        "resume",
		Usage:       "end the pause of a heartbeat",
		ArgsUsage:   "NAME",
		Description: "It is new again: the next beat is waited for as the first one was.\n\n" + examples("procops heartbeat resume backup"),
		Action: func(c *cli.Context) error {
			names, err := args(c, 1, 1, "the NAME of a heartbeat")
			if err != nil {
				return err
			}
			return withList(c, io, func(ctx context.Context, list *heartbeat.List) error {
				if err := list.Resume(ctx, names[0]); err != nil {
					return err
				}
				_, err := fmt.Fprintf(io.Stdout, "resumed %s\n", names[0])
				return err
			})
		},
	}
}
