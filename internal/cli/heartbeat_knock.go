package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"procops/internal/fault"
	"procops/internal/heartbeat"
)

func knockCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "knock",
		Usage:     "read the status: exit code 0 ok, 1 warning, 2 critical, 3 unknown",
		ArgsUsage: "NAME...",
		Description: "Prints one line for each heartbeat, in the format of monitoring plugins (Nagios,\n" +
			"Icinga, Zabbix, Sensu); of several the worst comes first and makes the exit code.\n" +
			"Every knock is kept in the history. Whatever keeps it from finding out, such as an\n" +
			"unreadable state, is \"unknown\".\n\n" +
			examples("procops heartbeat knock backup", "procops heartbeat knock --all", "procops heartbeat knock --tag shop --json"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Usage: "knock at all heartbeats of the list"},
			&cli.StringSliceFlag{Name: "tag", Usage: "knock at all with this `LABEL`; with several, those with all"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			knocks, err := knock(c, io)
			if err != nil {
				fmt.Fprintf(io.Stdout, "UNKNOWN - %s\n", oneLine(err.Error()))
				printError(io.Stderr, err)
				return exit(heartbeat.Unknown.ExitCode())
			}
			if c.Bool(flagJSON) {
				err = printJSON(io.Stdout, knockViews(knocks))
			} else {
				err = printKnocks(io, knocks)
			}
			if cause := cannotPrint(io, err); cause != nil && !readerGone(io, err) {
				// The usual exit code for this, 1, would be read as a warning.
				printError(io.Stderr, fault.Wrap(fault.Failure, cause, "cannot write to standard output"))
				return exit(heartbeat.Unknown.ExitCode())
			}
			if err != nil {
				return err
			}
			return exit(worst(knocks).ExitCode())
		},
	}
}

func knock(c *cli.Context, io IO) (knocks []heartbeat.Knock, err error) {
	byList := c.Bool("all") || c.IsSet("tag")
	least, most := 1, -1
	if byList {
		least, most = 0, 0
	}
	names, err := args(c, least, most, "the NAME of a heartbeat, --all or --tag")
	if err != nil {
		return nil, err
	}
	err = withList(c, io, func(ctx context.Context, list *heartbeat.List) error {
		if byList {
			all, err := list.All(ctx, c.StringSlice("tag"))
			if err != nil {
				return err
			}
			for _, h := range all {
				names = append(names, h.Name)
			}
		}
		knocks, err = list.Knock(ctx, names...)
		return err
	})
	return knocks, err
}

func worst(knocks []heartbeat.Knock) heartbeat.Status {
	statuses := make([]heartbeat.Status, len(knocks))
	for i, k := range knocks {
		statuses[i] = k.Status
	}
	return heartbeat.Worst(statuses...)
}

// printKnocks writes one line for each knock, the worst first: what monitoring
// systems show is the first line.
func printKnocks(io IO, knocks []heartbeat.Knock) error {
	if len(knocks) == 0 {
		_, err := fmt.Fprintln(io.Stdout, "UNKNOWN - there is no heartbeat to knock at")
		return err
	}
	slices.SortStableFunc(knocks, func(a, b heartbeat.Knock) int {
		return cmp.Compare(severity(b.Status), severity(a.Status))
	})
	for _, k := range knocks {
		prefix := ""
		if len(knocks) > 1 {
			prefix = k.Heartbeat.Name + "_"
		}
		if _, err := fmt.Fprintln(io.Stdout, pluginLine(k, prefix)); err != nil {
			return err
		}
	}
	return nil
}

// severity orders statuses as heartbeat.Worst does.
func severity(s heartbeat.Status) int {
	return slices.Index([]heartbeat.Status{heartbeat.OK, heartbeat.Unknown, heartbeat.Warning, heartbeat.Critical}, s)
}

// pluginLine writes a knock as the Monitoring Plugins Development Guidelines
// have it: status, text, and after a bar the measurements with their thresholds.
// See https://www.monitoring-plugins.org/doc/guidelines.html.
func pluginLine(k heartbeat.Knock, prefix string) string {
	line := fmt.Sprintf("%s - %s: %s", strings.ToUpper(string(k.Status)), k.Heartbeat.Name,
		strings.ReplaceAll(oneLine(k.Message), "|", "/"))
	last := k.Heartbeat.Last
	if last == nil {
		return line
	}
	limits := k.Heartbeat.Thresholds
	line += fmt.Sprintf(" | %slag=%ss;%s;%s", prefix, inSeconds(k.Lag), inSeconds(limits.Warning), inSeconds(limits.Critical))
	if last.Client != (heartbeat.Client{}) {
		line += fmt.Sprintf(" %suptime=%ss %smemory=%dB", prefix, inSeconds(last.Client.Uptime), prefix, last.Client.Memory)
	}
	return line
}

// inSeconds writes a duration as a number of seconds, to the millisecond.
func inSeconds(d time.Duration) string {
	return strconv.FormatFloat(d.Round(time.Millisecond).Seconds(), 'f', -1, 64)
}
