package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"procops/internal/control"
	"procops/internal/fault"
	"procops/internal/supervise"
)

func superviseScaleCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "scale",
		Usage:     "run more or fewer instances of processes",
		ArgsUsage: "NAME=N...",
		Description: "For processes with `instances` in the config. New instances are started, those\n" +
			"with the highest numbers are stopped and removed, the others are not touched. It\n" +
			"returns when the new ones are ready, or have failed, and the removed ones are\n" +
			"down. The number outlives the supervisor and holds until the config has another\n" +
			"one.\n\n" +
			examples("procops supervise scale web=5", "procops supervise scale web=2 worker=0 --timeout 30s"),
		Flags: []cli.Flag{noWaitFlag(), timeoutFlag("give up waiting after this `TIME`"), jsonFlag()},
		Action: func(c *cli.Context) error {
			words, err := args(c, 1, -1, "the NAME of a process and a number, such as web=3")
			if err != nil {
				return err
			}
			numbers, err := scaleOf(c, words)
			if err != nil {
				return err
			}
			r := supervise.ScaleRequest{Instances: numbers, NoWait: c.Bool(flagNoWait)}
			results, err := perform(c, io, supervise.ActionScale, func(ctx context.Context, client *control.Client) ([]supervise.Result, error) {
				return client.Scale(ctx, r)
			})
			if err != nil {
				return err
			}
			if len(results) == 0 && !c.Bool(flagJSON) {
				_, err := fmt.Fprintln(io.Stdout, "nothing to change")
				return err
			}
			return conclude(c, io, supervise.Request{Action: supervise.ActionScale}, results)
		},
	}
}

// scaleOf reads words such as "web=3".
func scaleOf(c *cli.Context, words []string) (map[string]int, error) {
	numbers := map[string]int{}
	for _, word := range words {
		name, text, _ := strings.Cut(word, "=")
		n, err := strconv.Atoi(text)
		if name == "" || err != nil || n < 0 {
			return nil, fault.New(fault.Usage, "%s: want NAME=N, such as web=3, have %q", commandName(c), word)
		}
		if _, twice := numbers[name]; twice {
			return nil, fault.New(fault.Usage, "%s: %q is named twice", commandName(c), name)
		}
		numbers[name] = n
	}
	return numbers, nil
}
