package cli

import (
	"context"
	"errors"

	"github.com/urfave/cli/v2"

	"procops/internal/app"
	"procops/internal/fault"
	"procops/internal/gearman"
)

const flagConcurrency = "concurrency"

func workerRunCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "do the jobs of the functions in the config",
		ArgsUsage: "[FUNCTION...]",
		Description: "Each section [worker.function.NAME] of the config is a function: what does its jobs,\n" +
			"and how. The worker asks all its servers for jobs of these functions, or of those\n" +
			"that are named. It waits for servers that are not there. If no servers are named, neither\n" +
			"in the config nor by --server, it brings one, unless one listens there already.\n\n" +
			"Ctrl-C (or TERM) takes no more jobs and lets those under way go on for stop_grace;\n" +
			"then they are stopped and fail. A second one does so at once. The exit code is 0,\n" +
			"also when the worker ends by itself: because of max_run_time or memory_limit, or\n" +
			"because a job has asked for it. Its supervisor then starts it afresh.\n\n" +
			examples("procops worker run", "procops worker run resize thumbnail --concurrency 4", "procops worker run --server queue1 --server queue2:4731"),
		Flags: []cli.Flag{
			serverFlag(),
			&cli.IntFlag{Name: flagConcurrency, Aliases: []string{"c"}, Usage: "do `N` jobs at once, instead of what the config says"},
		},
		Action: func(c *cli.Context) error { return runGearmanWorker(c, io) },
	}
}

func runGearmanWorker(c *cli.Context, io IO) (err error) {
	change, err := workerChange(c)
	if err != nil {
		return err
	}
	a, err := openApp(c, io, "worker", lasting)
	if err != nil {
		return err
	}
	signals := stopBySignals(c.Context, io)
	defer signals.end()
	defer func() {
		closing, cancel := context.WithTimeout(context.Background(), closePatience)
		defer cancel()
		err = errors.Join(err, a.Close(closing))
	}()
	log, err := openLog(io.Stderr, a)
	if err != nil {
		return err
	}
	_, err = a.GearmanWorker(signals.ctx, app.GearmanWorkerOptions{
		Functions: c.Args().Slice(), Change: change, Hurry: signals.hurry, Log: log,
	})
	return err
}

// workerChange returns what the flags change in the config.
func workerChange(c *cli.Context) (func(*gearman.Config), error) {
	servers, err := serversOf(c)
	if err != nil {
		return nil, err
	}
	n := c.Int(flagConcurrency)
	if c.IsSet(flagConcurrency) && n < 1 {
		return nil, fault.New(fault.Usage, "%s: --%s must be at least 1", commandName(c), flagConcurrency)
	}
	return func(cfg *gearman.Config) {
		if len(servers) > 0 {
			cfg.Servers = servers
		}
		if n > 0 {
			cfg.Concurrency = n
		}
	}, nil
}
