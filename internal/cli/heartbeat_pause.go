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
		Usage:     "expect nothing of heartbeats for a while",
		ArgsUsage: "NAME...",
		Description: "While it is paused nobody is told that it is late or down. The next beat ends the\n" +
			"pause, as do the time of --for or --until and resume; nobody is told of that either.\n\n" +
			examples("procops heartbeat pause backup --for 2h", "procops heartbeat pause --tag db --until 2099-01-01", "procops heartbeat pause --all"),
		Flags: []cli.Flag{
			allFlag("pause all heartbeats of the list"), tagFlag("pause all with this `LABEL`; with several, those with all"),
			&cli.StringFlag{Name: "for", Usage: "for this `TIME`, such as 2h"},
			&cli.StringFlag{Name: "until", Usage: "until this `TIME`, such as 06:00, 2099-01-31 or \"2099-01-31 12:00\""},
		},
		Action: func(c *cli.Context) error {
			until, err := pauseEnd(c)
			if err != nil {
				return err
			}
			return withSelected(c, io, func(ctx context.Context, list *heartbeat.List, h heartbeat.Heartbeat) error {
				if err := list.Pause(ctx, h.Name, until); err != nil {
					return err
				}
				text := "paused " + h.Name
				if !until.IsZero() {
					text += " until " + newClock(false).format(until)
				}
				_, err := fmt.Fprintln(io.Stdout, text)
				return err
			})
		},
	}
}

func tagFlag(usage string) cli.Flag { return &cli.StringSliceFlag{Name: flagTag, Usage: usage} }

// withSelected calls fn for each heartbeat that the command line names or selects by
// --all or --tag, one after the other; for none if a name is not in the list.
func withSelected(c *cli.Context, io IO, fn func(context.Context, *heartbeat.List, heartbeat.Heartbeat) error) error {
	least, most := 1, -1
	if bySelection(c) {
		least, most = 0, 0
	}
	names, err := args(c, least, most, "the NAME of a heartbeat, --all or --tag")
	if err != nil {
		return err
	}
	return withList(c, io, func(ctx context.Context, list *heartbeat.List) error {
		selected, err := list.Select(ctx, names, c.StringSlice(flagTag))
		if err != nil {
			return err
		}
		for _, h := range selected {
			if err := fn(ctx, list, h); err != nil {
				return err
			}
		}
		return nil
	})
}

// bySelection reports whether heartbeats are selected and not named.
func bySelection(c *cli.Context) bool { return c.Bool(flagAll) || c.IsSet(flagTag) }

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
		if until, ok := nextTime(at, time.Now()); ok {
			return until, nil
		}
		until, ok := parseTime(at, time.Local)
		if !ok {
			return time.Time{}, fault.New(fault.Usage, "%s: --until %q: want a date or a time, such as 06:00, 2099-01-31 or \"2099-01-31 12:00\"", commandName(c), at)
		}
		return until, nil
	default:
		return time.Time{}, nil
	}
}

// nextTime reads a time of day, and returns when it comes next.
func nextTime(text string, now time.Time) (time.Time, bool) {
	of, err := time.Parse("15:04", text)
	if err != nil {
		return time.Time{}, false
	}
	at := func(days int) time.Time {
		return time.Date(now.Year(), now.Month(), now.Day()+days, of.Hour(), of.Minute(), 0, 0, now.Location())
	}
	if at(0).After(now) {
		return at(0), true
	}
	return at(1), true
}

func resumeCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "resume",
		Usage:     "end the pause of heartbeats",
		ArgsUsage: "NAME...",
		Description: "They are new again: the next beat is waited for as the first one was.\n\n" +
			examples("procops heartbeat resume backup", "procops heartbeat resume --all"),
		Flags: []cli.Flag{
			allFlag("resume all that are paused"), tagFlag("resume all with this `LABEL` that are paused; with several, those with all"),
		},
		Action: func(c *cli.Context) error {
			return withSelected(c, io, func(ctx context.Context, list *heartbeat.List, h heartbeat.Heartbeat) error {
				if bySelection(c) && h.At(time.Now()).State != heartbeat.StatePaused {
					return nil
				}
				if err := list.Resume(ctx, h.Name); err != nil {
					return err
				}
				_, err := fmt.Fprintf(io.Stdout, "resumed %s\n", h.Name)
				return err
			})
		},
	}
}
