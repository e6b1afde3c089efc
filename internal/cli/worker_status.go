package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"procops/internal/gearman"
)

func workerStatusCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "status",
		Usage:     "what the job servers have to do",
		ArgsUsage: "[SERVER...]",
		Description: "The functions of each server: how many jobs wait and run, and how many workers can do\n" +
			"them. The server of procops tells more: jobs that wait for their time, that are buried\n" +
			"because too many workers have died of them, that are on disk only, and for how long the\n" +
			"first in line has waited.\n\n" +
			"Exit codes: 0 all servers answer, 5 one does not.\n\n" +
			examples("procops worker status", "procops worker status queue1 queue2 --watch", "procops worker status --json | jq '.[].functions[].queued'"),
		Flags: []cli.Flag{
			serverFlag(),
			&cli.BoolFlag{Name: flagWatch, Aliases: []string{"w"}, Usage: "show it again every second until Ctrl-C"},
			timeoutFlag("give up if not all have answered within this `TIME`, besides answer_timeout of the config for each server"),
			jsonFlag(),
		},
		Action: func(c *cli.Context) error { return workerStatus(c, io) },
	}
}

func workerStatus(c *cli.Context, io IO) error {
	client, err := gearmanClient(c, io, c.Args().Slice()...)
	if err != nil {
		return err
	}
	if c.Bool(flagWatch) {
		return watch(c.Context, io, func(ctx context.Context) ([]byte, error) {
			var out bytes.Buffer
			_, err := printServers(ctx, &out, client, c.Bool(flagJSON))
			return out.Bytes(), err
		})
	}
	ctx, cancel, err := timeLimit(c, noAnswer)
	if err != nil {
		return err
	}
	defer cancel()
	var out bytes.Buffer
	down, err := printServers(ctx, &out, client, c.Bool(flagJSON))
	if _, failed := io.Stdout.Write(out.Bytes()); failed != nil {
		err = errors.Join(err, failed)
	}
	return errors.Join(err, down)
}

// serverView is a server as status --json prints it.
type serverView struct {
	Server    string         `json:"server"`
	Answers   bool           `json:"answers"`
	Error     string         `json:"error,omitempty"`
	Functions []functionView `json:"functions"`
}

// functionView is a function of a server. What only the server of procops tells is null
// from others.
type functionView struct {
	Function  string   `json:"function"`
	Queued    int      `json:"queued"`
	Running   int      `json:"running"`
	Workers   int      `json:"workers"`
	Scheduled *int     `json:"scheduled"`
	OnDisk    *int     `json:"on_disk"`
	Buried    *int     `json:"buried"`
	Oldest    *float64 `json:"oldest_seconds"` // how long the first in line has waited
}

func functionViewOf(f gearman.FunctionStatus) functionView {
	view := functionView{Function: f.Name, Queued: f.Queued, Running: f.Running, Workers: f.Workers}
	if d := f.Detail; d != nil {
		oldest := d.Oldest.Seconds()
		view.Scheduled, view.OnDisk, view.Buried, view.Oldest = &d.Scheduled, &d.OnDisk, &d.Buried, &oldest
	}
	return view
}

// printServers asks all servers and prints what they say; down is why some do not.
func printServers(ctx context.Context, out *bytes.Buffer, client *gearman.Client, asJSON bool) (down, err error) {
	views := []serverView{}
	t := newTable(out, "SERVER", "FUNCTION", "QUEUED", "RUNNING", "WORKERS", "SCHEDULED", "ON DISK", "BURIED", "OLDEST")
	for _, a := range askServers(ctx, client) {
		view := serverView{Server: string(a.server), Answers: a.err == nil, Functions: []functionView{}}
		switch {
		case a.err != nil:
			view.Error = a.err.Error()
			down = errors.Join(down, fmt.Errorf("cannot ask job server %w", a.err))
			t.row(view.Server, "no answer", "", "", "", "", "", "", "")
		case len(a.functions) == 0:
			t.row(view.Server, "", "", "", "", "", "", "", "")
		}
		for _, f := range a.functions {
			view.Functions = append(view.Functions, functionViewOf(f))
			row := []string{view.Server, f.Name, strconv.Itoa(f.Queued), strconv.Itoa(f.Running), strconv.Itoa(f.Workers), "", "", "", ""}
			if d := f.Detail; d != nil {
				row = append(row[:5], strconv.Itoa(d.Scheduled), strconv.Itoa(d.OnDisk), strconv.Itoa(d.Buried), waitText(d.Oldest))
			}
			t.row(row...)
		}
		views = append(views, view)
	}
	if asJSON {
		return down, printJSON(out, views)
	}
	return down, t.flush()
}

// waitText writes how long the first in line has waited; empty: there is none.
func waitText(d time.Duration) string {
	switch {
	case d == 0:
		return ""
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}

// serverAnswer is what a server says of its functions.
type serverAnswer struct {
	server    gearman.Address
	functions []gearman.FunctionStatus
	err       error
}

// askServers asks all servers at once.
func askServers(ctx context.Context, client *gearman.Client) []serverAnswer {
	servers := client.Servers()
	answers := make([]serverAnswer, len(servers))
	var all sync.WaitGroup
	for i, server := range servers {
		all.Go(func() {
			answers[i].server = server
			answers[i].functions, answers[i].err = client.Functions(ctx, server)
		})
	}
	all.Wait()
	return answers
}
