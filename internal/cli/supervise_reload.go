package cli

import (
	"context"
	"fmt"
	goio "io"
	"strings"

	"github.com/urfave/cli/v2"

	"procops/internal/control"
	"procops/internal/supervise"
)

const flagDryRun = "dry-run"

func superviseReloadCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:  "reload",
		Usage: "read the config again and bring the tree to it",
		Description: "Only what differs is touched: new processes are started, those that are gone\n" +
			"are stopped, those that would run in another way are restarted. A change of\n" +
			"restart, backoff, chains, dependencies or stop takes effect at once and without\n" +
			"a restart. What was stopped by hand stays stopped. A config that is broken in\n" +
			"any way changes nothing. Sending SIGHUP to the supervisor does the same and\n" +
			"opens the log files again.\n\n" +
			examples("procops supervise reload --dry-run", "procops supervise reload", "procops supervise reload --json"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: flagDryRun, Aliases: []string{"n"}, Usage: "only say what it would do"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if _, err := args(c, 0, 0, ""); err != nil {
				return err
			}
			return converse(c, io, func(ctx context.Context, client *control.Client) error {
				plan, err := client.Reload(ctx, c.Bool(flagDryRun))
				if err != nil {
					return err
				}
				if c.Bool(flagJSON) {
					return printJSON(io.Stdout, filledPlan(plan))
				}
				return printPlan(io.Stdout, plan, c.Bool(flagDryRun))
			})
		},
	}
}

// filledPlan has an empty list, not null, where there is nothing.
func filledPlan(p supervise.Plan) supervise.Plan {
	for _, list := range []*[]string{&p.Added, &p.Removed, &p.Restarted, &p.Updated} {
		if *list == nil {
			*list = []string{}
		}
	}
	return p
}

// printPlan writes a line for each kind of change: what was done, or with dry what
// would be.
func printPlan(w goio.Writer, p supervise.Plan, dry bool) error {
	verb := ""
	if dry {
		verb = "would be "
	}
	if p.Empty() {
		_, err := fmt.Fprintln(w, "nothing to change")
		return err
	}
	for _, part := range []struct {
		what  string
		names []string
	}{
		{verb + "added", p.Added},
		{verb + "removed", p.Removed},
		{verb + "restarted", p.Restarted},
		{verb + "updated", p.Updated},
		{"only after the supervisor's next start", p.Ignored},
	} {
		if len(part.names) == 0 {
			continue
		}
		if _, err := fmt.Fprintf(w, "%s: %s\n", part.what, strings.Join(part.names, ", ")); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "unchanged: %d\n", p.Unchanged)
	return err
}
