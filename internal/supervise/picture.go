package supervise

import (
	"context"
	"os"

	"procops/internal/proc"
)

// Status returns a picture of the tree.
func (s *Supervisor) Status(ctx context.Context) (Status, error) {
	var running []proc.Identity // the answer gives the right to read it
	st, err := learn(ctx, s, func() (Status, error) {
		st := Status{PID: os.Getpid(), Started: s.began, Config: s.deps.Config, StateDir: s.deps.StateDir, Stopping: s.stopping, Upgrades: s.upgrades}
		st.Program, _ = os.Executable()
		for _, p := range s.everything() {
			st.Processes = append(st.Processes, p.status())
			running = append(running, p.identity())
		}
		for _, n := range s.tree.root {
			st.Tree = append(st.Tree, n.picture())
		}
		return st, nil
	})
	if err != nil {
		return Status{}, err
	}
	// Outside the loop: reading /proc for a thousand processes takes a while.
	for i, id := range running {
		if id.PID == 0 {
			continue
		}
		if usage, err := id.Usage(); err == nil {
			st.Processes[i].CPU, st.Processes[i].Memory = usage.CPU.Seconds(), usage.RSS
		}
	}
	return st, nil
}

func (p *process) identity() proc.Identity {
	if p.run == nil {
		return proc.Identity{}
	}
	return p.run.child.Identity()
}

func (p *process) status() ProcessStatus {
	st := ProcessStatus{
		Name:     p.name,
		Group:    p.path(),
		Instance: p.cfg.which.number,
		Command:  p.cfg.Command.String(),
		State:    p.state,
		Wanted:   p.wanted,
		Reason:   p.reason,
		Since:    p.since,
		Restarts: max(0, p.started-1),
		LastExit: p.lastExit,
		Dropped:  p.output.dropped(),
		Log:      p.output.path,
		Cgroup:   p.cgroupStatus(),
	}
	if p.run != nil {
		st.PID, st.Started, st.Ready = p.run.child.PID(), p.run.began, p.run.ready
		st.Said, st.Alive, st.Watchdog = p.run.said.Said, p.alive(), p.run.watchdog.status()
		if c, is := p.run.child.(*served); is {
			st.StatusText = c.service.Status()
		}
	}
	return st
}

// alive returns what the liveness checks of a running process have found.
func (p *process) alive() *Alive {
	if p.cfg.Alive == nil || p.state != StateRunning {
		return nil
	}
	return &Alive{Passed: p.run.pulse.passed, Failures: p.run.pulse.failures, Problem: p.run.obstacle}
}
