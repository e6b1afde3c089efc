package daemon

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"procops/internal/proc"
	"procops/internal/runner"
)

// order has the loop do something; after its end nothing is done.
func (d *Daemon) order(do func()) {
	select {
	case d.orders <- do:
	case <-d.ending:
	case <-d.done:
	}
}

// Alive returns when the loop has taken a breath; the error is that of ctx.
func (d *Daemon) Alive(ctx context.Context) error {
	select {
	case d.orders <- func() {}:
		return nil
	case <-d.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Signal does what a signal asks for: QUIT Quit, TERM and INT Stop, HUP Reload, USR1 and
// USR2 what is configured; others do nothing.
func (d *Daemon) Signal(sig syscall.Signal) {
	switch sig {
	case syscall.SIGQUIT:
		d.Quit()
	case syscall.SIGTERM, syscall.SIGINT:
		d.Stop()
	case syscall.SIGHUP:
		d.Reload()
	case syscall.SIGUSR1:
		d.User1()
	case syscall.SIGUSR2:
		d.User2()
	default:
	}
}

// Quit ends the daemon after the turn under way.
func (d *Daemon) Quit() {
	d.order(func() {
		d.end(TriggerQuit, "it was told to end after its turn")
		d.tellState(d.reason)
	})
}

// Stop stops the turn under way and ends the daemon; the second time it hurries.
func (d *Daemon) Stop() {
	select {
	case <-d.ending: // a command of on_usr1 or on_usr2 may have kept it
		d.Hurry()
		return
	default:
	}
	d.order(func() {
		if d.state == StateStopping {
			d.Hurry()
			return
		}
		d.end(TriggerStop, "it was told to stop")
		d.tellState(d.reason)
	})
}

// Hurry cuts the stop ladder short: what is being stopped, now or later, is killed.
func (d *Daemon) Hurry() { d.hurryOnce.Do(func() { close(d.hurry) }) }

// User1 does what signal USR1 asks for: the command of on_usr1, or the next turn now.
func (d *Daemon) User1() {
	d.order(func() {
		switch {
		case len(d.cfg.OnUSR1) > 0:
			d.hook("on_usr1", d.cfg.OnUSR1)
		case d.state == StateWaiting:
			d.startNow()
		}
	})
}

// User2 does what signal USR2 asks for: the command of on_usr2.
func (d *Daemon) User2() {
	d.order(func() {
		if len(d.cfg.OnUSR2) > 0 {
			d.hook("on_usr2", d.cfg.OnUSR2)
		}
	})
}

// hook runs a command beside the turns, one of each kind at a time. The end of the daemon
// stops it.
func (d *Daemon) hook(why string, command proc.Command) {
	if d.hooked[why] {
		d.deps.Log.Warn().Str("daemon", d.id.String()).Msg(why + " is still under way")
		return
	}
	program := d.cfg.program(d.id, max(1, d.cfg.Instances))
	fill := d.id.filler(max(1, d.cfg.Instances))
	program.Command = make(proc.Command, len(command))
	for i, word := range command {
		program.Command[i] = fill.Replace(word)
	}
	spec, err := program.Spec(append(append([]string{}, d.deps.Env...), "PROCOPS_DAEMON="+d.id.Name, "PROCOPS_CONTEXT="+d.id.Context))
	if err != nil {
		d.deps.Log.Warn().Err(err).Str("daemon", d.id.String()).Msg("cannot run " + why)
		return
	}
	d.hooked[why] = true
	ladder := d.cfg.Stop.Ladder()
	ctx, over := context.WithCancel(context.Background())
	d.hooks.Go(func() {
		select {
		case <-d.ending:
			over()
		case <-ctx.Done():
		}
	})
	d.hooks.Go(func() {
		defer d.order(func() { delete(d.hooked, why) })
		defer over()
		r, err := runner.Run(ctx, d.deps.Host, runner.Unit{
			Command: spec.Argv, Dir: spec.Dir, Env: spec.Env, User: spec.User, Umask: spec.Umask,
			Output: d.logs.output, MaxOutput: -1, TimeLimit: hookLimit, Ladder: ladder, Hurry: d.hurry,
		})
		if err == nil && r.Outcome != runner.Success && r.Outcome != runner.Cancelled {
			err = fmt.Errorf("it ended with %s", r.Reason)
		}
		if err != nil {
			d.deps.Log.Warn().Err(err).Str("daemon", d.id.String()).Msg(why + " has failed")
		}
	})
}

// hookLimit is how long a command of on_usr1 or on_usr2 may take.
const hookLimit = time.Minute

// Reload reads the config again, opens the logs again, and does not disturb the turn
// under way. A config that cannot be read changes nothing.
func (d *Daemon) Reload() {
	d.order(func() {
		err := d.logs.reopen()
		if err == nil && d.deps.Reload != nil {
			var fresh Config
			if fresh, err = d.deps.Reload(); err == nil {
				if _, err = fresh.Find(d.id.Name); err == nil {
					d.fresh = &fresh
				}
			}
		}
		d.tellReload(err)
		if d.state == StateWaiting && d.fresh != nil {
			d.renew()
			d.plan(d.pace.again(time.Now(), d.known.failures))
			d.tellState("")
		}
	})
}

// renew brings into effect what a reload has brought. What the daemon is called by, the
// place of its pidfile and its logs, stays.
func (d *Daemon) renew() {
	if d.fresh == nil {
		return
	}
	section, err := d.fresh.Find(d.id.Name)
	d.fresh = nil
	if err != nil {
		return
	}
	d.cfg, d.pace, d.trimmed = section, d.pace.renewed(section), false
	d.journal.keepTurns(section.HistoryKeep)
	fresh, err := d.newWorker()
	if err != nil {
		d.deps.Log.Error().Err(err).Str("daemon", d.id.String()).Msg("turns go on as before")
		return
	}
	d.worker.close()
	d.worker = fresh
}
