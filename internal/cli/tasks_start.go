package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"procops/internal/app"
	"procops/internal/fault"
	"procops/internal/pidfile"
	"procops/internal/proc"
	"procops/internal/tasks"
)

const (
	flagDaemon = "daemon"
	flagPid    = "pid"
)

func pidFlag() cli.Flag {
	return &cli.StringFlag{Name: flagPid, Usage: "`FILE` with the pid, so that several can run (default: run/tasks.pid in the state directory)"}
}

func tasksStartCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:  "start",
		Usage: "run tasks as they come, where stop and status find it",
		Description: "Does what work does, with a pidfile: while one runs, another one is refused with exit\n" +
			"code 4. With --daemon it is started in the background, with tasks.log in the state\n" +
			"directory unless the config names a log; the command returns when it is up, and\n" +
			"otherwise prints why not.\n\n" +
			examples("procops tasks start --daemon"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: flagDaemon, Aliases: []string{"d"}, Usage: "in the background"},
			pidFlag(),
			&cli.BoolFlag{Name: flagBackground, Hidden: true},
		},
		Action: func(c *cli.Context) error {
			if _, err := args(c, 0, 0, ""); err != nil {
				return err
			}
			if c.Bool(flagDaemon) {
				return startTasks(c, io)
			}
			return stayWithTasks(c, io)
		},
	}
}

func tasksStopCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:  "stop",
		Usage: "stop what start has started",
		Description: "It begins no more tasks, and what runs has stop_grace to end. With --wait the command\n" +
			"waits for that and says how many tasks still run. One that does not run is no error.\n\n" +
			examples("procops tasks start --daemon && procops tasks stop --wait", "procops tasks stop --wait --timeout 1m"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: flagWait, Usage: "return when it has ended"},
			timeoutFlag("with --wait: give up waiting after this `TIME`"),
			pidFlag(),
		},
		Action: func(c *cli.Context) error {
			if _, err := args(c, 0, 0, ""); err != nil {
				return err
			}
			return stopTasks(c, io)
		},
	}
}

func tasksStatusCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "say whether what start has started runs",
		Description: "Exit codes: 0 it runs, 3 it does not. One in a supervised tree is shown by\n" +
			"`procops supervise status tasks`.\n\n" +
			examples("procops tasks start --daemon && procops tasks status"),
		Flags: []cli.Flag{pidFlag(), jsonFlag()},
		Action: func(c *cli.Context) error {
			if _, err := args(c, 0, 0, ""); err != nil {
				return err
			}
			return tasksStatus(c, io)
		},
	}
}

// tasksPidfile returns the path of the pidfile.
func tasksPidfile(c *cli.Context, a *app.App) (string, error) {
	if path := c.String(flagPid); path != "" {
		return filepath.Abs(path)
	}
	return filepath.Join(a.StateDir, "run", "tasks.pid"), nil
}

// tasksLog is where it writes in the background, unless the config says where.
func tasksLog(a *app.App) string { return filepath.Join(a.StateDir, "tasks.log") }

// startTasks starts it in the background.
func startTasks(c *cli.Context, io IO) (err error) {
	a, err := openApp(c, io, "tasks", brief)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close(c.Context)) }()
	path, err := tasksPidfile(c, a)
	if err != nil {
		return err
	}
	ctx, done := io.untilSignal(c.Context)
	defer done()
	line := append(baseLine(a), "tasks", "start", "--"+flagBackground, "--"+flagPid, path)
	b, err := startUp(ctx, io, a, "what works off tasks", tasksLog(a), line)
	if err != nil {
		return err
	}
	log := b.log
	if a.Config.Log.File != "" {
		log = a.Config.Log.File
	}
	_, err = fmt.Fprintf(io.Stdout, "tasks: runs in the background (pid %d); its log is %s\n", b.process.Pid, log)
	return err
}

// stayWithTasks works off tasks with a pidfile, in this terminal or as the one in the
// background.
func stayWithTasks(c *cli.Context, io IO) (err error) {
	background := c.Bool(flagBackground)
	if background {
		settleInBackground()
	}
	signals := stopBySignals(c.Context, io)
	defer signals.end()
	a, err := openApp(c, io, "tasks", lasting)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.Background(), closePatience)
		defer cancel()
		err = errors.Join(err, a.Close(closing))
	}()
	path, err := tasksPidfile(c, a)
	if err != nil {
		return err
	}
	file, err := pidfile.Claim(path, os.Getpid())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Release()) }()
	opt := tasks.WorkOptions{Hurry: signals.hurry}
	if background {
		if a.Config.Log.File == "" {
			a.Config.Log.File = tasksLog(a)
		}
		tell := tellStarter(io)
		opt.Started = func() { tell(nil) }
	}
	_, err = runWorker(signals, io, a, opt, 0)
	return err
}

// runningTasks returns the process that has the pidfile.
func runningTasks(c *cli.Context, a *app.App) (by proc.Identity, runs bool, err error) {
	path, err := tasksPidfile(c, a)
	if err != nil {
		return by, false, err
	}
	pid, held := pidfile.Holder(path)
	if !held {
		return by, false, nil
	}
	by, err = proc.Identify(pid)
	return by, err == nil, nil // else it has ended meanwhile
}

func stopTasks(c *cli.Context, io IO) (err error) {
	patience, err := timeout(c)
	if err != nil {
		return err
	}
	a, err := openApp(c, io, "tasks", brief)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close(c.Context)) }()
	by, runs, err := runningTasks(c, a)
	if err != nil {
		return err
	}
	if !runs {
		_, err = fmt.Fprintln(io.Stdout, "tasks: does not run")
		return err
	}
	if err := by.Signal(proc.Signal(syscall.SIGTERM)); err != nil {
		return fault.Wrap(fault.Failure, err, "cannot stop what works off tasks (pid %d)", by.PID)
	}
	if !c.Bool(flagWait) {
		_, err = fmt.Fprintf(io.Stdout, "tasks: told to stop (pid %d)\n", by.PID)
		return err
	}
	ctx, done := io.untilSignal(c.Context)
	defer done()
	late := fault.New(fault.Failure, "what works off tasks (pid %d) has not ended after %v", by.PID, patience)
	ctx, cancel := withLimit(ctx, patience, late)
	defer cancel()
	watching, enough := context.WithCancel(ctx)
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		showRunning(watching, io, a)
	}()
	err = awaitEnd(ctx, by)
	enough()
	<-shown
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(io.Stdout, "tasks: has ended")
	return err
}

// progressLook is the time between two looks at how many tasks still run.
const progressLook = 200 * time.Millisecond

// showRunning says how many tasks still run, whenever that changes.
func showRunning(ctx context.Context, io IO, a *app.App) {
	look := time.NewTicker(progressLook)
	defer look.Stop()
	for told := 0; ; {
		if n, err := countRunning(ctx, a); err == nil && n != told && n > 0 {
			fmt.Fprintf(io.Stderr, "tasks: waits for %d that run\n", n)
			told = n
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// countRunning counts the tasks that run, by whomever.
func countRunning(ctx context.Context, a *app.App) (int, error) {
	queue, err := a.Tasks(ctx)
	if err != nil {
		return 0, err
	}
	running, err := queue.List(ctx, tasks.Filter{States: []tasks.State{tasks.StateRunning}})
	return len(running), err
}

// tasksStatusView is what status --json prints. Fields are added, never renamed.
type tasksStatusView struct {
	Running bool `json:"running"`
	PID     int  `json:"pid,omitempty"`
	Tasks   int  `json:"tasks_running"`
}

func tasksStatus(c *cli.Context, io IO) (err error) {
	a, err := openApp(c, io, "tasks", brief)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close(c.Context)) }()
	by, runs, err := runningTasks(c, a)
	if err != nil {
		return err
	}
	n, err := countRunning(c.Context, a)
	if err != nil {
		return err
	}
	text := "tasks: does not run"
	if runs {
		text = fmt.Sprintf("tasks: runs (pid %d), %d tasks running", by.PID, n)
	}
	if c.Bool(flagJSON) {
		err = printJSON(io.Stdout, tasksStatusView{Running: runs, PID: by.PID, Tasks: n})
	} else {
		_, err = fmt.Fprintln(io.Stdout, text)
	}
	if err == nil && !runs {
		return exit(fault.NotFound)
	}
	return err
}
