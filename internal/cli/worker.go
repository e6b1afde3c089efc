package cli

import (
	"context"
	"fmt"
	goio "io"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"procops/internal/app"
	"procops/internal/fault"
	"procops/internal/gearman"
	"procops/internal/unit"
)

func workerCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:  "worker",
		Usage: "Gearman: submit jobs, wait for them, do them; a job server",
		Description: "The job servers are those of --server, else those of `servers` in the section\n" +
			"[worker] of the config, else 127.0.0.1:4730. A job goes to the first one that\n" +
			"takes it.\n\n" +
			examples(
				"procops worker submit mail 'some text'        # in the background; prints a handle",
				"procops worker job 127.0.0.1:4730//H:host:12  # what has become of it",
				"procops worker exec reverse 'some text'       # wait and print the result",
				"procops worker run                            # do the jobs of the functions in the config",
				"procops worker status                         # what the servers have to do",
				"procops worker ping                           # which servers answer",
				"procops worker server                         # be a job server",
				"procops worker admin status                   # what a server has to do",
				"procops worker bench                          # how much it can do",
			),
		Subcommands: []*cli.Command{
			workerRunCommand(io),
			workerSubmitCommand(io), workerExecCommand(io), workerExecManyCommand(io), workerJobCommand(io), workerStatusCommand(io), workerPingCommand(io),
			workerServerCommand(io), workerAdminCommand(io), workerBenchCommand(io),
		},
	}
}

func serverFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "server", Aliases: []string{"s"}, Usage: "a job `SERVER`: HOST, HOST:PORT, [IPv6]:PORT or the path of a unix socket; may be repeated: the next one is tried if one does not answer"}
}

// jobFlags are the flags of the commands that submit a job.
func jobFlags() []cli.Flag {
	return []cli.Flag{
		serverFlag(),
		&cli.StringFlag{Name: "unique", Aliases: []string{"u"}, Usage: "jobs of a function with the same `KEY` are one job while it waits or runs; - takes the workload for the key"},
		&cli.StringFlag{Name: "priority", Aliases: []string{"p"}, Usage: "`low`, normal or high: which jobs of the function go first", Value: string(gearman.Normal)},
	}
}

// gearmanClient returns a client of the servers that the flags or the config
// name, or further arguments.
func gearmanClient(c *cli.Context, io IO, further ...string) (*gearman.Client, error) {
	servers, err := serversOf(c, further...)
	if err != nil {
		return nil, err
	}
	return app.GearmanClient(appOptions(c, io, "worker", brief), servers...)
}

// serversOf reads --server and further arguments that name servers.
func serversOf(c *cli.Context, further ...string) (servers []gearman.Address, err error) {
	for _, text := range append(c.StringSlice("server"), further...) {
		server, err := gearman.ParseAddress(text)
		if err != nil {
			return nil, fault.Wrap(fault.Usage, err, "%s: --server", commandName(c))
		}
		if !slices.Contains(servers, server) {
			servers = append(servers, server)
		}
	}
	return servers, nil
}

// timeLimit returns a context with the limit of --timeout, if there is one; over
// makes the error for when it is over.
func timeLimit(c *cli.Context, over func(limit unit.Duration) error) (context.Context, context.CancelFunc, error) {
	limit, err := timeout(c)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := withLimit(c.Context, limit, over(unit.Duration(limit)))
	return ctx, cancel, nil
}

// noAnswer is the error of commands that wait for no more than an answer.
func noAnswer(limit unit.Duration) error {
	return fault.New(fault.Unreachable, "no answer within %s", limit)
}

// jobOf reads the job that the arguments and flags describe.
func jobOf(c *cli.Context, io IO) (job gearman.Job, err error) {
	words := c.Args().Slice()
	// The "--" may stand before a workload that begins with "-".
	if len(words) > 2 && words[1] == "--" {
		words = append(words[:1:1], words[2:]...)
	} else if words, err = args(c, 1, 2, "the name of a FUNCTION"); err != nil {
		return job, err
	}
	if len(words) > 2 {
		return job, fault.New(fault.Usage, "%s does not know what to do with %q", commandName(c), words[2]).
			WithHint("quote a workload that has spaces in it, or give it on standard input with -")
	}
	job = gearman.Job{Function: words[0], Unique: c.String("unique")}
	if err := job.Priority.UnmarshalText([]byte(c.String("priority"))); err != nil {
		return job, fault.Wrap(fault.Usage, err, "%s: --priority", commandName(c))
	}
	switch {
	case len(words) < 2:
	case words[1] == "-":
		if job.Workload, err = goio.ReadAll(io.Stdin); err != nil {
			return job, fmt.Errorf("cannot read the workload: %w", err)
		}
	default:
		job.Workload = []byte(words[1])
	}
	return job, nil
}

func workerSubmitCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "submit",
		Usage:     "submit a job to run in the background and print its handle",
		ArgsUsage: "FUNCTION [WORKLOAD|-]",
		Description: "The workload is any bytes: with - all of standard input. The handle has the server\n" +
			"in front, so that `procops worker job` asks the right one.\n\n" +
			"Exit codes: 0 the server has accepted the job, 1 the server refuses it, 5 no server\n" +
			"takes it.\n\n" +
			examples(
				"procops worker submit mail '{\"to\": \"me\"}'",
				"tar c . | procops worker submit archive - --priority low",
				"procops worker submit report --unique monthly --at '2026-03-01 04:00'",
			),
		Flags: append(jobFlags(),
			&cli.StringFlag{Name: "at", Usage: "not before this `TIME`, such as 2026-03-01T12:00:00Z or \"2026-03-01 12:00\""},
			&cli.StringFlag{Name: "in", Usage: "not before this `TIME` from now has passed, such as 10m"},
			timeoutFlag("give up if no server has answered within this `TIME`, besides answer_timeout of the config for each server"),
			jsonFlag(),
		),
		Action: func(c *cli.Context) error {
			job, err := jobOf(c, io)
			if err != nil {
				return err
			}
			if job.At, err = startOf(c, time.Now()); err != nil {
				return err
			}
			client, err := gearmanClient(c, io)
			if err != nil {
				return err
			}
			ctx, cancel, err := timeLimit(c, noAnswer)
			if err != nil {
				return err
			}
			defer cancel()
			h, err := client.SubmitBackground(ctx, job)
			if err != nil {
				return err
			}
			if c.Bool(flagJSON) {
				return printJSON(io.Stdout, submittedView{handleViewOf(h), job.Function, job.Unique})
			}
			_, err = fmt.Fprintln(io.Stdout, h)
			return err
		},
	}
}

// startOf reads --at and --in; the zero time if neither is given.
func startOf(c *cli.Context, now time.Time) (time.Time, error) {
	at, in := c.String("at"), c.String("in")
	switch {
	case at != "" && in != "":
		return time.Time{}, fault.New(fault.Usage, "%s: --at and --in exclude each other", commandName(c))
	case in != "":
		delay, err := unit.ParseDuration(in)
		if err != nil {
			return time.Time{}, fault.Wrap(fault.Usage, err, "%s: --in", commandName(c))
		}
		return now.Add(delay), nil
	case at == "":
		return time.Time{}, nil
	}
	t, ok := parseTime(at, now.Location())
	if !ok {
		return t, fault.New(fault.Usage, "%s: --at %q is not a time such as \"2026-03-01T12:00:00Z\" or \"2026-03-01 12:00\"", commandName(c), at)
	}
	return t, nil
}

// The JSON forms of the worker commands. They are an interface: fields are
// added, never renamed.

// handleView is a job's handle, whole and in its parts.
type handleView struct {
	Handle string `json:"handle"`
	Server string `json:"server,omitempty"` // not known if no server knows the job
	ID     string `json:"id,omitempty"`
}

// submittedView is what submit --json prints.
type submittedView struct {
	handleView
	Function string `json:"function"`
	Unique   string `json:"unique,omitempty"`
}

func handleViewOf(h gearman.Handle) handleView {
	return handleView{Handle: h.String(), Server: string(h.Server), ID: h.ID}
}
