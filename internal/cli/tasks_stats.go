package cli

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"procops/internal/fault"
	"procops/internal/tasks"
	"procops/internal/unit"
)

const flagWindow = "window"

func tasksStatsCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:  "stats",
		Usage: "count tasks by type and state; how long they take, and how many a minute",
		Description: "The counts are of all tasks that are known here. RUNS, FAILED, the durations and the\n" +
			"rate are those of the tasks whose newest run has ended within --window.\n\n" +
			examples("procops tasks stats", "procops tasks stats --window 1d --type mail.send --json", "procops tasks stats --watch"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: flagWindow, Usage: "durations and rates of the last `TIME`", Value: "1h"},
			&cli.StringFlag{Name: "type", Usage: "only tasks of this `TYPE`"},
			&cli.BoolFlag{Name: flagWatch, Aliases: []string{"w"}, Usage: "show it again every second until Ctrl-C"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if _, err := args(c, 0, 0, ""); err != nil {
				return err
			}
			window, err := unit.ParseDuration(c.String(flagWindow))
			if err != nil || window == 0 {
				return fault.New(fault.Usage, "%s: --%s %q is not a time such as \"10m\"", commandName(c), flagWindow, c.String(flagWindow))
			}
			return withQueue(c, io, func(ctx context.Context, queue *tasks.Queue, _ tasks.Config) error {
				picture := func(ctx context.Context) ([]byte, error) {
					all, err := queue.Stats(ctx, c.String("type"), window)
					if err != nil {
						return nil, err
					}
					var out bytes.Buffer
					if c.Bool(flagJSON) {
						err = printJSON(&out, statsViews(all))
					} else {
						err = printStats(&out, all)
					}
					return out.Bytes(), err
				}
				if c.Bool(flagWatch) {
					return watch(ctx, io, picture)
				}
				text, err := picture(ctx)
				if err != nil {
					return err
				}
				if _, err = io.Stdout.Write(text); err != nil || c.Bool(flagJSON) {
					return err
				}
				return notePaused(ctx, io, queue)
			})
		},
	}
}

func printStats(out *bytes.Buffer, all []tasks.Stats) error {
	headings := []string{"TYPE"}
	for _, s := range tasks.States() {
		headings = append(headings, strings.ToUpper(string(s)))
	}
	t := newTable(out, append(headings, "RUNS", "FAILED", "MEDIAN", "P95", "MAX", "DONE/MIN")...)
	for i := range all {
		s := &all[i]
		cells := []string{s.Type}
		for _, state := range tasks.States() {
			cells = append(cells, strconv.Itoa(s.States[state]))
		}
		cells = append(cells, strconv.Itoa(s.Completed+s.Failed), strconv.Itoa(s.Failed))
		for _, d := range []time.Duration{s.Median, s.P95, s.Max} {
			text := ""
			if s.Completed+s.Failed > 0 {
				text = d.Round(100 * time.Microsecond).String()
			}
			cells = append(cells, text)
		}
		t.row(append(cells, fmt.Sprintf("%.1f", s.PerMinute))...)
	}
	return t.flush()
}

// statsView is what stats --json prints of a type. It is an interface: fields are added,
// never renamed.
type statsView struct {
	Type      string              `json:"type"`
	States    map[tasks.State]int `json:"states"`
	Completed int                 `json:"completed"`
	Failed    int                 `json:"failed"`
	Median    float64             `json:"median_seconds"`
	P95       float64             `json:"p95_seconds"`
	Max       float64             `json:"max_seconds"`
	PerMinute float64             `json:"completed_per_minute"`
}

func statsViews(all []tasks.Stats) []statsView {
	views := make([]statsView, len(all))
	for i, s := range all {
		for _, state := range tasks.States() {
			s.States[state] += 0 // each is there
		}
		views[i] = statsView{
			Type: s.Type, States: s.States, Completed: s.Completed, Failed: s.Failed,
			Median: s.Median.Seconds(), P95: s.P95.Seconds(), Max: s.Max.Seconds(), PerMinute: s.PerMinute,
		}
	}
	return views
}
