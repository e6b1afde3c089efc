package cli

import (
	"errors"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"procops/internal/app"
	"procops/internal/tasks/broker/group"
)

func tasksBrokersCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:  "brokers",
		Usage: "show how each broker does, and how many tasks it has",
		Description: "Asks each broker now. It is up, refusing (it answers, but takes no new tasks) or\n" +
			"down; since when, and the last error, is what the procops processes of this state\n" +
			"directory have found.\n\n" +
			examples("procops tasks brokers", "procops tasks brokers --json"),
		Flags: []cli.Flag{jsonFlag(), utcFlag()},
		Action: func(c *cli.Context) (err error) {
			if _, err := args(c, 0, 0, ""); err != nil {
				return err
			}
			a, err := openApp(c, io, "tasks", brief)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, a.Close(c.Context)) }()
			list, err := a.TaskBrokers(c.Context)
			if err != nil {
				return err
			}
			views := make([]brokerView, len(list))
			for i := range list {
				views[i] = brokerViewOf(&list[i])
			}
			if c.Bool(flagJSON) {
				return printJSON(io.Stdout, views)
			}
			return printBrokers(io, views, newClock(c.Bool(flagUTC)))
		},
	}
}

func printBrokers(io IO, views []brokerView, clock clock) error {
	t := newTable(io.Stdout, "NAME", "KIND", "PRIORITY", "STATE", "SINCE", "READY", "SCHEDULED", "LEASED", "BURIED", "ERROR")
	for i := range views {
		v := &views[i]
		since := ""
		if v.Since != nil {
			since = clock.format(*v.Since)
		}
		row := []string{v.Name, v.Kind, strconv.Itoa(v.Priority), string(v.State), since, "", "", "", "", v.Error}
		if n := v.Counts; n != nil {
			for j, count := range []int{n.Ready, n.Scheduled, n.Leased, n.Buried} {
				row[5+j] = strconv.Itoa(count)
			}
		}
		t.row(row...)
	}
	return t.flush()
}

// brokerView is a broker as brokers --json prints it. It is an interface: fields are added,
// never renamed.
type brokerView struct {
	Name        string      `json:"name"`
	Kind        string      `json:"kind"`
	Format      string      `json:"format"`
	Priority    int         `json:"priority"`
	State       group.State `json:"state"`
	Since       *time.Time  `json:"since"`  // null if it was never otherwise
	Counts      *countsView `json:"counts"` // null if they are not known
	Error       string      `json:"error,omitempty"`
	LastError   string      `json:"last_error,omitempty"`
	LastErrorAt *time.Time  `json:"last_error_at"` // null: never
}

type countsView struct {
	Ready     int `json:"ready"`
	Scheduled int `json:"scheduled"`
	Leased    int `json:"leased"`
	Buried    int `json:"buried"`
}

func brokerViewOf(b *app.TaskBroker) brokerView {
	v := brokerView{Name: b.Name, Kind: string(b.Kind), Format: string(b.Format), Priority: b.Priority, State: b.Now.State}
	// A look cannot tell whether a broker takes tasks: that has the one who last pushed some.
	if b.Now.State == group.StateUp && b.Before.State == group.StateRefusing {
		v.State, v.Error = group.StateRefusing, b.Before.Error
	}
	if b.Before.State == v.State {
		v.Since = &b.Before.Since
	}
	if b.Now.Failed != nil {
		v.Error = b.Now.Failed.Error()
	} else {
		v.Counts = &countsView{b.Now.Counts.Ready, b.Now.Counts.Scheduled, b.Now.Counts.Leased, b.Now.Counts.Buried}
	}
	v.LastError = b.Before.Error
	if !b.Before.ErrorAt.IsZero() {
		v.LastErrorAt = &b.Before.ErrorAt
	}
	return v
}
