package cli

import (
	"bytes"
	"context"
	"errors"
	stdio "io"
	"io/fs"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"procops/internal/app"
	"procops/internal/daemon"
)

func daemonLogsCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:      "logs",
		Usage:     "show the log of a daemon",
		ArgsUsage: "NAME",
		Description: "Each line has the time, the pid and the instance of the daemon, where the line is from\n" +
			"(out, err, or * for what procops says) and the text.\n\n" +
			examples("procops daemon logs report", "procops daemon logs report --follow"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: flagContext, Usage: "in this `CONTEXT`, such as staging (default: that of the config)"},
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on with new lines until Ctrl-C"},
			&cli.IntFlag{Name: "lines", Aliases: []string{"n"}, Value: 20, Usage: "begin with the last `N` lines"},
		},
		Action: func(c *cli.Context) error {
			names, err := args(c, 1, 1, "the NAME of a daemon")
			if err != nil {
				return err
			}
			return withDaemons(c, io, names, func(ctx context.Context, a *app.App, ids []daemon.ID) error {
				return showLog(ctx, io.Stdout, a.Config.Daemon.LogPath(ids[0], a.StateDir), c.Int("lines"), c.Bool("follow"))
			})
		},
	}
}

const (
	// logLook is the time between two looks for new lines.
	logLook = 100 * time.Millisecond
	// logTail is how much of the end of a log is read for its last lines, in bytes.
	logTail = 1 << 20
)

// showLog writes the last lines of a file that rotates, and then what is added.
func showLog(ctx context.Context, w stdio.Writer, path string, lines int, follow bool) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && !follow {
		return nil // nothing was said yet
	}
	if err == nil {
		err = lastLines(w, f, lines)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, closeFile(f))
	}
	look := time.NewTicker(logLook)
	defer look.Stop()
	for follow {
		if f, err = further(w, f, path); err != nil {
			return errors.Join(err, closeFile(f))
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), closeFile(f))
		}
	}
	return closeFile(f)
}

func closeFile(f *os.File) error {
	if f == nil {
		return nil
	}
	return f.Close()
}

// lastLines writes the last lines of a file and leaves it at its end.
func lastLines(w stdio.Writer, f *os.File, lines int) error {
	size, err := f.Seek(0, stdio.SeekEnd)
	if err != nil {
		return err
	}
	text := make([]byte, min(size, logTail))
	if _, err := f.ReadAt(text, size-int64(len(text))); err != nil && !errors.Is(err, stdio.EOF) {
		return err
	}
	from := len(text)
	for n := 0; n <= lines && from > 0; n++ {
		from = bytes.LastIndexByte(text[:max(0, from-1)], '\n') + 1
		if n+1 >= lines {
			break
		}
	}
	if lines <= 0 {
		from = len(text)
	}
	_, err = w.Write(text[from:])
	return err
}

// further writes what was added to a file, and goes on with the one that has taken its
// place.
func further(w stdio.Writer, f *os.File, path string) (*os.File, error) {
	if f != nil {
		current, err := drain(w, f, path)
		if current || err != nil {
			return f, err
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	next, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // there is none yet
	}
	if err != nil {
		return nil, err
	}
	_, err = stdio.Copy(w, next)
	return next, err
}

// drain writes what was added to a file. It reports whether the file is still the one at
// its path, or will be missed.
func drain(w stdio.Writer, f *os.File, path string) (current bool, err error) {
	if _, err := stdio.Copy(w, f); err != nil {
		return true, err
	}
	here, err := f.Stat()
	if err != nil {
		return true, err
	}
	there, err := os.Stat(path)
	if err != nil || os.SameFile(here, there) {
		return true, nil //nolint:nilerr // it has been moved away, and there is no other yet
	}
	_, err = stdio.Copy(w, f) // what was written before it was moved away
	return false, err
}
