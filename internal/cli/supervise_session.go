package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"procops/internal/app"
	"procops/internal/logging"
	"procops/internal/proc"
	"procops/internal/supervise"
)

const (
	// closePatience is how long the state may take to be closed.
	closePatience = 10 * time.Second
	// readerPatience is how long procops waits, when all is down, for somebody
	// who reads what it has written; signalPatience after a signal.
	readerPatience = 10 * time.Second
	signalPatience = time.Second
	// passPatience is how long the tree may take to pass a signal on.
	passPatience = time.Second
	// progressInterval is the time between two lines about what an ordered stop
	// still waits for.
	progressInterval = 3 * time.Second
)

// session is one `supervise run`: a tree, the console it speaks on, and the
// signals that end it.
type session struct {
	io      IO
	app     *app.App
	opt     runOptions
	console *console
	files   runFiles
	log     zerolog.Logger

	ctx      context.Context // its end stops the tree in order
	stop     context.CancelCauseFunc
	hurryCtx context.Context // its end kills what is left
	hurry    context.CancelFunc

	supervisor atomic.Pointer[app.Supervisor] // once it has begun
	then       *then                          // nil without a command to run
	terminal   bool                           // stderr was a terminal at the start
}

func newSession(ctx context.Context, io IO, a *app.App, opt runOptions, files runFiles) (*session, error) {
	s := &session{io: io, app: a, opt: opt, files: files, terminal: isTerminal(io.Stderr)}
	s.ctx, s.stop = context.WithCancelCause(ctx)
	s.hurryCtx, s.hurry = context.WithCancel(ctx)
	s.console = newConsole(streamsOf(io, opt, files), opt.style, opt.quiet, newDescriber(a.Config.Supervise))
	if opt.then != nil {
		s.then = newThen(s)
	}
	var err error
	s.log, err = s.newLog()
	return s, err
}

// newLog returns procops' own log: into the file that the config names, else to
// the console.
func (s *session) newLog() (zerolog.Logger, error) {
	cfg := s.app.Config.Log
	switch {
	case s.files.log != nil:
		return logging.New(s.files.log, cfg.Level, cfg.Format)
	case s.opt.style.json:
		return logging.New(s.console.err, cfg.Level, logging.FormatJSON)
	default:
		return logging.New(s.console.err, cfg.Level, cfg.Format)
	}
}

// run runs the tree, closes everything and reports how it ended.
func (s *session) run() error {
	over, conducted := make(chan struct{}), make(chan struct{})
	// From here on signals are ours, before anything is started.
	signals, others := s.io.Signals(), s.io.OtherSignals()
	go func() {
		defer close(conducted)
		s.conduct(signals, others, over)
	}()
	report, err := s.supervise()
	closing, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	err = errors.Join(err, s.app.Close(closing))
	s.flush()
	close(over)
	<-conducted
	s.stop(nil)
	s.hurry()
	if err := errors.Join(err, s.files.close()); err != nil {
		return err
	}
	if report.ExitCode() != 0 {
		if _, err := report.WriteTo(s.io.Stderr); err != nil {
			return err
		}
	}
	if s.then != nil {
		return s.then.result(report)
	}
	return asExit(report.ExitCode())
}

// asExit returns the error that ends procops with a code.
func asExit(code int) error {
	if code == 0 {
		return nil
	}
	return exit(code)
}

// supervise runs the tree, and beside it the command of --then, until both have
// ended.
func (s *session) supervise() (supervise.Report, error) {
	defer s.app.Bus.Subscribe("supervise.*", s.console.event)()
	report, err := s.app.Supervise(s.ctx, app.SuperviseOptions{
		Hurry:  s.hurryCtx.Done(),
		Output: s.hears(),
		Begun:  s.begun,
		Log:    s.log,
		Bound:  s.bound(),
	})
	if errors.Is(err, app.ErrRehearsed) {
		_, err = fmt.Fprintln(s.io.Stdout, app.RehearsalAnswer)
	}
	if s.endedEarly(err) {
		err = nil
		if s.then != nil {
			err = context.Cause(s.ctx) // the command was not run
		}
	}
	if s.then != nil {
		s.then.treeEnded(err == nil && report.ExitCode() == 0)
	}
	return report, err
}

// endedEarly reports whether err only says that a signal has come before there
// was a tree to stop.
func (s *session) endedEarly(err error) bool {
	_, bySignal := errors.AsType[*signalError](err)
	return s.ctx.Err() != nil && (bySignal || errors.Is(err, context.Canceled))
}

// bound says why this run cannot become another program; empty: it can.
func (s *session) bound() string {
	if s.then != nil {
		return "it waits for the end of the command of --" + flagThen
	}
	return ""
}

func (s *session) begun(supervisor *app.Supervisor) {
	s.supervisor.Store(supervisor)
	if s.then != nil {
		s.then.begin(supervisor.Supervisor)
	}
}

// hears returns who hears each line of output, nil if nobody does: lines that
// nobody hears cost less.
func (s *session) hears() func(supervise.LogLine) {
	if s.opt.quiet && s.then == nil {
		return nil
	}
	return s.output
}

func (s *session) output(l supervise.LogLine) {
	s.console.line(l)
	if s.then != nil {
		s.then.tails.add(l)
	}
}

// flush waits until what the console has is read.
func (s *session) flush() {
	ctx, cancel := context.WithTimeout(context.Background(), readerPatience)
	defer cancel()
	hasten := context.AfterFunc(s.ctx, func() { time.AfterFunc(signalPatience, cancel) })
	defer hasten()
	err := s.console.close(ctx)
	if err != nil && ctx.Err() == nil && !errors.Is(err, syscall.EPIPE) {
		printError(s.io.Stderr, fmt.Errorf("cannot print all output: %w", err))
	}
}

// conduct does what signals ask for until all is over, and while the tree is
// being stopped it says what is waited for.
func (s *session) conduct(signals, others <-chan os.Signal, over <-chan struct{}) {
	stopping := s.ctx.Done()
	progress := time.NewTicker(progressInterval)
	defer progress.Stop()
	progress.Stop() // nothing wakes an idle supervisor
	for {
		select {
		case sig := <-signals:
			s.signal(sig)
		case sig := <-others:
			s.signal(sig)
		case <-stopping:
			stopping = nil
			progress.Reset(progressInterval)
		case <-progress.C:
			s.tellProgress()
		case <-over:
			return
		}
	}
}

func (s *session) signal(sig os.Signal) {
	number, ok := sig.(syscall.Signal)
	if !ok {
		return
	}
	switch number {
	case syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT:
		s.end(number)
	case syscall.SIGHUP:
		if s.terminal && !isTerminal(s.io.Stderr) {
			s.end(number) // the terminal has gone
			return
		}
		s.reload()
	case syscall.SIGPIPE:
		// It comes with a failed write and says nothing that the write does not.
	default:
		s.passOn(number)
	}
}

// passOn gives a signal that means nothing to procops to the process of
// exit_with, as an init does. Without one it is dropped.
func (s *session) passOn(sig syscall.Signal) {
	supervisor := s.supervisor.Load()
	if supervisor == nil {
		return
	}
	ctx, cancel := context.WithTimeout(s.hurryCtx, passPatience)
	defer cancel()
	err := supervisor.PassOn(ctx, proc.Signal(sig))
	if err != nil && sig != syscall.SIGWINCH { // which comes by itself, and again and again
		s.log.Warn().Err(err).Msg("cannot pass a signal on")
	}
}

// end stops the tree in order and, asked again, at once.
func (s *session) end(sig syscall.Signal) {
	if s.ctx.Err() != nil {
		s.console.say("killing what is left")
		s.hurry()
		return
	}
	s.console.say("stopping all in order; once more kills what is left")
	s.stop(&signalError{sig})
}

// reload is what SIGHUP does: the log files are opened again, and the config is
// read again.
func (s *session) reload() {
	err := s.files.each((*logging.File).Reopen)
	supervisor := s.supervisor.Load()
	if supervisor != nil {
		err = errors.Join(err, supervisor.ReopenLogs(s.ctx))
	}
	if err != nil {
		s.log.Error().Err(err).Msg("cannot reopen all log files")
	} else {
		s.console.say("log files are opened again")
	}
	if supervisor == nil || supervisor.Config() == "" {
		return
	}
	if _, err := supervisor.Reload(s.ctx, false); err != nil {
		printError(s.console.err, fmt.Errorf("cannot reload, and nothing is changed: %w", err))
	}
}

// tellProgress says what an ordered stop waits for.
func (s *session) tellProgress() {
	supervisor := s.supervisor.Load()
	if supervisor == nil {
		return
	}
	ctx, cancel := context.WithTimeout(s.hurryCtx, progressInterval)
	defer cancel()
	status, err := supervisor.Status(ctx)
	if err != nil {
		return // it has ended or is about to
	}
	if names := stillUp(status); len(names) > 0 {
		s.console.say("waiting for %s", strings.Join(names, ", "))
	}
}

// stillUp names the processes that an ordered stop waits for.
func stillUp(status supervise.Status) []string {
	var names []string
	for _, p := range status.Processes {
		if p.State == supervise.StateStopping || p.State == supervise.StateEnding {
			names = append(names, fmt.Sprintf("%s (pid %d, %s)", p.Name, p.PID, span(time.Since(p.Since))))
		}
	}
	return abbreviate(names, 5)
}

// abbreviate keeps the first n of a list and says how many more there are.
func abbreviate(list []string, n int) []string {
	if len(list) <= n {
		return list
	}
	return append(list[:n:n], fmt.Sprintf("%d more", len(list)-n))
}
