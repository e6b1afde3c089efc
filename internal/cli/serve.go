package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"procops/internal/app"
	"procops/internal/fault"
)

func serveCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:  "serve",
		Usage: "take pings by HTTP, and show metrics and badges",
		Description: "Serves until Ctrl-C (or TERM), which lets requests under way end; a second one\n" +
			"does not. The section [serve] of the config says more.\n\n" +
			"  /ping/UUID          a beat, as healthchecks takes it; also /ping/KEY/SLUG\n" +
			"  /ping/UUID/start    also /fail, /log and an exit status such as /1\n" +
			"  /metrics            for Prometheus\n" +
			"  /healthz            200 when the state can be read\n" +
			"  /badge/NAME.svg     state of a heartbeat; /badge/tag/TAG.svg the worst of a tag\n\n" +
			examples(
				"procops serve",
				"procops serve --listen 127.0.0.1:9000",
				"procops serve --listen unix:/run/procops/serve.sock   # behind a reverse proxy",
			),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Usage: "listen at this `ADDRESS`: HOST:PORT or unix:/PATH (default: listen of [serve], 127.0.0.1:8580)"},
		},
		Action: func(c *cli.Context) error { return serve(c, io) },
	}
}

func serve(c *cli.Context, io IO) (err error) {
	if _, err := args(c, 0, 0, ""); err != nil {
		return err
	}
	opt := app.ServeOptions{Build: version}
	if c.IsSet("listen") {
		if err := opt.Listen.UnmarshalText([]byte(c.String("listen"))); err != nil {
			return fault.Wrap(fault.Usage, err, "%s: --listen", commandName(c))
		}
	}
	a, err := openApp(c, io, "serve", lasting)
	if err != nil {
		return err
	}
	signals := stopBySignals(c.Context, io)
	defer signals.end()
	opt.Hurry = signals.hurry
	err = runServer(signals.ctx, io, a, opt)
	closing, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	return errors.Join(err, a.Close(closing))
}

// runServer serves until a signal.
func runServer(ctx context.Context, io IO, a *app.App, opt app.ServeOptions) (err error) {
	log, err := openLog(io.Stderr, a)
	if err != nil {
		return err
	}
	opt.Ready = func(where string) {
		fmt.Fprintf(io.Stdout, "listening on %s\n", where)
		if a.Config.Serve.PingKey == "" {
			fmt.Fprintln(io.Stdout, "there is no ping_key in [serve]: only /ping/UUID is served, not /ping/KEY/NAME")
		}
	}
	return a.Serve(ctx, log, opt)
}
