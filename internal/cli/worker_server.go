package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"procops/internal/app"
	"procops/internal/fault"
	"procops/internal/gearman"
	"procops/internal/unit"
)

func workerServerCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:  "server",
		Usage: "be a job server, as gearmand is one",
		Description: "Clients, workers and admin tools of gearmand work with it. Background jobs are\n" +
			"recorded in the state directory before they are accepted. Serves until Ctrl-C (or\n" +
			"TERM), which lets running jobs end; a second one does not. The section\n" +
			"[worker.server] of the config says more.\n\n" +
			examples(
				"procops worker server",
				"procops worker server --listen 127.0.0.1:4731 --listen /run/procops/gearman.sock",
				"procops worker server --durability none --job-retries 3",
			),
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "listen", Usage: "listen at this `ADDRESS`: HOST, HOST:PORT, [IPv6]:PORT or the path of a unix socket; may be repeated (default: listen of [worker.server], 127.0.0.1:4730)"},
			&cli.StringFlag{Name: "durability", Usage: "what background jobs survive: `none`, process or power"},
			&cli.IntFlag{Name: "job-retries", Aliases: []string{"j"}, Usage: "a job fails when `N` workers have left with it; 0: any number may"},
			&cli.BoolFlag{Name: "round-robin", Aliases: []string{"R"}, Usage: "a worker gets jobs of its functions in turn"},
			&cli.IntFlag{Name: "worker-wakeup", Usage: "a job wakes `N` sleeping workers; 0: all"},
			&cli.StringFlag{Name: "keepalive", Usage: "check after this `TIME` of silence whether the other end is still there; 0: never"},
			&cli.IntFlag{Name: "max-jobs", Usage: "refuse submissions while there are `N` jobs; 0: any number"},
			&cli.IntFlag{Name: "max-connections", Usage: "close further connections while `N` are open"},
		},
		Action: func(c *cli.Context) error { return workerServer(c, io) },
	}
}

// serverChange returns what the flags change of the config.
func serverChange(c *cli.Context) (func(*gearman.ServerConfig), error) {
	var flags gearman.ServerConfig
	for _, text := range c.StringSlice("listen") {
		address, err := gearman.ParseAddress(text)
		if err != nil {
			return nil, fault.Wrap(fault.Usage, err, "%s: --listen", commandName(c))
		}
		flags.Listen = append(flags.Listen, address)
	}
	switch flags.Durability = gearman.ServerDurability(c.String("durability")); flags.Durability {
	case "", gearman.DurableNone, gearman.DurableProcess, gearman.DurablePower:
	default:
		return nil, fault.New(fault.Usage, "%s: --durability %q is none of \"none\", \"process\" and \"power\"", commandName(c), flags.Durability)
	}
	for _, name := range []string{"job-retries", "worker-wakeup", "max-jobs", "max-connections"} {
		if n := c.Int(name); c.IsSet(name) && (n < 0 || name == "max-connections" && n == 0) {
			return nil, fault.New(fault.Usage, "%s: --%s %d is too small", commandName(c), name, n)
		}
	}
	if c.IsSet("keepalive") {
		idle, err := unit.ParseDuration(c.String("keepalive"))
		if err != nil {
			return nil, fault.Wrap(fault.Usage, err, "%s: --keepalive", commandName(c))
		}
		flags.Keepalive = unit.Duration(idle)
	}
	return func(cfg *gearman.ServerConfig) { applyServerFlags(c, flags, cfg) }, nil
}

// applyServerFlags puts those flags into cfg that were given.
func applyServerFlags(c *cli.Context, flags gearman.ServerConfig, cfg *gearman.ServerConfig) {
	for name, set := range map[string]func(){
		"listen":          func() { cfg.Listen = flags.Listen },
		"durability":      func() { cfg.Durability = flags.Durability },
		"job-retries":     func() { cfg.JobRetries = min(c.Int("job-retries"), maxJobRetries) },
		"round-robin":     func() { cfg.RoundRobin = c.Bool("round-robin") },
		"worker-wakeup":   func() { cfg.WorkerWakeup = c.Int("worker-wakeup") },
		"keepalive":       func() { cfg.Keepalive = flags.Keepalive },
		"max-jobs":        func() { cfg.MaxJobs = c.Int("max-jobs") },
		"max-connections": func() { cfg.MaxConnections = c.Int("max-connections") },
	} {
		if c.IsSet(name) {
			set()
		}
	}
}

// maxJobRetries is the largest job_retries that a config may have.
const maxJobRetries = 65535

func workerServer(c *cli.Context, io IO) (err error) {
	if _, err := args(c, 0, 0, ""); err != nil {
		return err
	}
	change, err := serverChange(c)
	if err != nil {
		return err
	}
	a, err := openApp(c, io, "worker", lasting)
	if err != nil {
		return err
	}
	signals := stopBySignals(c.Context, io)
	defer signals.end()
	err = runGearmanServer(signals.ctx, io, a, app.GearmanServerOptions{Change: change, Hurry: signals.hurry})
	closing, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	return errors.Join(err, a.Close(closing))
}

// runGearmanServer serves until a signal.
func runGearmanServer(ctx context.Context, io IO, a *app.App, opt app.GearmanServerOptions) (err error) {
	log, err := openLog(io.Stderr, a)
	if err != nil {
		return err
	}
	opt.Ready = func(where string) { fmt.Fprintf(io.Stdout, "listening on %s\n", where) }
	return a.GearmanServer(ctx, log, opt)
}
