package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"procops/internal/app"
	"procops/internal/fault"
	"procops/internal/tasks"
)

const flagUntilEmpty = "until-empty"

func tasksWorkCommand(io IO) *cli.Command {
	return &cli.Command{
		Name:  "work",
		Usage: "run tasks as they come",
		Description: "Runs tasks of the types that have a command in the config, as many at once as\n" +
			"\"workers\" in the section [tasks] says; any number of worker processes may run.\n\n" +
			"Ctrl-C (or TERM) begins nothing new and lets what runs go on for stop_grace; what\n" +
			"runs then is ended and given back. A second one does so at once.\n\n" +
			"With --until-empty it ends when nothing is ready or running any more, also in other\n" +
			"worker processes; tasks for a later time are not waited for. The exit code is 1 when\n" +
			"a run has failed, 0 otherwise.\n\n" +
			examples("procops tasks work", "procops tasks work --until-empty --timeout 10m   # in CI"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: flagUntilEmpty, Usage: "end when all is done"},
			timeoutFlag("with --until-empty: give up after this `TIME`"),
		},
		Action: func(c *cli.Context) error { return workTasks(c, io) },
	}
}

func workTasks(c *cli.Context, io IO) (err error) {
	if _, err := args(c, 0, 0, ""); err != nil {
		return err
	}
	limit, err := timeout(c)
	if err != nil {
		return err
	}
	if limit > 0 && !c.Bool(flagUntilEmpty) {
		return fault.New(fault.Usage, "%s: --%s goes with --%s only", commandName(c), flagTimeout, flagUntilEmpty)
	}
	a, err := openApp(c, io, "tasks", lasting)
	if err != nil {
		return err
	}
	signals := stopBySignals(c.Context, io)
	defer signals.end()
	report, err := runWorker(signals, io, a, tasks.WorkOptions{UntilEmpty: c.Bool(flagUntilEmpty), Hurry: signals.hurry}, limit)
	closing, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	err = errors.Join(err, a.Close(closing))
	var sig *signalError
	switch {
	case err != nil:
		return err
	case c.Bool(flagUntilEmpty) && errors.As(context.Cause(signals.ctx), &sig):
		return sig
	case c.Bool(flagUntilEmpty) && report.Failed > 0:
		return fault.New(fault.Failure, "%d of %d runs have failed", report.Failed, report.Failed+report.Completed).
			WithHint("`procops tasks list --status dead --status retrying` shows which")
	}
	return nil
}

// runWorker works until a signal, or until all is done.
func runWorker(signals *stopSignals, io IO, a *app.App, opt tasks.WorkOptions, limit time.Duration) (report tasks.Report, err error) {
	line := newStatusLine(io.Stderr)
	log, err := openLog(line, a)
	if err != nil {
		return report, err
	}
	late := fault.New(fault.Failure, "the queue is not empty after %s", limit)
	ctx, cancel := withLimit(signals.ctx, limit, late)
	defer cancel()
	if opt.UntilEmpty && line.terminal {
		opt.Observe = func(p tasks.Progress) { line.show(workText(p)) }
	}
	report, err = a.WorkTasks(ctx, log, opt)
	line.show("")
	if err == nil && errors.Is(context.Cause(ctx), late) {
		err = late
	}
	return report, err
}

// workText says in a line how far a worker is that ends when all is done.
func workText(p tasks.Progress) string {
	ended := p.Completed + p.Failed
	text := fmt.Sprintf("%d done, %d failed, %d running", p.Completed, p.Failed, p.Running)
	if total := max(p.Found, ended+p.Running); total > 0 {
		text = fmt.Sprintf("%s %d of %d: %s", bar(100*float64(ended)/float64(total)), ended, total, text)
	}
	return text
}

// stopSignals stop what works in the foreground: the first ends ctx, the second closes
// hurry. SIGPIPE is none of them: it is about what a command has not read.
type stopSignals struct {
	ctx   context.Context
	hurry chan struct{}
	stop  context.CancelCauseFunc
	over  chan struct{}
	done  chan struct{}
}

func stopBySignals(ctx context.Context, io IO) *stopSignals {
	s := &stopSignals{hurry: make(chan struct{}), over: make(chan struct{}), done: make(chan struct{})}
	s.ctx, s.stop = context.WithCancelCause(ctx)
	signals := io.Signals()
	go func() {
		defer close(s.done)
		s.listen(signals)
	}()
	return s
}

func (s *stopSignals) listen(signals <-chan os.Signal) {
	for {
		var got os.Signal
		select {
		case got = <-signals:
		case <-s.over:
			return
		}
		sig, ok := got.(syscall.Signal)
		if !ok || sig == syscall.SIGUSR1 || sig == syscall.SIGUSR2 || sig == syscall.SIGPIPE {
			continue
		}
		if s.ctx.Err() != nil {
			close(s.hurry)
			return
		}
		s.stop(&signalError{sig})
	}
}

// end ends the listening.
func (s *stopSignals) end() {
	close(s.over)
	<-s.done
	s.stop(nil)
}
