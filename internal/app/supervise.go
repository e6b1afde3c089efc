package app

import (
	"context"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/rs/zerolog"

	"procops/internal/config"
	"procops/internal/control"
	"procops/internal/fault"
	"procops/internal/proc"
	"procops/internal/sdnotify"
	"procops/internal/supervise"
)

// SuperviseOptions say how a tree is run.
type SuperviseOptions struct {
	Hurry  <-chan struct{}         // a receive cuts the stop ladders short; may be nil
	Output func(supervise.LogLine) // hears the processes' output; must not block; may be nil
	Begun  func(*Supervisor)       // called when the control socket answers, before the tree is started; may be nil
	Log    zerolog.Logger
	Bound  string // why this run cannot be upgraded; empty: it can
}

// SocketPath returns the path of the supervisor's control socket.
func (a *App) SocketPath() string { return filepath.Join(a.StateDir, "supervise.sock") }

// MakeStateDir makes the state directory if it does not exist.
func (a *App) MakeStateDir() error { return makeStateDir(a.StateDir) }

// LogDir returns the directory of the processes' log files.
func (a *App) LogDir() string {
	if dir := a.Config.Supervise.LogDir; dir != "" {
		return dir
	}
	return filepath.Join(a.StateDir, "logs")
}

// Host returns the owner of the supervised processes, from when
// SuperviseOptions.Begun is called until Close.
func (a *App) Host() *proc.Host { return a.host }

// Supervise runs the tree of the config until it ends; the end of ctx stops it
// in order. All that can be refused is refused before anything is started: a
// bad config, a second supervisor (fault.Conflict), a damaged state.
func (a *App) Supervise(ctx context.Context, opt SuperviseOptions) (supervise.Report, error) {
	if value, _ := a.getenv(envHandover); value == rehearsal {
		return supervise.Report{}, a.rehearse(ctx)
	}
	former, err := readHandover()
	if err != nil {
		return supervise.Report{}, err
	}
	opening := ctx
	if former != nil {
		// The tree is there already: who is told to end must have it in hand to do so.
		opening = context.WithoutCancel(ctx)
	}
	tree, err := a.newSupervisor(opening, opt, former)
	if err != nil {
		return supervise.Report{}, err
	}
	s := &Supervisor{Supervisor: tree, app: a, bound: opt.Bound, ending: ctx.Done()}
	if err := a.serveControl(s, opt.Log, former); err != nil {
		return supervise.Report{}, err
	}
	var listener sync.WaitGroup
	defer listener.Wait()
	ended := make(chan struct{})
	defer close(ended)
	listener.Go(func() {
		select {
		case <-opt.Hurry:
			s.Hurry()
		case <-ended:
		}
	})
	if opt.Begun != nil {
		opt.Begun(s)
	}
	listener.Go(func() { a.tellManager(ctx, s, ended) })
	return s.Run(ctx)
}

// tellManager tells the service manager above procops, if there is one, that the tree is
// up, that it lives, and that it goes down.
func (a *App) tellManager(ctx context.Context, s *Supervisor, ended <-chan struct{}) {
	sender := sdnotify.NewSender(a.getenv)
	if err := sender.Send("READY=1", fmt.Sprintf("MAINPID=%d", os.Getpid())); err != nil {
		return
	}
	watching, stop := context.WithCancel(context.Background())
	var watch sync.WaitGroup
	watch.Go(func() { sender.Watch(watching, s.Alive) })
	select {
	case <-ctx.Done():
		_ = sender.Send("STOPPING=1") // it sees so itself soon
		<-ended
	case <-ended:
	}
	stop()
	watch.Wait()
}

// rehearse does all that can fail before a tree is touched.
func (a *App) rehearse(ctx context.Context) error {
	if err := a.checkTree(a.Config); err != nil {
		return err
	}
	if _, err := a.Store(ctx); err != nil {
		return err
	}
	return ErrRehearsed
}

// newSupervisor makes a supervisor; one that goes on in the place of a former one
// has its lock.
func (a *App) newSupervisor(ctx context.Context, opt SuperviseOptions, former *handover) (*supervise.Supervisor, error) {
	cfg := a.Config.Supervise
	a.hosted.Store(&a.Config.Daemon)
	if err := a.checkTree(a.Config); err != nil {
		return nil, err
	}
	if err := a.takeLock(ctx, former); err != nil {
		return nil, err
	}
	a.teardown.add("the supervisor's lock", func(context.Context) error { return a.lock.Close() })
	st, err := a.Store(ctx)
	if err != nil {
		return nil, err
	}
	token := runToken(a.StateDir)
	options := proc.HostOptions{
		Guard: true, Subreaper: true, RunToken: token,
		OnError: func(err error) { opt.Log.Warn().Err(err).Msg("the processes are guarded less") },
	}
	var tree *supervise.Handover
	if former != nil {
		tree = &former.Tree
		options.Handover = &tree.Host
	}
	host, err := a.newHost(opt.Log, options)
	if err != nil {
		return nil, err
	}
	a.host = host
	a.teardown.add("the host of the processes", func(context.Context) error { return host.Close() })
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("cannot tell which procops this is: %w", err)
	}
	return supervise.New(ctx, cfg, supervise.Deps{
		Host: host, Store: st, Bus: a.Bus, Log: opt.Log,
		StateDir: a.StateDir, RunToken: token, LogDir: a.LogDir(), Config: a.Config.Path(),
		Env: a.childEnv(), Output: opt.Output, Handover: tree,
		PushTask: a.pushTask, SubmitJob: a.submitJob, Program: program, NewService: a.newService(opt.Log),
	})
}

func (a *App) takeLock(ctx context.Context, former *handover) (err error) {
	if former != nil {
		syscall.CloseOnExec(former.Lock)
		a.lock = os.NewFile(uintptr(former.Lock), "supervise.lock")
		return nil
	}
	a.lock, err = lockSupervisor(ctx, a.StateDir)
	return err
}

// childEnv lets a supervised process call procops as it would be called here:
// $PROCOPS_BIN is this binary, and the others lead it to the same state.
func (a *App) childEnv() []string {
	env := []string{"PROCOPS_STATE_DIR=" + a.StateDir}
	if path, err := filepath.Abs(a.Config.Path()); err == nil && a.Config.Path() != "" {
		env = append(env, "PROCOPS_CONFIG="+path)
	}
	if exe, err := os.Executable(); err == nil {
		env = append(env, "PROCOPS_BIN="+exe)
	}
	return env
}

// checkTree refuses a config whose tree cannot be run on this machine.
func (a *App) checkTree(cfg *config.Config) error {
	if len(cfg.Supervise.Expanded().Process) == 0 && len(cfg.Supervise.Process) == 0 {
		return fault.New(fault.Usage, "there is nothing to supervise: %s", a.configName()).
			WithHint("`procops config init` writes a starter config with a [supervise.process.NAME] section")
	}
	return cfg.CheckTreePrograms()
}

// serveControl answers operators on the control socket until teardown.
func (a *App) serveControl(s *Supervisor, log zerolog.Logger, former *handover) error {
	listener, err := a.listen(former)
	if err != nil {
		return err
	}
	s.listener = listener
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- control.NewServer(s, log).Serve(ctx, listener) }()
	a.teardown.add("the control socket", func(context.Context) error {
		cancel()
		return <-served
	})
	return nil
}

func (a *App) listen(former *handover) (control.Listener, error) {
	if former == nil {
		return control.Listen(a.SocketPath())
	}
	syscall.CloseOnExec(former.Socket)
	return control.Inherit(a.SocketPath(), os.NewFile(uintptr(former.Socket), "control socket"))
}

func (a *App) configName() string {
	if path := a.Config.Path(); path != "" {
		return fmt.Sprintf("%q has no [supervise.process.NAME] section", path)
	}
	return "no config was found"
}

// runToken marks the descendants of every supervisor of a state directory, so
// that the next one finds what its predecessor has left behind.
func runToken(stateDir string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(stateDir)) // never fails
	return fmt.Sprintf("%016x", h.Sum64())
}
