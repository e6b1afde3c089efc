package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	stdio "io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"procops/internal/app"
	"procops/internal/control"
	"procops/internal/fault"
	"procops/internal/name"
	"procops/internal/supervise"
)

const flagWatch = "watch"

func superviseStatusCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "status",
		Usage:     "show the processes",
		ArgsUsage: "[NAME...]",
		Description: "Exit codes: 0 all is as wanted, 1 something is not, 5 no supervisor runs.\n\n" +
			examples("procops supervise status", "procops supervise status backend --json", "procops supervise status --watch"),
		Flags: []cli.Flag{
			jsonFlag(),
			&cli.BoolFlag{Name: flagWatch, Aliases: []string{"w"}, Usage: "show it again every second until Ctrl-C"},
		},
		Action: func(c *cli.Context) error {
			names, err := args(c, 0, -1, "")
			if err != nil {
				return err
			}
			client, err := dial(c, io)
			if err != nil {
				return err
			}
			show := statusView{io: io, client: client, names: names, json: c.Bool(flagJSON), palette: newPalette(io, io.Stdout)}
			if c.Bool(flagWatch) {
				return watch(c.Context, io, func(ctx context.Context) ([]byte, error) {
					text, _, err := show.picture(ctx)
					return text, err
				})
			}
			return withLog(show.once(c.Context), client.StateDir())
		},
	}
}

// withLog adds to the error that no supervisor runs where the last one, if it ran
// in the background, has said why it ended.
func withLog(err error, stateDir string) error {
	absent, ok := errors.AsType[*fault.Error](err)
	if !ok || absent.Kind != fault.Unreachable || absent.Hint == "" { // no hint: it runs, but does not answer
		return err
	}
	log := backgroundLog(&app.App{StateDir: stateDir})
	if _, missing := os.Stat(log); missing != nil {
		return err
	}
	return absent.WithHint("%s; the log of the last one is %q", absent.Hint, log)
}

// statusView shows the status of some processes.
type statusView struct {
	io      IO
	client  *control.Client
	names   []string // none: all
	json    bool
	palette palette
}

// once shows the status; its error is the exit code.
func (v statusView) once(ctx context.Context) error {
	picture, good, err := v.picture(ctx)
	if err != nil {
		return err
	}
	if _, err := v.io.Stdout.Write(picture); err != nil {
		return err
	}
	if !good {
		return exit(fault.Failure)
	}
	return nil
}

// picture returns what is shown, and whether all of it is as wanted.
func (v statusView) picture(ctx context.Context) (text []byte, good bool, err error) {
	status, err := v.client.Status(ctx)
	if err != nil {
		return nil, false, err
	}
	if status.Processes, err = selectProcesses(status, v.names); err != nil {
		return nil, false, err
	}
	good = !slices.ContainsFunc(status.Processes, func(p supervise.ProcessStatus) bool { return !p.AsWanted() })
	var out bytes.Buffer
	if v.json {
		err = printJSON(&out, status)
	} else {
		err = v.print(&out, status)
	}
	return out.Bytes(), good, err
}

// selectProcesses returns the processes that names, of processes and groups,
// stand for; all for no names.
func selectProcesses(status supervise.Status, names []string) ([]supervise.ProcessStatus, error) {
	if len(names) == 0 {
		return status.Processes, nil
	}
	wanted, known := map[string]bool{}, map[string]bool{}
	for _, p := range status.Processes {
		known[p.Name] = true
		for group := range strings.SplitSeq(p.Group, "/") {
			known[group] = true
		}
	}
	delete(known, "")
	addGroups(known, status.Tree)
	for _, n := range names {
		if !known[n] {
			return nil, unknownProcess(n, known)
		}
		wanted[n] = true
	}
	return slices.DeleteFunc(slices.Clone(status.Processes), func(p supervise.ProcessStatus) bool {
		inGroup := slices.ContainsFunc(strings.Split(p.Group, "/"), func(group string) bool { return wanted[group] })
		return !wanted[p.Name] && !inGroup
	}), nil
}

// addGroups adds the names of groups, which may be empty.
func addGroups(known map[string]bool, nodes []supervise.Node) {
	for _, n := range nodes {
		if n.Group {
			known[n.Name] = true
			addGroups(known, n.Children)
		}
	}
}

// unknownProcess is the error for a name that is not known.
func unknownProcess(n string, known map[string]bool) error {
	candidates := make([]string, 0, len(known))
	for k := range known {
		candidates = append(candidates, k)
	}
	slices.Sort(candidates)
	e := fault.New(fault.NotFound, "there is no process or group %q", n)
	if n == "all" {
		return e.WithHint("--%s means all", flagAll)
	}
	if near, ok := name.Nearest(n, candidates); ok {
		return e.WithHint("did you mean %q?", near)
	}
	return e.WithHint("`procops supervise status` lists them")
}

// print prints the table; lines of processes that need a look are coloured.
func (v statusView) print(w stdio.Writer, status supervise.Status) error {
	var plain bytes.Buffer
	columns := []string{"NAME", "STATE", "PID", "UPTIME", "RESTARTS", "CPU", "MEMORY", "READY", "LAST EXIT"}
	speak := slices.ContainsFunc(status.Processes, func(p supervise.ProcessStatus) bool { return p.StatusText != "" })
	if speak {
		columns = append(columns, "SAYS")
	}
	t := newTable(&plain, columns...)
	for _, p := range status.Processes {
		row := statusRow(p, time.Now())
		if speak {
			row = append(row, shortened(p.StatusText))
		}
		t.row(row...)
	}
	if err := t.flush(); err != nil {
		return err
	}
	for i, line := range strings.Split(strings.TrimSuffix(plain.String(), "\n"), "\n") {
		paint := bold
		if i > 0 {
			paint = stateColour(status.Processes[i-1])
		}
		if _, err := w.Write(append(v.palette.paint(nil, paint, line), '\n')); err != nil {
			return err
		}
	}
	if status.Stopping {
		fmt.Fprintln(w, "The supervisor is on its way down.")
	}
	return nil
}

func statusRow(p supervise.ProcessStatus, now time.Time) []string {
	row := []string{p.Name, string(p.State), "", "", strconv.Itoa(p.Restarts), "", "", "", lastExit(p)}
	if p.Started.IsZero() {
		return row
	}
	row[3] = span(now.Sub(p.Started))
	if p.PID != 0 { // otherwise it is a service, which is part of the supervisor
		row[2], row[5], row[6] = strconv.Itoa(p.PID), cpuTime(p.CPU), memory(p.Memory)
	}
	row[7] = "no"
	if p.Ready {
		row[7] = "yes"
	}
	return row
}

// lastExit says how the last run ended, and while that matters more, why the
// process is where it is.
func lastExit(p supervise.ProcessStatus) string {
	switch {
	case !p.AsWanted() && p.Reason != "":
		return p.Reason
	case p.LastExit != nil:
		return p.LastExit.Text
	default:
		return p.Reason
	}
}

// maxSaid is how many characters the table shows of what a process says.
const maxSaid = 60

func shortened(text string) string {
	if runes := []rune(text); len(runes) > maxSaid {
		return string(runes[:maxSaid-1]) + "…"
	}
	return text
}

func cpuTime(seconds float64) string {
	if seconds < 60 {
		return fmt.Sprintf("%.1fs", seconds)
	}
	return span(time.Duration(seconds * float64(time.Second)))
}

// memory writes a size with one place after the point, in powers of 1024.
func memory(bytes int64) string {
	size, unit := float64(bytes)/1024, "K"
	for _, larger := range []string{"M", "G", "T"} {
		if size < 1024 {
			break
		}
		size, unit = size/1024, larger
	}
	return fmt.Sprintf("%.1f%s", size, unit)
}

func stateColour(p supervise.ProcessStatus) colour {
	switch {
	case p.State == supervise.StateFatal:
		return red
	case p.State == supervise.StateRunning:
		return ""
	case p.AsWanted():
		return dim
	default:
		return yellow
	}
}
