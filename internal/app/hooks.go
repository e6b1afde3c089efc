package app

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/rs/zerolog"

	"procops/internal/control"
	"procops/internal/event"
	"procops/internal/fault"
	"procops/internal/gearman"
	"procops/internal/hook"
	"procops/internal/proc"
	"procops/internal/supervise"
)

// hooks are those of the config, and who runs their commands.
type hooks struct {
	running *hook.Hooks // nil: there are none

	log   atomic.Pointer[zerolog.Logger]
	mu    sync.Mutex
	host  *proc.Host
	own   bool          // host was made for them
	given chan struct{} // closed when there is a host
	alone chan struct{} // closed when no host will come any more
	leave sync.Once     // closes alone
}

// openHooks begins to act on events as the config says. A procops that a hook has started
// does not.
func (a *App) openHooks() {
	if _, within := a.getenv(hook.EnvName); within || len(a.Config.Hook) == 0 {
		return
	}
	hooks := &hooks{given: make(chan struct{}), alone: make(chan struct{})}
	a.hooks = hooks
	a.UseLog(a.log)
	a.hooks.running = hook.New(a.Config.Hook, a.Bus, hook.Deps{
		Host: a.hooks.waitForHost, Env: a.childEnv(), Log: func() zerolog.Logger { return *hooks.log.Load() },
		PushTask: a.pushAlert, SubmitJob: a.submitEvent, Beat: a.beatFor, Control: a.control, Record: a.recordEvent,
	})
}

// closeHooks deals with the events that are still there. That it is not through in time is
// told, and no failure of the command.
func (a *App) closeHooks(ctx context.Context) {
	if a.hooks == nil {
		return
	}
	a.leaveHooksAlone()
	if err := a.hooks.running.Close(ctx); err != nil {
		a.hooks.log.Load().Warn().Err(err).Msg("the hooks were not through in time")
	}
	a.hooks.mu.Lock()
	defer a.hooks.mu.Unlock()
	if a.hooks.own {
		_ = a.hooks.host.Close() // it has ended what it could
	}
	a.hooks = nil
}

// leaveHooksAlone says that nothing else in this process has children.
func (a *App) leaveHooksAlone() {
	if a.hooks != nil {
		a.hooks.leave.Do(func() { close(a.hooks.alone) })
	}
}

// UseLog says where the command logs.
func (a *App) UseLog(log zerolog.Logger) {
	if a.hooks != nil {
		a.hooks.log.Store(&log)
	}
}

// newHost makes the owner of the children of this process: those of hooks, too.
func (a *App) newHost(log zerolog.Logger, o proc.HostOptions) (*proc.Host, error) {
	a.UseLog(log)
	h, err := proc.NewHost(o)
	if err == nil {
		a.UseHost(h)
	}
	return h, err
}

// UseHost says who owns the children of this process.
func (a *App) UseHost(h *proc.Host) {
	if a.hooks == nil {
		return
	}
	a.hooks.mu.Lock()
	defer a.hooks.mu.Unlock()
	a.hooks.host = h
	close(a.hooks.given)
}

// waitForHost returns the owner of the children of this process. A process that has none
// gets one when it is known that none will come: at its end at the latest.
func (h *hooks) waitForHost(ctx context.Context) (*proc.Host, error) {
	select {
	case <-h.given:
	case <-h.alone:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.host != nil {
		return h.host, nil
	}
	host, err := proc.NewHost(proc.HostOptions{Guard: true, Subreaper: true})
	if err == nil {
		h.host, h.own = host, true
	}
	return host, err
}

// submitEvent is what a hook with a job does.
func (a *App) submitEvent(ctx context.Context, function string, workload []byte) error {
	_, err := gearman.NewClient(a.Config.Worker).SubmitBackground(ctx, gearman.Job{Function: function, Workload: workload})
	return err
}

// control does something to a supervised process or group.
func (a *App) control(ctx context.Context, action hook.Action, name string) error {
	results, err := control.Dial(a.SocketPath()).Do(ctx, supervise.Request{Action: supervise.Action(action), Names: []string{name}})
	if err != nil {
		return err
	}
	for _, r := range results {
		if !r.OK {
			return fault.New(fault.Failure, "cannot %s %q: %s", action, r.Name, r.Note)
		}
	}
	return nil
}

// recordEvent keeps an event in the log of the state directory.
func (a *App) recordEvent(ctx context.Context, e event.Event) error {
	st, err := a.Store(ctx)
	if err != nil {
		return err
	}
	_, err = st.Record(ctx, e)
	return err
}
