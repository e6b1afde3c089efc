package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"procops/internal/fault"
	"procops/internal/heartbeat"
)

// What selects among the runs or the pings that are kept of a heartbeat.
const (
	flagNumber = "number"
	flagFailed = "failed"
	flagID     = "id"
)

// newestFlag is the flag of commands that show the newest of something.
func newestFlag(usage string, value int) cli.Flag {
	return &cli.IntFlag{Name: flagNumber, Aliases: []string{"n", "last"}, Usage: usage, Value: value}
}

func pingsCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "pings",
		Usage:     "what clients have said with their pings to procops serve",
		ArgsUsage: "NAME",
		Description: "The pings that came with a body, told of a failure or were for the log, the newest\n" +
			"last; the last hundred are kept, and the last 10 kB of each body. What only says\n" +
			"that all is well is a beat: see list. What commands have printed that heartbeat run\n" +
			"wraps is in runs.\n\n" +
			examples(
				"procops heartbeat pings backup",
				"procops heartbeat pings backup --failed -n 1 --body",
				"procops heartbeat pings backup --json",
			),
		Flags: []cli.Flag{
			newestFlag("at most the newest `N`; 0: all", 20),
			&cli.BoolFlag{Name: flagFailed, Usage: "only those that told of a failure"},
			&cli.Int64Flag{Name: flagID, Usage: "only the one with this `NUMBER`"},
			&cli.BoolFlag{Name: "body", Usage: "print the body of each, and nothing else"},
			jsonFlag(), utcFlag(),
		},
		Action: func(c *cli.Context) error {
			names, err := args(c, 1, 1, "the NAME of a heartbeat")
			if err != nil {
				return err
			}
			filter, err := keptFilter(c)
			if err != nil {
				return err
			}
			return withList(c, io, func(ctx context.Context, list *heartbeat.List) error {
				pings, err := list.Pings(ctx, names[0], filter)
				if err != nil {
					return err
				}
				return printKeptPings(c, io, names[0], pings)
			})
		},
	}
}

// keptFilter reads the flags that select among runs or pings.
func keptFilter(c *cli.Context) (heartbeat.KeptFilter, error) {
	f := heartbeat.KeptFilter{ID: c.Int64(flagID), Failed: c.Bool(flagFailed), Limit: c.Int(flagNumber)}
	if c.IsSet(flagID) && f.ID <= 0 {
		return f, fault.New(fault.Usage, "%s: --%s %d: want a number from 1 on", commandName(c), flagID, f.ID)
	}
	return f, checkNumber(c)
}

// checkNumber refuses a flag of newestFlag that asks for less than nothing.
func checkNumber(c *cli.Context) error {
	if n := c.Int(flagNumber); n < 0 {
		return fault.New(fault.Usage, "%s: --%s %d is negative", commandName(c), flagNumber, n)
	}
	return nil
}

func printKeptPings(c *cli.Context, io IO, name string, pings []heartbeat.KeptPing) error {
	switch {
	case c.Bool(flagJSON):
		views := make([]keptPingView, len(pings))
		for i, p := range pings {
			views[i] = keptPingViewOf(name, p)
		}
		return printJSON(io.Stdout, views)
	case c.Bool("body"):
		return printBodies(io, pings)
	}
	clock := newClock(c.Bool(flagUTC))
	t := newTable(io.Stdout, "ID", "TIME", "KIND", "CODE", "FROM", "LAST LINE")
	for _, p := range pings {
		var code string
		if p.HasCode {
			code = fmt.Sprint(p.ExitCode)
		}
		t.row(fmt.Sprint(p.ID), clock.format(p.Time), string(p.Kind), code, p.Source, lastLine(p.Body))
	}
	return t.flush()
}

// printBodies writes what clients said, each beginning on a line of its own. They come
// from afar: what a terminal would obey stays away from it.
func printBodies(io IO, pings []heartbeat.KeptPing) error {
	terminal := isTerminal(io.Stdout)
	for i, p := range pings {
		text := string(p.Body)
		if terminal {
			text = tame(text)
		}
		if i < len(pings)-1 && text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		if _, err := io.Stdout.WriteString(text); err != nil {
			return err
		}
	}
	return nil
}

// tame replaces the control characters of a text but for those that make lines and
// columns.
func tame(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, text)
}

// lastLineShown is how many characters of a body a table shows: most often its last
// line says what went wrong.
const lastLineShown = 60

func lastLine(body []byte) string {
	lines := strings.Split(strings.TrimSpace(string(body)), "\n")
	line := []rune(strings.TrimSpace(tame(lines[len(lines)-1])))
	if len(line) > lastLineShown {
		return string(line[:lastLineShown-1]) + "…"
	}
	return string(line)
}
