package cli

import (
	"fmt"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"procops/internal/fault"
	"procops/internal/gearman"
	"procops/internal/gearman/bench"
	"procops/internal/unit"
)

func workerBenchCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "bench",
		Usage:     "measure a job server",
		ArgsUsage: "[MODE...]",
		Description: "Speaks the protocol itself, so that next to nothing but the server is measured:\n\n" +
			"  submit      background jobs are submitted\n" +
			"  drain       workers do queued jobs\n" +
			"  foreground  clients wait for jobs that workers do\n\n" +
			"Without a MODE all of them, one after the other. The latency is that of one job: until\n" +
			"it is accepted, between a worker's question and the job, until the result is there.\n" +
			"The jobs are those of a function of their own, procops-bench-..., and nothing is left\n" +
			"of them afterwards, also after Ctrl-C. The first server is measured.\n\n" +
			"Exit codes: 0 done, 1 the server refuses a job, 5 it does not answer.\n\n" +
			examples(
				"procops worker bench",
				"procops worker bench submit --jobs 100000 --in-flight 64 --size 4K",
				"procops worker bench foreground --connections 16 --workers 8 --server queue2 --json",
			),
		Flags: []cli.Flag{
			serverFlag(),
			&cli.IntFlag{Name: "jobs", Aliases: []string{"n"}, Usage: "`N` jobs in each mode", Value: 20_000},
			&cli.StringFlag{Name: "size", Usage: "`SIZE` of a workload, such as 100 or 4K", Value: "100"},
			&cli.IntFlag{Name: "connections", Aliases: []string{"c"}, Usage: "clients submit by `N` connections", Value: 4},
			&cli.IntFlag{Name: "workers", Aliases: []string{"w"}, Usage: "`N` workers, each with a connection", Value: 4},
			&cli.IntFlag{Name: "in-flight", Aliases: []string{"i"}, Usage: "a client has `N` jobs on their way at once", Value: 1},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error { return workerBench(c, io) },
	}
}

// The most that bench is asked for.
const (
	maxBenchJobs        = 100_000_000
	maxBenchConnections = 10_000
	maxBenchSize        = 1 << 30
)

// benchOptions reads the flags.
func benchOptions(c *cli.Context) (opt bench.Options, modes []bench.Mode, err error) {
	for _, flag := range []struct {
		name string
		most int
		to   *int
	}{
		{"jobs", maxBenchJobs, &opt.Jobs},
		{"connections", maxBenchConnections, &opt.Connections},
		{"workers", maxBenchConnections, &opt.Workers},
		{"in-flight", maxBenchConnections, &opt.InFlight},
	} {
		if *flag.to = c.Int(flag.name); *flag.to < 1 || *flag.to > flag.most {
			return opt, nil, fault.New(fault.Usage, "%s: --%s must be at least 1 and at most %d", commandName(c), flag.name, flag.most)
		}
	}
	size, err := unit.ParseSize(c.String("size"))
	if err != nil {
		return opt, nil, fault.Wrap(fault.Usage, err, "%s: --size", commandName(c))
	}
	if size > maxBenchSize {
		return opt, nil, fault.New(fault.Usage, "%s: --size must be at most %s", commandName(c), unit.Size(maxBenchSize))
	}
	opt.Size = int(size.Bytes())
	for _, word := range c.Args().Slice() {
		mode := bench.Mode(word)
		if mode != bench.ModeSubmit && mode != bench.ModeDrain && mode != bench.ModeForeground {
			return opt, nil, fault.New(fault.Usage, "%s: there is no mode %q, only submit, drain and foreground", commandName(c), word)
		}
		modes = append(modes, mode)
	}
	if len(modes) == 0 {
		modes = bench.Modes()
	}
	return opt, modes, nil
}

func workerBench(c *cli.Context, io IO) error {
	opt, modes, err := benchOptions(c)
	if err != nil {
		return err
	}
	client, err := gearmanClient(c, io)
	if err != nil {
		return err
	}
	ctx, done := io.untilSignal(c.Context)
	defer done()
	server := client.Servers()[0]
	results := make([]benchView, 0, len(modes))
	for _, opt.Mode = range modes {
		r, err := bench.Run(ctx, client.Config(), server, opt)
		if err != nil {
			return fmt.Errorf("cannot measure job server %w", err)
		}
		results = append(results, benchViewOf(server, opt, r))
	}
	if c.Bool(flagJSON) {
		return printJSON(io.Stdout, results)
	}
	t := newTable(io.Stdout, "MODE", "JOBS", "TIME", "JOBS/S", "MIN", "MEDIAN", "P90", "P99", "MAX")
	for _, r := range results {
		l := r.latency
		t.row(r.Mode, strconv.Itoa(r.Jobs), shortTime(r.took), strconv.FormatFloat(r.Rate, 'f', 0, 64),
			shortTime(l.Min), shortTime(l.Median), shortTime(l.P90), shortTime(l.P99), shortTime(l.Max))
	}
	return t.flush()
}

// benchView is what bench --json prints of a mode.
type benchView struct {
	Server      string  `json:"server"`
	Mode        string  `json:"mode"`
	Jobs        int     `json:"jobs"`
	Size        int     `json:"size"` // of a workload, in bytes
	Connections int     `json:"connections"`
	Workers     int     `json:"workers"`
	InFlight    int     `json:"in_flight"`
	Seconds     float64 `json:"seconds"`
	Rate        float64 `json:"jobs_per_second"`
	Min         float64 `json:"min_seconds"`
	Median      float64 `json:"median_seconds"`
	P90         float64 `json:"p90_seconds"`
	P99         float64 `json:"p99_seconds"`
	Max         float64 `json:"max_seconds"`

	took    time.Duration
	latency bench.Latency
}

func benchViewOf(server gearman.Address, opt bench.Options, r bench.Result) benchView {
	l := r.Latency
	return benchView{
		Server: string(server), Mode: string(r.Mode), Jobs: r.Jobs, Size: opt.Size, Connections: opt.Connections, Workers: opt.Workers, InFlight: opt.InFlight,
		Seconds: r.Took.Seconds(), Rate: r.Rate(),
		Min: l.Min.Seconds(), Median: l.Median.Seconds(), P90: l.P90.Seconds(), P99: l.P99.Seconds(), Max: l.Max.Seconds(),
		took: r.Took, latency: l,
	}
}
