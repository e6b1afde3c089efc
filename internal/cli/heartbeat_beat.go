package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"procops/internal/fault"
	"procops/internal/heartbeat"
)

func beatCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "beat",
		Usage:     "record a beat: time, run time, memory and a running number",
		ArgsUsage: "NAME",
		Description: "Run time and memory are those of the process that calls procops, or of --pid.\n" +
			"Says nothing when all is well, so that it can stand in a crontab.\n\n" +
			examples(
				"procops heartbeat beat queue",
				"procops heartbeat beat queue --pid $(cat /run/queue.pid) --data jobs=17",
				"procops heartbeat beat new-one --create",
				"procops heartbeat beat queue --fail --message 'no connection to the database'",
			),
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "pid", Usage: "the `PROCESS` that beats", DefaultText: "the one that calls procops"},
			dataFlag(), dataJSONFlag(),
			&cli.BoolFlag{Name: "fail", Usage: "bad news: the client has failed"},
			&cli.StringFlag{Name: "message", Aliases: []string{"m"}, Usage: "with --fail: `TEXT` that says why"},
			&cli.BoolFlag{Name: "create", Usage: "attach the heartbeat if it is not in the list"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			names, err := args(c, 1, 1, "the NAME of a heartbeat")
			if err != nil {
				return err
			}
			sign := heartbeat.Sign{Create: c.Bool("create"), Failed: c.Bool("fail"), Why: c.String("message")}
			if sign.Why != "" && !sign.Failed {
				return fault.New(fault.Usage, "%s: --message needs --fail", commandName(c)).
					WithHint("what goes with a beat is --data KEY=TEXT")
			}
			if sign.Data, err = dataOf(c); err != nil {
				return err
			}
			if sign.Client, err = clientOf(c); err != nil {
				return err
			}
			return withList(c, io, func(ctx context.Context, list *heartbeat.List) error {
				receipt, err := list.Beat(ctx, names[0], sign)
				if err != nil || !c.Bool(flagJSON) {
					return err
				}
				return printJSON(io.Stdout, receiptView{
					Name: names[0], Number: receipt.Number, Time: receipt.Time,
					Created: receipt.Created, Coalesced: receipt.Coalesced,
				})
			})
		},
	}
}

// receiptView is what beat --json prints.
type receiptView struct {
	Name      string    `json:"name"`
	Number    int64     `json:"number"`
	Time      time.Time `json:"time"`
	Created   bool      `json:"created"`
	Coalesced bool      `json:"coalesced"`
}

// clientOf reads the process that beats. The one that calls procops may be out
// of sight, in another PID namespace: then nothing is known of it.
func clientOf(c *cli.Context) (heartbeat.Client, error) {
	if !c.IsSet("pid") {
		client, err := heartbeat.ReadClient(os.Getppid())
		if err != nil {
			return heartbeat.Client{}, nil //nolint:nilerr // a beat counts without it
		}
		return client, nil
	}
	pid := c.Int("pid")
	if pid <= 0 {
		return heartbeat.Client{}, fault.New(fault.Usage, "%s: --pid %d is not a process", commandName(c), pid)
	}
	client, err := heartbeat.ReadClient(pid)
	if err != nil {
		return heartbeat.Client{}, fault.Wrap(fault.NotFound, err, "cannot beat for process %d", pid)
	}
	return client, nil
}

func dataFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "data", Usage: "a field of the data, as `KEY=TEXT`; may be repeated"}
}

func dataJSONFlag() cli.Flag {
	return &cli.StringFlag{Name: "data-json", Usage: "the data as a JSON `OBJECT`"}
}

// dataOf reads --data and --data-json.
func dataOf(c *cli.Context) (map[string]any, error) {
	var data map[string]any
	if text := c.String("data-json"); text != "" {
		if err := json.Unmarshal([]byte(text), &data); err != nil {
			return nil, fault.Wrap(fault.Usage, err, "%s: --data-json is not a JSON object", commandName(c))
		}
	}
	for _, pair := range c.StringSlice("data") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, fault.New(fault.Usage, "%s: --data %q is not of the form KEY=TEXT", commandName(c), pair)
		}
		if data == nil {
			data = map[string]any{}
		}
		data[key] = value
	}
	return data, nil
}

func historyCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "history",
		Usage:     "what the knocks at a heartbeat have found",
		ArgsUsage: "NAME",
		Description: "One entry for each knock, the newest last. history_keep and history_max_age in\n" +
			"the section [heartbeat] of the config say how many are kept.\n\n" +
			examples("procops heartbeat history backup", "procops heartbeat history backup --since 1d --json"),
		Flags: []cli.Flag{
			newestFlag("at most the newest `N`; 0: all", 50),
			sinceFlag("only knocks"), jsonFlag(), utcFlag(),
		},
		Action: func(c *cli.Context) error {
			names, err := args(c, 1, 1, "the NAME of a heartbeat")
			if err != nil {
				return err
			}
			if err := checkNumber(c); err != nil {
				return err
			}
			filter := heartbeat.HistoryFilter{Limit: c.Int(flagNumber)}
			if filter.Since, err = sinceOf(c); err != nil {
				return err
			}
			return withList(c, io, func(ctx context.Context, list *heartbeat.List) error {
				entries, err := list.History(ctx, names[0], filter)
				if err != nil {
					return err
				}
				if c.Bool(flagJSON) {
					return printJSON(io.Stdout, entryViews(entries))
				}
				clock := newClock(c.Bool(flagUTC))
				t := newTable(io.Stdout, "TIME", "STATUS", "LAG", "MESSAGE", "ID")
				for _, e := range entries {
					var lag string
					if e.HasLag {
						lag = e.Lag.Round(time.Second).String()
					}
					t.row(clock.format(e.Time), string(e.Status), lag, e.Message, fmt.Sprint(e.ID))
				}
				return t.flush()
			})
		},
	}
}
