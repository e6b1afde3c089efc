package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"procops/internal/app"
	"procops/internal/cron"
	"procops/internal/fault"
	"procops/internal/heartbeat"
	"procops/internal/logging"
	"procops/internal/unit"
)

func heartbeatCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:  "heartbeat",
		Usage: "is it alive? beat, knock, and wrap cron jobs",
		Description: "A client beats; whoever wants to know knocks. The age of the last beat says\n" +
			"whether the heartbeat is ok, a warning or critical.\n\n" +
			examples(
				"procops heartbeat run backup -- ./backup.sh   # in a crontab",
				"procops heartbeat knock backup                # in a monitoring system",
				"procops heartbeat list",
			),
		Subcommands: []*cli.Command{
			attachCommand(io), detachCommand(io), listCommand(io),
			beatCommand(io), knockCommand(io), historyCommand(io),
			heartbeatRunCommand(io), runsCommand(io), pingsCommand(io),
			monitorCommand(io), heartbeatStatusCommand(io), pauseCommand(io), resumeCommand(io),
		},
	}
}

// withList calls fn with the list of heartbeats and closes the state.
func withList(c *cli.Context, io IO, fn func(context.Context, *heartbeat.List) error) (err error) {
	a, err := openApp(c, io, "heartbeat", brief)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close(c.Context)) }()
	list, err := a.Heartbeats(c.Context)
	if err != nil {
		return err
	}
	return fn(c.Context, list)
}

// lifetime says how long a command uses procops.
type lifetime bool

const (
	brief   lifetime = true // does one thing and ends
	lasting lifetime = false
)

// openApp opens procops for a command that speaks as source.
func openApp(c *cli.Context, io IO, source string, l lifetime) (*app.App, error) {
	return app.Open(appOptions(c, io, source, l))
}

func appOptions(c *cli.Context, io IO, source string, l lifetime) app.Options {
	return app.Options{
		Source: source, Config: c.String(flagConfig), StateDir: c.String(flagStateDir), Getenv: io.Getenv,
		Brief: l == brief, Log: warnings(io),
	}
}

// warnings returns the log of a command that has no other: it tells people what has not
// stopped it.
func warnings(io IO) zerolog.Logger {
	log, err := logging.New(io.Stderr, zerolog.LevelWarnValue, logging.FormatConsole)
	if err != nil {
		return zerolog.Nop() // the level is a known one
	}
	return log
}

const (
	flagTag  = "tag"
	flagJSON = "json"
	flagUTC  = "utc"
)

func jsonFlag() cli.Flag { return &cli.BoolFlag{Name: flagJSON, Usage: "print JSON"} }

func utcFlag() cli.Flag {
	return &cli.BoolFlag{Name: flagUTC, Usage: "print times in UTC instead of the local zone"}
}

func attachCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "attach",
		Usage:     "add a heartbeat to the list of observed ones",
		ArgsUsage: "NAME",
		Description: "A heartbeat that a [heartbeat.NAME] section of the config declares is in the\n" +
			"list already.\n\n" +
			examples(
				"procops heartbeat attach backup --period 1d",
				"procops heartbeat attach report --schedule '0 3 * * *' --timezone Europe/Berlin --grace 30m",
				"procops heartbeat attach queue --warn-after 30s --critical-after 2m --tag shop",
			),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "description", Usage: "`TEXT` for people: what beats"},
			&cli.StringSliceFlag{Name: "tag", Usage: "`LABEL` that list and knock can select by; may be repeated"},
			&cli.StringFlag{Name: "period", Usage: "expected `TIME` between two beats, such as 5m or 1d (default: default_period of the config)"},
			&cli.StringFlag{Name: "warn-after", Usage: "a last beat older than this `TIME` is a warning (default: 1.5 periods)"},
			&cli.StringFlag{Name: "critical-after", Usage: "a last beat older than this `TIME` is critical (default: 3 periods)"},
			&cli.StringFlag{Name: "schedule", Usage: "a beat is expected at the times of this cron `EXPRESSION`, instead of once a period"},
			&cli.StringFlag{Name: "timezone", Usage: "time `ZONE` of the schedule, such as Europe/Berlin (default: that of the machine)"},
			&cli.StringFlag{Name: "grace", Usage: "a beat that is overdue by more than this `TIME` is critical"},
			&cli.StringFlag{Name: "max-runtime", Usage: "a run that takes longer than this `TIME` is a failure (default: the grace, else critical-after)"},
			&cli.IntFlag{Name: "alert-after", Usage: "tell of the `N`th failure in a row", DefaultText: "1"},
			&cli.BoolFlag{Name: "detach-on-critical", Usage: "take it off the list when it is down, after on_attack of the config"},
			&cli.StringFlag{Name: "repeat-every", Usage: "tell again every `TIME` while it is down"},
			&cli.StringFlag{Name: "min-interval", Usage: "beats that follow the last one within this `TIME` are too fast"},
			&cli.StringFlag{Name: "on-fast", Usage: "what becomes of those: `coalesce` (count them only) or refuse", Value: "coalesce"},
			&cli.StringFlag{Name: "storage", Usage: "`DIR`ectory whose file NAME.json holds the last beat for programs other than procops"},
		},
		Action: func(c *cli.Context) error {
			names, err := args(c, 1, 1, "the NAME of a heartbeat")
			if err != nil {
				return err
			}
			target, err := targetOf(c)
			if err != nil {
				return err
			}
			return withList(c, io, func(ctx context.Context, list *heartbeat.List) error {
				if err := list.Attach(ctx, names[0], target); err != nil {
					return err
				}
				_, err := fmt.Fprintf(io.Stdout, "attached %s\n", names[0])
				return err
			})
		},
	}
}

// targetOf reads the flags of attach.
func targetOf(c *cli.Context) (heartbeat.Target, error) {
	target := heartbeat.Target{
		Description: c.String("description"), Tags: c.StringSlice("tag"),
		Timezone: c.String("timezone"), AlertAfter: c.Int("alert-after"), DetachDown: c.Bool("detach-on-critical"),
	}
	if c.Int("alert-after") < 0 {
		return target, fault.New(fault.Usage, "%s: --alert-after must be at least 1", commandName(c))
	}
	if text := c.String("schedule"); text != "" {
		target.Schedule = new(cron.Expression)
		if err := target.Schedule.UnmarshalText([]byte(text)); err != nil {
			return target, fault.Wrap(fault.Usage, err, "%s: --schedule %q", commandName(c), text)
		}
	}
	if dir := c.String("storage"); dir != "" {
		absolute, err := filepath.Abs(dir)
		if err != nil {
			return target, fault.Wrap(fault.Failure, err, "%s: cannot find --storage %q", commandName(c), dir)
		}
		target.Storage = absolute
	}
	for name, into := range map[string]interface{ UnmarshalText([]byte) error }{
		"period":         &target.Period,
		"warn-after":     &target.WarnAfter,
		"critical-after": &target.CriticalAfter,
		"grace":          &target.Grace,
		"max-runtime":    &target.MaxRuntime,
		"repeat-every":   &target.RepeatEvery,
		"min-interval":   &target.MinInterval,
		"on-fast":        &target.OnFast,
	} {
		if text := c.String(name); text != "" {
			if err := into.UnmarshalText([]byte(text)); err != nil {
				return target, fault.Wrap(fault.Usage, err, "%s: --%s", commandName(c), name)
			}
		}
	}
	return target, nil
}

func detachCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "detach",
		Usage:     "remove a heartbeat from the list of observed ones",
		ArgsUsage: "NAME",
		Description: "Its last beat is forgotten, its history stays.\n\n" +
			examples("procops heartbeat detach backup", "procops heartbeat detach --all"),
		Flags: []cli.Flag{&cli.BoolFlag{Name: "all", Usage: "remove all that were attached; those of the config stay"}},
		Action: func(c *cli.Context) error {
			least := 1
			if c.Bool("all") {
				least = 0
			}
			names, err := args(c, least, least, "the NAME of a heartbeat, or --all")
			if err != nil {
				return err
			}
			return withList(c, io, func(ctx context.Context, list *heartbeat.List) error {
				if c.Bool("all") {
					names, err = list.DetachAll(ctx)
				} else {
					err = list.Detach(ctx, names[0])
				}
				if err != nil {
					return err
				}
				for _, name := range names {
					if _, err := fmt.Fprintf(io.Stdout, "detached %s\n", name); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

func listCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "list",
		Usage:     "list the observed heartbeats",
		ArgsUsage: "[NAME...]",
		Description: "Shows the status as a knock would find it, without knocking.\n\n" +
			examples("procops heartbeat list", "procops heartbeat list --tag shop --json"),
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "tag", Usage: "only those with this `LABEL`; with several, those with all"},
			jsonFlag(), utcFlag(),
		},
		Action: func(c *cli.Context) error {
			names, err := args(c, 0, -1, "")
			if err != nil {
				return err
			}
			return withList(c, io, func(ctx context.Context, list *heartbeat.List) error {
				all, err := list.Select(ctx, names, c.StringSlice("tag"))
				if err != nil {
					return err
				}
				if c.Bool(flagJSON) {
					return printJSON(io.Stdout, viewsOf(all, time.Now()))
				}
				return printList(io, all, newClock(c.Bool(flagUTC)))
			})
		},
	}
}

func printList(io IO, all []heartbeat.Heartbeat, clock clock) error {
	now := time.Now()
	t := newTable(io.Stdout, "NAME", "STATUS", "LAST BEAT", "LAG", "NUMBER", "WARN", "CRITICAL", "FROM", "TAGS", "DESCRIPTION")
	for _, h := range all {
		var last, lag, number string
		if h.Last != nil {
			last, lag, number = clock.format(h.Last.Time), h.Last.Lag(now).Round(time.Second).String(), fmt.Sprint(h.Last.Number)
		}
		status, _ := h.Status(now)
		t.row(h.Name, string(status), last, lag, number,
			unit.Duration(h.Thresholds.Warning).String(), unit.Duration(h.Thresholds.Critical).String(),
			origin(h), strings.Join(h.Target.Tags, ","), h.Target.Description)
	}
	return t.flush()
}

// origin says which kind of entry of the list h is.
func origin(h heartbeat.Heartbeat) string {
	if h.Declared {
		return "config"
	}
	return "attached"
}
