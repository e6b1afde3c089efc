package cli

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"procops/internal/fault"
	"procops/internal/gearman"
)

func workerPingCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "ping",
		Usage:     "see which job servers answer, and how fast",
		ArgsUsage: "[SERVER...]",
		Description: "Has each server echo a few bytes; the time is that of the round trip, without the\n" +
			"time for the connection. With -n that many are made, one after the other.\n\n" +
			"Exit codes: 0 all answer, 5 one does not.\n\n" +
			examples("procops worker ping", "procops worker ping queue1 queue2:4731 -n 100"),
		Flags: []cli.Flag{
			serverFlag(),
			&cli.IntFlag{Name: flagCount, Aliases: []string{"n"}, Usage: "make `N` round trips", Value: 1},
			timeoutFlag("give up if not all have answered within this `TIME`, besides answer_timeout of the config for each server"),
			jsonFlag(),
		},
		Action: func(c *cli.Context) error { return workerPing(c, io) },
	}
}

const flagCount = "count"

func workerPing(c *cli.Context, io IO) error {
	n := c.Int(flagCount)
	if n < 1 {
		return fault.New(fault.Usage, "%s: --%s must be at least 1", commandName(c), flagCount)
	}
	client, err := gearmanClient(c, io, c.Args().Slice()...)
	if err != nil {
		return err
	}
	ctx, cancel, err := timeLimit(c, noAnswer)
	if err != nil {
		return err
	}
	defer cancel()
	var (
		asked = client.Servers()
		pings = make([]pingView, len(asked))
		down  = make([]error, len(asked))
		all   sync.WaitGroup
	)
	for i, server := range asked {
		all.Go(func() {
			took, err := client.Ping(ctx, server, n)
			if pings[i] = pingViewOf(server, took, err); err != nil {
				down[i] = fmt.Errorf("cannot ping job server %w", err)
			}
		})
	}
	all.Wait()
	return errors.Join(printPings(io, pings, n, c.Bool(flagJSON)), errors.Join(down...))
}

// pingView is a server as ping --json prints it.
type pingView struct {
	Server  string  `json:"server"`
	Answers bool    `json:"answers"`
	Count   int     `json:"count"`   // round trips that were made
	Seconds float64 `json:"seconds"` // of a round trip, the median; 0 without an answer
	Min     float64 `json:"min_seconds"`
	Max     float64 `json:"max_seconds"`
	Error   string  `json:"error,omitempty"`
}

func pingViewOf(server gearman.Address, took []time.Duration, err error) pingView {
	view := pingView{Server: string(server), Answers: err == nil, Count: len(took)}
	if err != nil {
		view.Error = err.Error()
	}
	if len(took) > 0 {
		slices.Sort(took)
		view.Seconds, view.Min, view.Max = took[len(took)/2].Seconds(), took[0].Seconds(), took[len(took)-1].Seconds()
	}
	return view
}

func printPings(io IO, pings []pingView, n int, asJSON bool) error {
	if asJSON {
		return printJSON(io.Stdout, pings)
	}
	headings := []string{"SERVER", "ANSWERS", "TIME"}
	if n > 1 {
		headings = []string{"SERVER", "ANSWERS", "MIN", "MEDIAN", "MAX"}
	}
	t := newTable(io.Stdout, headings...)
	for _, p := range pings {
		row := []string{p.Server, "no"}
		if p.Answers {
			row[1] = "yes"
		}
		times := []float64{p.Seconds}
		if n > 1 {
			times = []float64{p.Min, p.Seconds, p.Max}
		}
		for _, seconds := range times {
			if p.Count == 0 {
				row = append(row, "")
				continue
			}
			row = append(row, shortTime(time.Duration(seconds*float64(time.Second))))
		}
		t.row(row...)
	}
	return t.flush()
}

// shortTime writes a time of a measurement, to the microsecond.
func shortTime(d time.Duration) string { return d.Round(time.Microsecond).String() }
