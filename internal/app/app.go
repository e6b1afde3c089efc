// Package app is the composition root: it finds the config and the state
// directory, opens what a command needs, connects the concerns and tears all
// down in reverse order.
package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	_ "time/tzdata" // for machines without the zones of the world; their own have precedence

	"github.com/rs/zerolog"

	"procops/internal/config"
	"procops/internal/daemon"
	"procops/internal/event"
	"procops/internal/proc"
	"procops/internal/store"
	"procops/internal/tasks"
	"procops/internal/tasks/broker/group"
)

// Options say where an App finds its config and its state.
type Options struct {
	Source   string // who speaks on the bus: "supervise", "heartbeat"
	Config   string // path of the config; empty means to look for it
	StateDir string // empty means $PROCOPS_STATE_DIR, the config's, the user's
	Getenv   func(string) (string, bool)
	Brief    bool           // the process ends after Close: see store.Options.LeaveLog
	Log      zerolog.Logger // where a command that has no log of its own tells what does not stop it
}

// App is an opened procops: its config, its bus and, once asked for, its store.
type App struct {
	Config   *config.Config
	Bus      *event.Bus
	StateDir string

	getenv   func(string) (string, bool)
	brief    bool
	log      zerolog.Logger
	store    *store.Store
	host     *proc.Host                    // of the supervised processes
	lock     *os.File                      // held by the one supervisor of the state directory
	hosted   atomic.Pointer[daemon.Config] // of the services of the tree
	hooks    *hooks                        // nil: there are none
	teardown teardown

	storeOpening sync.Mutex

	queueOpening sync.Mutex
	queue        *tasks.Queue // nil until it is asked for
	group        *group.Group // the brokers of the queue
	meta         *tasks.Meta  // that the queue tells; nil if the config has none
}

// Open loads the config and finds the state directory. It opens nothing else.
func Open(opt Options) (*App, error) {
	path, err := config.Find(opt.Config, opt.Getenv)
	if err != nil {
		return nil, err
	}
	cfg, err := config.Load(path, opt.Getenv)
	if err != nil {
		return nil, err
	}
	return OpenWith(cfg, opt)
}

// OpenWith is Open for a config that is loaded already.
func OpenWith(cfg *config.Config, opt Options) (*App, error) {
	dir, err := stateDir(opt, cfg)
	if err != nil {
		return nil, err
	}
	a := &App{
		Config:   cfg,
		Bus:      event.NewBus(fmt.Sprintf("%s[%d]", opt.Source, os.Getpid())),
		StateDir: dir,
		getenv:   opt.Getenv,
		brief:    opt.Brief,
		log:      opt.Log,
	}
	a.openHooks()
	return a, nil
}

// Store opens the state store the first time it is asked for.
func (a *App) Store(ctx context.Context) (*store.Store, error) {
	a.storeOpening.Lock()
	defer a.storeOpening.Unlock()
	if a.store != nil {
		return a.store, nil
	}
	s, err := store.Open(ctx, a.StateDir, store.Options{
		Durability: a.Config.Durability,
		KeepEvents: a.Config.Events.Keep,
		Bus:        a.Bus,
		LeaveLog:   a.brief,
	})
	if err != nil {
		return nil, err
	}
	a.store = s
	a.teardown.add("the state store", func(context.Context) error { return s.Close() })
	return s, nil
}

// AtClose has Close do something more: after the hooks, and after all that is opened later
// is closed.
func (a *App) AtClose(name string, do func() error) {
	a.teardown.add(name, func(context.Context) error { return do() })
}

// Close tears down what was opened, last in first out.
func (a *App) Close(ctx context.Context) error {
	a.closeHooks(ctx)
	return a.teardown.run(ctx)
}

// stateDir returns the absolute path of the state directory.
func stateDir(opt Options, cfg *config.Config) (string, error) {
	dir := opt.StateDir
	if dir == "" {
		dir, _ = opt.Getenv("PROCOPS_STATE_DIR")
	}
	if dir == "" {
		dir = cfg.StateDir
	}
	if dir == "" {
		dir = DefaultStateDir(opt.Getenv)
	}
	if dir == "" {
		return "", errors.New("cannot choose a state directory: neither $XDG_STATE_HOME nor $HOME is set; name one with --state-dir")
	}
	return filepath.Abs(dir)
}

// DefaultStateDir returns the state directory for whoever names none, "" if
// there is none either. It follows the XDG base directory specification for
// users and the FHS for root.
func DefaultStateDir(getenv func(string) (string, bool)) string {
	if os.Geteuid() == 0 {
		return "/var/lib/procops"
	}
	if dir, ok := getenv("XDG_STATE_HOME"); ok && filepath.IsAbs(dir) {
		return filepath.Join(dir, "procops")
	}
	if home, ok := getenv("HOME"); ok && home != "" {
		return filepath.Join(home, ".local", "state", "procops")
	}
	return ""
}
