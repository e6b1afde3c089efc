package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"procops/internal/fault"
	"procops/internal/gearman"
)

func workerJobCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "job",
		Usage:     "what has become of a job",
		ArgsUsage: "HANDLE",
		Description: "HANDLE is what submit has printed. If it has no server in front, each server is\n" +
			"asked until one knows the job. A job is queued, running or unknown: a server\n" +
			"forgets a job when it has ended.\n\n" +
			"With --wait it is asked for again and again until it is unknown, which means that\n" +
			"it has ended: how, only its worker knows. On a terminal the progress is shown.\n\n" +
			"Exit codes: 0 it is queued or running, or with --wait it has ended; 3 unknown from\n" +
			"the start, 5 a server does not answer.\n\n" +
			examples(
				"procops worker job 127.0.0.1:4730//H:host:12",
				"procops worker job --unique monthly --json",
				"procops worker job 127.0.0.1:4730//H:host:12 --wait",
			),
		Flags: []cli.Flag{
			serverFlag(),
			&cli.StringFlag{Name: "unique", Aliases: []string{"u"}, Usage: "ask for the job with this unique `KEY` instead"},
			&cli.BoolFlag{Name: "wait", Aliases: []string{"w"}, Usage: "wait until it has ended"},
			timeoutFlag("give up if no server has answered, or with --wait the job has not ended, within this `TIME`, besides answer_timeout of the config for each server"),
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			ctx, cancel, err := timeLimit(c, noAnswer)
			if err != nil {
				return err
			}
			defer cancel()
			status, err := jobStatus(ctx, c, io)
			if err == nil && status.Known && c.Bool("wait") {
				return awaitJob(ctx, c, io, status)
			}
			if err != nil {
				return err
			}
			if err := printStatus(io, status, c.Bool(flagJSON)); err != nil {
				return err
			}
			if !status.Known {
				return exit(fault.NotFound)
			}
			return nil
		},
	}
}

// jobLook is the time between two questions about a job: no server tells by itself that a
// job has ended for which nobody waits.
const jobLook = 200 * time.Millisecond

// awaitJob asks for the job, which is known, until it is not.
func awaitJob(ctx context.Context, c *cli.Context, io IO, status gearman.Status) error {
	ctx, done := io.untilSignal(ctx)
	defer done()
	show := &jobPrinter{io: io, terminal: isTerminal(io.Stderr)}
	defer show.clear()
	look := time.NewTicker(jobLook)
	defer look.Stop()
	for status.Known {
		show.progress(status.Numerator, status.Denominator)
		select {
		case <-look.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		now, err := jobStatus(ctx, c, io)
		if err != nil {
			return err
		}
		status = now
	}
	return nil
}

// jobStatus asks for the job that the command names.
func jobStatus(ctx context.Context, c *cli.Context, io IO) (status gearman.Status, err error) {
	least := 1
	if c.IsSet("unique") {
		least = 0
	}
	words, err := args(c, least, least, "the HANDLE of a job, or --unique")
	if err != nil {
		return status, err
	}
	var h gearman.Handle
	if len(words) > 0 {
		if h, err = gearman.ParseHandle(words[0]); err != nil {
			return status, fault.Wrap(fault.Usage, err, "%s", commandName(c))
		}
	}
	client, err := gearmanClient(c, io)
	if err != nil {
		return status, err
	}
	if len(words) > 0 {
		return client.Status(ctx, h)
	}
	return client.StatusByUnique(ctx, c.String("unique"))
}

// jobView is what job --json prints.
type jobView struct {
	handleView
	Unique      string  `json:"unique,omitempty"`
	State       string  `json:"state"` // queued, running or unknown
	Known       bool    `json:"known"`
	Running     bool    `json:"running"`
	Numerator   uint64  `json:"numerator"`
	Denominator uint64  `json:"denominator"`
	Clients     *uint64 `json:"clients,omitempty"` // that wait for it; only by unique key
}

func printStatus(io IO, s gearman.Status, asJSON bool) error {
	if asJSON {
		view := jobView{
			handleView: handleViewOf(s.Handle), Unique: s.Unique, State: s.State(), Known: s.Known, Running: s.Running,
			Numerator: s.Numerator, Denominator: s.Denominator,
		}
		if s.Handle.ID == "" {
			view.Handle, view.Clients = "", &s.Clients
		}
		return printJSON(io.Stdout, view)
	}
	job := s.Handle.String()
	if s.Handle.ID == "" {
		job = s.Unique
	}
	var progress string
	if s.Denominator > 0 {
		progress = fmt.Sprintf("%d of %d", s.Numerator, s.Denominator)
	}
	t := newTable(io.Stdout, "JOB", "STATE", "PROGRESS", "SERVER")
	t.row(job, s.State(), progress, string(s.Handle.Server))
	return t.flush()
}
