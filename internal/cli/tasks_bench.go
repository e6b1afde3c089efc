package cli

import (
	"errors"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"procops/internal/app"
	"procops/internal/fault"
	"procops/internal/tasks"
)

func tasksBenchCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:  "bench",
		Usage: "measure a broker",
		Description: "Pushes tasks that do nothing and works them off in this process: next to nothing but\n" +
			"the queue and the records is measured. That happens beside the queue that the config\n" +
			"has, on the same disk or server, and nothing is left of it.\n\n" +
			"Exit codes: 0 done, 1 it cannot be done.\n\n" +
			examples("procops tasks bench", "procops tasks bench --broker redis --tasks 100000 --workers 10 --json"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "broker", Usage: "the broker with this `NAME` (default: the most important one)"},
			&cli.IntFlag{Name: "tasks", Aliases: []string{"n"}, Usage: "`N` tasks", Value: 20_000},
			&cli.IntFlag{Name: "batch", Usage: "push `N` of them in one call", Value: pushAtOnce},
			&cli.IntFlag{Name: "workers", Aliases: []string{"w"}, Usage: "`N` run at once", Value: 10},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error { return benchTasks(c, io) },
	}
}

// maxBenchTasks is the most that bench is asked for.
const maxBenchTasks = 100_000_000

// tasksBenchOf reads the flags.
func tasksBenchOf(c *cli.Context) (opt app.TasksBench, err error) {
	opt.Broker = c.String("broker")
	for _, flag := range []struct {
		name string
		most int
		to   *int
	}{
		{"tasks", maxBenchTasks, &opt.Tasks},
		{"batch", maxBenchTasks, &opt.Together},
		{"workers", maxBenchConnections, &opt.Workers},
	} {
		if *flag.to = c.Int(flag.name); *flag.to < 1 || *flag.to > flag.most {
			return opt, fault.New(fault.Usage, "%s: --%s must be at least 1 and at most %d", commandName(c), flag.name, flag.most)
		}
	}
	return opt, nil
}

func benchTasks(c *cli.Context, io IO) (err error) {
	if _, err := args(c, 0, 0, ""); err != nil {
		return err
	}
	opt, err := tasksBenchOf(c)
	if err != nil {
		return err
	}
	a, err := openApp(c, io, "tasks", brief)
	if err != nil {
		return err
	}
	ctx, done := io.untilSignal(c.Context)
	defer done()
	defer func() { err = errors.Join(err, a.Close(c.Context)) }()
	m, err := a.BenchTasks(ctx, opt)
	if err != nil {
		return err
	}
	return printMeasurement(c, io, m)
}

// measurementView is a measurement in JSON. It is an interface: fields are added, never
// renamed.
type measurementView struct {
	Tasks     int     `json:"tasks"`
	Push      float64 `json:"push_seconds"`
	PushRate  float64 `json:"pushed_per_second"`
	Work      float64 `json:"work_seconds"`
	WorkRate  float64 `json:"worked_per_second"`
	EndToEnd  float64 `json:"seconds"`
	TotalRate float64 `json:"per_second"` // pushed and worked off
}

func printMeasurement(c *cli.Context, io IO, m tasks.Measurement) error {
	rate := func(d time.Duration) float64 { return float64(m.Tasks) / max(d, time.Nanosecond).Seconds() }
	if c.Bool(flagJSON) {
		total := m.Pushed + m.Worked
		return printJSON(io.Stdout, measurementView{
			Tasks: m.Tasks, Push: m.Pushed.Seconds(), PushRate: rate(m.Pushed), Work: m.Worked.Seconds(), WorkRate: rate(m.Worked),
			EndToEnd: total.Seconds(), TotalRate: rate(total),
		})
	}
	t := newTable(io.Stdout, "WHAT", "TASKS", "TIME", "TASKS/S")
	for _, row := range []struct {
		what string
		took time.Duration
	}{{"push", m.Pushed}, {"work", m.Worked}, {"both", m.Pushed + m.Worked}} {
		t.row(row.what, strconv.Itoa(m.Tasks), shortTime(row.took), strconv.FormatFloat(rate(row.took), 'f', 0, 64))
	}
	return t.flush()
}
