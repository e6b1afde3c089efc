package cli

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/urfave/cli/v2"

	"procops/internal/app"
	"procops/internal/event"
	"procops/internal/fault"
	"procops/internal/name"
	"procops/internal/store"
)

// eventsShown is how many events are listed unless the user says otherwise.
const eventsShown = 50

func eventsCommand(io IO) *cli.Command {
	list := eventsListCommand(io)
	return &cli.Command{
		Name:  "events",
		Usage: "what has happened, in all processes that share the state directory",
		Description: "Without a command it lists the newest events.\n\n" +
			examples(
				"procops events",
				"procops events --follow --type 'supervise.*'",
				"procops events --since 1h --subject web --json",
				"procops events emit deploy.done --subject shop --data version=1.2",
			),
		Flags:  list.Flags,
		Action: list.Action,
		Subcommands: []*cli.Command{
			list, eventsEmitCommand(io), eventsTypesCommand(io),
		},
	}
}

func eventsListCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:        "list",
		Usage:       "list events, the newest last, and follow them",
		Description: examples("procops events list -n 10", "procops events list --follow"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on with what happens, until Ctrl-C"},
			&cli.StringSliceFlag{Name: "type", Aliases: []string{"t"}, Usage: "only types that match this `PATTERN`, such as 'supervise.*'; may be repeated"},
			&cli.StringFlag{Name: "subject", Usage: "only events about this `NAME`"},
			sinceFlag("only events"),
			&cli.IntFlag{Name: "number", Aliases: []string{"n"}, Usage: "at most the newest `N`; 0: all", DefaultText: "50, with --since all"},
			&cli.BoolFlag{Name: flagJSON, Usage: "print one JSON object on each line"},
			utcFlag(),
		},
		Action: func(c *cli.Context) error {
			if _, err := args(c, 0, 0, ""); err != nil {
				return err
			}
			filter, err := eventFilter(c)
			if err != nil {
				return err
			}
			return withEvents(c, io, func(ctx context.Context, s *store.Store) error {
				if err := warnOfTypes(ctx, io, s, filter.Types); err != nil {
					return err
				}
				show := newEventPrinter(io.Stdout, c.Bool(flagJSON), newClock(c.Bool(flagUTC))).print
				if !c.Bool("follow") {
					return s.Replay(ctx, filter, show)
				}
				ctx, cancel := io.untilSignal(ctx)
				defer cancel()
				return s.Follow(ctx, filter, show)
			})
		},
	}
}

// withEvents calls fn with the opened state.
func withEvents(c *cli.Context, io IO, fn func(context.Context, *store.Store) error) (err error) {
	a, err := openApp(c, io, "events", brief)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close(c.Context)) }()
	s, err := a.Store(c.Context)
	if err != nil {
		return err
	}
	return fn(c.Context, s)
}

func eventFilter(c *cli.Context) (f store.EventFilter, err error) {
	f = store.EventFilter{Types: c.StringSlice("type"), Subject: c.String("subject"), Last: true}
	if f.Since, err = sinceOf(c); err != nil {
		return f, err
	}
	switch {
	case c.IsSet("number"):
		f.Limit = max(0, c.Int("number"))
	case f.Since.IsZero():
		f.Limit = eventsShown
	}
	return f, nil
}

// warnOfTypes tells of a pattern that matches no type that procops knows and no
// event that anybody has recorded: most likely a slip.
func warnOfTypes(ctx context.Context, io IO, s *store.Store, patterns []string) error {
	known := app.Events()
	for _, pattern := range patterns {
		if matchesAny(pattern, known) {
			continue
		}
		var found []event.Event
		err := s.View(ctx, func(tx *store.Tx) (err error) {
			found, err = store.Events(tx, store.EventFilter{Types: []string{pattern}, Limit: 1})
			return err
		})
		if err != nil {
			return err
		}
		if len(found) == 0 {
			near := name.DidYouMean(pattern, typeNames(known))
			printWarning(io.Stderr, fault.New(fault.Usage, "no event type matches %q%s", pattern, near).
				WithHint("`procops events types` lists those that procops knows"))
		}
	}
	return nil
}

func matchesAny(pattern string, known []event.Description) bool {
	for _, d := range known {
		if event.Match(pattern, d.Name) {
			return true
		}
	}
	return false
}

func typeNames(known []event.Description) []string {
	names := make([]string, len(known))
	for i, d := range known {
		names[i] = d.Name
	}
	return names
}

func eventsEmitCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "emit",
		Usage:     "record an event of your own",
		ArgsUsage: "TYPE",
		Description: "TYPE is dotted and in lower case, such as deploy.done. The names that procops gives\n" +
			"its own events (" + strings.Join(ownPrefixes(), ".*, ") + ".*) are refused.\n\n" +
			examples(
				"procops events emit deploy.done --subject shop --data version=1.2",
				`procops events emit deploy.done --data-json '{"files": 12}'`,
			),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "subject", Usage: "`NAME` of what the event is about"},
			dataFlag(), dataJSONFlag(),
			&cli.BoolFlag{Name: flagJSON, Usage: "print the recorded event"},
		},
		Action: func(c *cli.Context) error {
			types, err := args(c, 1, 1, "the TYPE of the event")
			if err != nil {
				return err
			}
			e, err := customEvent(c, types[0])
			if err != nil {
				return err
			}
			return withEvents(c, io, func(ctx context.Context, s *store.Store) error {
				e, err := s.Record(ctx, e)
				if err != nil || !c.Bool(flagJSON) {
					return err
				}
				return json.NewEncoder(io.Stdout).Encode(e)
			})
		},
	}
}

// ownPrefixes are the first words of procops' own event types.
func ownPrefixes() []string {
	return []string{"heartbeat", "daemon", "worker", "supervise", "tasks", "hook", "procops"}
}

func customEvent(c *cli.Context, typ string) (event.Event, error) {
	if err := event.CheckType(typ); err != nil {
		return event.Event{}, fault.Wrap(fault.Usage, err, "cannot emit %q", typ)
	}
	for _, prefix := range ownPrefixes() {
		if strings.HasPrefix(typ, prefix+".") {
			return event.Event{}, fault.New(fault.Usage, "cannot emit %q: types that begin with %q are procops' own", typ, prefix+".").
				WithHint("choose another first word, such as the name of your application")
		}
	}
	data, err := dataOf(c)
	if err != nil {
		return event.Event{}, err
	}
	e := event.Event{Type: typ, Subject: c.String("subject")}
	if data != nil {
		e.Data = data
	}
	return e, nil
}

func eventsTypesCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:        "types",
		Usage:       "list the types of events that procops knows",
		Description: examples("procops events types", "procops events types --json"),
		Flags:       []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if _, err := args(c, 0, 0, ""); err != nil {
				return err
			}
			if c.Bool(flagJSON) {
				return printJSON(io.Stdout, app.Events())
			}
			t := newTable(io.Stdout, "TYPE", "MEANING")
			for _, d := range app.Events() {
				t.row(d.Name, d.Doc)
			}
			return t.flush()
		},
	}
}
