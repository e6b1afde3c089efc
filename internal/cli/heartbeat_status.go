package cli

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"procops/internal/heartbeat"
	"procops/internal/unit"
)

func heartbeatStatusCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "status",
		Usage:     "show the state of the heartbeats",
		ArgsUsage: "[NAME...]",
		Description: "Shows for each heartbeat its state (new, up, late, down, started or paused), its last\n" +
			"beat and when the next one is due, without knocking.\n\n" +
			"Exit codes: 0 all is well, 1 something is late, 2 something is down.\n\n" +
			examples("procops heartbeat status", "procops heartbeat status backup", "procops heartbeat status --failing", "procops heartbeat status --watch --tag shop"),
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "tag", Usage: "only those with this `LABEL`; with several, those with all"},
			&cli.BoolFlag{Name: "failing", Usage: "only those that are late or down"},
			&cli.BoolFlag{Name: flagWatch, Aliases: []string{"w"}, Usage: "show it again every second until Ctrl-C"},
			jsonFlag(), utcFlag(),
		},
		Action: func(c *cli.Context) error {
			names, err := args(c, 0, -1, "")
			if err != nil {
				return err
			}
			return withList(c, io, func(ctx context.Context, list *heartbeat.List) error {
				show := heartbeatsView{
					list: list, names: names, tags: c.StringSlice("tag"), failing: c.Bool("failing"),
					json: c.Bool(flagJSON), clock: newClock(c.Bool(flagUTC)),
				}
				if c.Bool(flagWatch) {
					return watch(ctx, io, func(ctx context.Context) ([]byte, error) {
						text, _, err := show.picture(ctx)
						return text, err
					})
				}
				text, worst, err := show.picture(ctx)
				if err != nil {
					return err
				}
				if _, err := io.Stdout.Write(text); err != nil {
					return err
				}
				if err := hintUnattended(ctx, io, list); err != nil {
					return err
				}
				return exit(worst)
			})
		},
	}
}

// hintUnattended tells who looks that nobody else does, where the config counts on a
// monitor.
func hintUnattended(ctx context.Context, io IO, list *heartbeat.List) error {
	unattended, err := list.Unattended(ctx)
	if unattended {
		fmt.Fprintln(io.Stderr, "procops: hint: no monitor runs, so on_attack is not done: start `procops heartbeat monitor`")
	}
	return err
}

// heartbeatsView shows the state of some heartbeats.
type heartbeatsView struct {
	list    *heartbeat.List
	names   []string // none: all
	tags    []string
	failing bool
	json    bool
	clock   clock
}

// picture returns what is shown, and the exit code of the worst of it.
func (v heartbeatsView) picture(ctx context.Context) (text []byte, worst int, err error) {
	all, err := v.list.Select(ctx, v.names, v.tags)
	if err != nil {
		return nil, 0, err
	}
	now := time.Now()
	codes := map[heartbeat.State]int{
		heartbeat.StateLate: heartbeat.Warning.ExitCode(), heartbeat.StateDown: heartbeat.Critical.ExitCode(),
	}
	for i := range all {
		all[i] = all[i].At(now)
		worst = max(worst, codes[all[i].State])
	}
	if v.failing {
		all = slices.DeleteFunc(all, func(h heartbeat.Heartbeat) bool {
			return h.State != heartbeat.StateLate && h.State != heartbeat.StateDown
		})
	}
	var out bytes.Buffer
	if v.json {
		err = printJSON(&out, viewsOf(all, now))
	} else {
		err = v.print(&out, all, now)
	}
	return out.Bytes(), worst, err
}

func (v heartbeatsView) print(out *bytes.Buffer, all []heartbeat.Heartbeat, now time.Time) error {
	t := newTable(out, "NAME", "STATE", "LAST BEAT", "NEXT", "LAG", "PERIOD", "TAGS", "MESSAGE")
	for _, h := range all {
		var last, lag string
		if h.Last != nil {
			last, lag = v.clock.format(h.Last.Time), unit.Duration(h.Last.Lag(now).Round(time.Second)).String()
		}
		_, message := h.Status(now)
		t.row(h.Name, string(h.State), last, v.clock.format(h.Next()), lag, h.Rhythm(), strings.Join(h.Target.Tags, ","), message)
	}
	return t.flush()
}
