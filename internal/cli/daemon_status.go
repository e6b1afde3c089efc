package cli

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"procops/internal/app"
	"procops/internal/daemon"
	"procops/internal/unit"
)

func daemonStatusCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "status",
		Usage:     "show what daemons do",
		ArgsUsage: "[NAME...]",
		Description: "Exit codes: 0 all run and their last turns were good, 1 a last turn has failed, 2 one\n" +
			"does not run.\n\n" +
			examples("procops daemon status", "procops daemon status report --json | jq .[0].turns", "procops daemon status --watch"),
		Flags: append(instanceFlags(), jsonFlag(), utcFlag(),
			&cli.BoolFlag{Name: flagWatch, Aliases: []string{"w"}, Usage: "show it again every second until Ctrl-C"}),
		Action: func(c *cli.Context) error {
			return withDaemons(c, io, c.Args().Slice(), func(ctx context.Context, a *app.App, ids []daemon.ID) error {
				show := daemonsView{app: a, ids: ids, json: c.Bool(flagJSON), clock: newClock(c.Bool(flagUTC))}
				if c.Bool(flagWatch) {
					return watch(ctx, io, func(ctx context.Context) ([]byte, error) {
						text, _, err := show.picture(ctx)
						return text, err
					})
				}
				text, worst, err := show.picture(ctx)
				if err != nil {
					return err
				}
				if _, err := io.Stdout.Write(text); err != nil {
					return err
				}
				return asExit(worst)
			})
		},
	}
}

// daemonsView shows some daemons.
type daemonsView struct {
	app   *app.App
	ids   []daemon.ID
	json  bool
	clock clock
}

// picture returns what is shown, and the exit code of the worst of it.
func (v daemonsView) picture(ctx context.Context) (text []byte, worst int, err error) {
	all := make([]daemon.Status, len(v.ids))
	for i, id := range v.ids {
		if all[i], err = v.app.LookAtDaemon(ctx, id); err != nil {
			return nil, 0, err
		}
		switch {
		case !all[i].Running:
			worst = 2
		case all[i].Failing():
			worst = max(worst, 1)
		}
	}
	var out bytes.Buffer
	if v.json {
		views := make([]daemonView, len(all))
		for i, s := range all {
			views[i] = newDaemonView(s)
		}
		err = printJSON(&out, views)
	} else {
		err = v.print(&out, all)
	}
	return out.Bytes(), worst, err
}

func (v daemonsView) print(out *bytes.Buffer, all []daemon.Status) error {
	t := newTable(out, "NAME", "CONTEXT", "INSTANCE", "STATE", "PID", "UP", "TURNS", "NEXT", "LAST TURN", "TOOK", "OUTCOME", "MESSAGE")
	now := time.Now()
	for _, s := range all {
		var pid, up, next, last, took, instance string
		if s.Running {
			pid, up = strconv.Itoa(s.PID), span(now.Sub(s.Began))
		}
		if !s.Next.IsZero() && s.State == daemon.StateWaiting {
			next = "in " + shortSpan(s.Next.Sub(now))
		}
		if !s.Last.Started.IsZero() {
			last = v.clock.format(s.Last.Started)
		}
		if s.Last.Outcome != "" {
			took = shortSpan(s.Last.Duration)
		}
		if s.Instance != 0 {
			instance = strconv.Itoa(s.Instance)
		}
		message := s.Reason
		if message == "" {
			message = s.Last.Message
		}
		t.row(s.Name, s.Context, instance, string(s.State), pid, up, strconv.FormatUint(s.Turns, 10), next, last, took, s.Last.Outcome, message)
	}
	return t.flush()
}

// shortSpan writes a length of time to the millisecond where it is short.
func shortSpan(d time.Duration) string {
	if d >= time.Minute {
		return span(d)
	}
	return unit.Duration(max(0, d).Round(time.Millisecond)).String()
}

// daemonView is a daemon in JSON.
type daemonView struct {
	Name     string    `json:"name"`
	Context  string    `json:"context"`
	Instance int       `json:"instance,omitempty"`
	State    string    `json:"state"`
	PID      int       `json:"pid,omitempty"`
	Hosted   bool      `json:"hosted,omitempty"`
	Began    time.Time `json:"began,omitzero"`
	Turns    uint64    `json:"turns"`
	Failures int       `json:"failures"`
	Next     time.Time `json:"next,omitzero"`
	Last     *turnView `json:"last,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Killed   bool      `json:"killed,omitempty"`
	Pidfile  string    `json:"pidfile"`
	Log      string    `json:"log"`
}

func newDaemonView(s daemon.Status) daemonView {
	v := daemonView{
		Name: s.Name, Context: s.Context, Instance: s.Instance, State: string(s.State), PID: s.PID, Hosted: s.Hosted, Began: s.Began,
		Turns: s.Turns, Failures: s.Failures, Next: s.Next, Reason: s.Reason, Killed: s.Killed, Pidfile: s.Pidfile, Log: s.Log,
	}
	if !s.Last.Started.IsZero() {
		last := newTurnView(s.Last)
		v.Last = &last
	}
	return v
}

// turnView is a turn in JSON.
type turnView struct {
	Turn    uint64    `json:"turn"`
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`
	Outcome string    `json:"outcome,omitempty"` // missing while it is under way
	Code    int       `json:"code"`
	Memory  int64     `json:"memory,omitempty"`
	Message string    `json:"message,omitempty"`
}

func newTurnView(t daemon.Turn) turnView {
	return turnView{Turn: t.Number, Started: t.Started, Seconds: t.Duration.Seconds(), Outcome: t.Outcome, Code: t.Code, Memory: t.Memory, Message: t.Message}
}

func daemonListCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:        "list",
		Usage:       "list the daemons of the config",
		Description: examples("procops daemon list", "procops daemon list --json"),
		Flags:       []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if _, err := args(c, 0, 0, ""); err != nil {
				return err
			}
			return withDaemons(c, io, nil, func(_ context.Context, a *app.App, _ []daemon.ID) error {
				return listDaemons(c, io, a)
			})
		},
	}
}

func listDaemons(c *cli.Context, io IO, a *app.App) error {
	type view struct {
		Name      string   `json:"name"`
		Rhythm    string   `json:"rhythm"`
		Instances int      `json:"instances"`
		Running   int      `json:"running"`
		Command   []string `json:"command"`
	}
	views := []view{}
	cfg := a.Config.Daemon
	for _, n := range cfg.Names() {
		ids, err := cfg.IDs(n, "", 0)
		if err != nil {
			return err
		}
		v := view{Name: n, Rhythm: cfg.Daemons[n].Rhythm(), Instances: len(ids), Command: cfg.Daemons[n].Command}
		for _, id := range ids {
			if _, runs := cfg.RunningBy(id, a.StateDir); runs {
				v.Running++
			}
		}
		views = append(views, v)
	}
	if c.Bool(flagJSON) {
		return printJSON(io.Stdout, views)
	}
	t := newTable(io.Stdout, "NAME", "RHYTHM", "RUNNING", "COMMAND")
	for _, v := range views {
		t.row(v.Name, v.Rhythm, fmt.Sprintf("%d/%d", v.Running, v.Instances), cfg.Daemons[v.Name].Command.String())
	}
	return t.flush()
}

func daemonHistoryCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:        "history",
		Usage:       "show the turns of a daemon",
		ArgsUsage:   "NAME",
		Description: examples("procops daemon history report", "procops daemon history report --since 1d --json"),
		Flags: append(instanceFlags(), sinceFlag("only turns"), jsonFlag(), utcFlag(),
			&cli.IntFlag{Name: "limit", Aliases: []string{"n"}, Value: 20, Usage: "at most this many, the newest (`N`)"}),
		Action: func(c *cli.Context) error {
			names, err := args(c, 1, 1, "the NAME of a daemon")
			if err != nil {
				return err
			}
			since, err := sinceOf(c)
			if err != nil {
				return err
			}
			return withDaemons(c, io, names, func(ctx context.Context, a *app.App, ids []daemon.ID) error {
				return showTurns(ctx, c, io, a, ids, since)
			})
		},
	}
}

func showTurns(ctx context.Context, c *cli.Context, io IO, a *app.App, ids []daemon.ID, since time.Time) error {
	clock := newClock(c.Bool(flagUTC))
	t := newTable(io.Stdout, "INSTANCE", "TURN", "STARTED", "TOOK", "OUTCOME", "CODE", "MEMORY", "MESSAGE")
	views := []turnView{}
	for _, id := range ids {
		turns, err := a.DaemonHistory(ctx, id, since, c.Int("limit"))
		if err != nil {
			return err
		}
		for _, turn := range turns {
			views = append(views, newTurnView(turn))
			memory := ""
			if turn.Memory > 0 {
				memory = fmt.Sprintf("%.1fM", float64(turn.Memory)/(1<<20))
			}
			t.row(strconv.Itoa(id.Number()), strconv.FormatUint(turn.Number, 10), clock.format(turn.Started), shortSpan(turn.Duration),
				turn.Outcome, strconv.Itoa(turn.Code), memory, turn.Message)
		}
	}
	if c.Bool(flagJSON) {
		return printJSON(io.Stdout, views)
	}
	return t.flush()
}
