package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"procops/internal/control"
	"procops/internal/fault"
	"procops/internal/supervise"
)

const (
	flagFollow = "follow"
	flagLines  = "lines"
)

func superviseLogsCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "logs",
		Usage:     "show what processes have printed",
		ArgsUsage: "[NAME...]",
		Description: "Lines of stdout are marked \"|\", those of stderr \"!\". It works without a running\n" +
			"supervisor, too, except for --follow.\n\n" +
			examples("procops supervise logs", "procops supervise logs -f -n 100 web", "procops supervise logs backend --json"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: flagFollow, Aliases: []string{"f"}, Usage: "go on with each further line until Ctrl-C"},
			&cli.IntFlag{Name: flagLines, Aliases: []string{"n"}, Usage: "the last `N` lines of each process", Value: 20},
			&cli.BoolFlag{Name: flagNoPrefix, Usage: "print the lines without the name of their process"},
			&cli.BoolFlag{Name: flagTimestamps, Aliases: []string{"t"}, Usage: "print the time of each line"},
			utcFlag(),
			&cli.BoolFlag{Name: flagJSON, Usage: "print JSON lines"},
		},
		Action: func(c *cli.Context) error { return showLogs(c, io) },
	}
}

// showLogs prints lines that the supervisor has or, if none runs, that are in
// the log files.
func showLogs(c *cli.Context, io IO) error {
	request, err := logRequest(c)
	if err != nil {
		return err
	}
	return converse(c, io, func(ctx context.Context, client *control.Client) error {
		status, err := client.Status(ctx)
		switch {
		case err == nil:
			processes, err := selectProcesses(status, request.Names)
			if err != nil {
				return err
			}
			return followLogs(ctx, c, io, client, request, processNames(processes))
		case fault.Is(err, fault.Unreachable) && !request.Follow:
			return oldLogs(c, io, request, err)
		default:
			return err
		}
	})
}

func logRequest(c *cli.Context) (supervise.LogRequest, error) {
	names, err := args(c, 0, -1, "")
	if err != nil {
		return supervise.LogRequest{}, err
	}
	lines := c.Int(flagLines)
	if lines < 0 {
		return supervise.LogRequest{}, fault.New(fault.Usage, "%s: --%s %d is negative", commandName(c), flagLines, lines)
	}
	return supervise.LogRequest{Names: names, Lines: lines, Follow: c.Bool(flagFollow)}, nil
}

func processNames(processes []supervise.ProcessStatus) []string {
	names := make([]string, 0, len(processes))
	for _, p := range processes {
		names = append(names, p.Name)
	}
	return names
}

// followLogs prints lines of the supervisor as they come.
func followLogs(ctx context.Context, c *cli.Context, io IO, client *control.Client, request supervise.LogRequest, names []string) error {
	style := styleOf(c, names)
	style.colours = newPalette(io, io.Stdout)
	var buffer []byte
	err := client.Logs(ctx, request, func(l supervise.LogLine) error {
		buffer = style.line(buffer[:0], l)
		_, err := io.Stdout.Write(buffer)
		return err
	})
	if errors.Is(err, syscall.EPIPE) {
		return nil // whoever read it has enough
	}
	return err
}

// oldLogs prints the last lines of the log files; absent is the error if there
// are none.
func oldLogs(c *cli.Context, io IO, request supervise.LogRequest, absent error) error {
	a, err := openApp(c, io, "supervise", lasting)
	if err != nil {
		return err
	}
	cfg := supervise.Logged(a.Config.Supervise, a.LogDir())
	if len(cfg.Process) == 0 {
		if cfg, err = logged(a.LogDir()); errors.Is(err, fs.ErrNotExist) {
			return absent
		} else if err != nil {
			return fmt.Errorf("cannot list the logs: %w", err)
		}
	}
	names, err := configured(cfg, request.Names)
	if err != nil {
		return err
	}
	var lines []supervise.LogLine
	var unread []error // which keeps back nothing of the others
	for _, n := range names {
		own, err := supervise.LastLines(n, cfg.Process[n].Output, a.LogDir(), request.Lines)
		unread = append(unread, err)
		lines = append(lines, own...)
	}
	slices.SortStableFunc(lines, func(a, b supervise.LogLine) int { return a.Time.Compare(b.Time) })
	style := styleOf(c, names)
	style.colours = newPalette(io, io.Stdout)
	var all []byte
	for _, l := range lines {
		all = style.line(all, l)
	}
	_, err = io.Stdout.Write(all)
	return errors.Join(append([]error{err}, unread...)...)
}

// logged returns the processes that have left a log file in dir, which is all
// that is known of them without a config.
func logged(dir string) (supervise.Config, error) {
	entries, err := os.ReadDir(dir)
	cfg := supervise.Config{Process: map[string]supervise.ProcessConfig{}}
	for _, e := range entries {
		if n, ok := strings.CutSuffix(e.Name(), ".log"); ok {
			cfg.Process[n] = supervise.ProcessConfig{}
		}
	}
	return cfg, err
}

// configured returns the processes of a config that names, of processes and
// groups, stand for, sorted; all for no names.
func configured(cfg supervise.Config, names []string) ([]string, error) {
	found := map[string]bool{}
	if len(names) == 0 {
		for n := range cfg.Process {
			found[n] = true
		}
	}
	for _, n := range names {
		if err := addConfigured(cfg, n, found); err != nil {
			return nil, err
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

func addConfigured(cfg supervise.Config, n string, found map[string]bool) error {
	if _, ok := cfg.Process[n]; ok {
		found[n] = true
		return nil
	}
	group, ok := cfg.Group[n]
	if !ok {
		known := map[string]bool{}
		for k := range cfg.Process {
			known[k] = true
		}
		for k := range cfg.Group {
			known[k] = true
		}
		return unknownProcess(n, known)
	}
	for _, child := range group.Children {
		if err := addConfigured(cfg, child, found); err != nil {
			return err
		}
	}
	return nil
}
