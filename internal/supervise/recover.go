package supervise

import (
	"context"
	"fmt"

	"procops/internal/proc"
)

// recover makes sure that nothing of a former supervisor of this state
// directory still runs, and takes over what its operators wanted. A process is
// known by pid and start time; what its descendants left behind, by the marker
// in their environment.
func (s *Supervisor) recover(ctx context.Context) error {
	records, err := loadProcesses(ctx, s.deps.Store)
	if err != nil {
		return fmt.Errorf("cannot read what ran before: %w", err)
	}
	var forget []string
	for _, r := range records {
		if err := s.endLeftover(ctx, r); err != nil {
			return err
		}
		p, known := s.tree.byName[r.name].(*process)
		switch {
		case !known:
			forget = append(forget, r.name)
		case r.wanted.Valid:
			p.wanted, p.byHand = r.wanted.Bool, true
			if !p.wanted {
				p.reason = "stopped by hand"
			}
		}
	}
	killed, err := proc.Sweep(s.deps.RunToken)
	if err != nil {
		return fmt.Errorf("cannot end what a former supervisor left running: %w", err)
	}
	hidden, err := s.cgroups.Sweep()
	if err != nil {
		return fmt.Errorf("cannot end what a former supervisor left running: %w", err)
	}
	if killed = append(killed, hidden...); len(killed) > 0 {
		s.deps.Log.Warn().Ints("pids", killed).Msg("ended what a former supervisor left running")
	}
	return resetProcesses(ctx, s.deps.Store, forget)
}

// stoppedByHand returns the processes that would be started if an operator had not
// stopped them.
func (s *Supervisor) stoppedByHand() (names []string) {
	for _, p := range s.tree.processes {
		if p.byHand && !p.wanted && p.cfg.Autostart {
			names = append(names, p.name)
		}
	}
	return names
}

func (s *Supervisor) endLeftover(ctx context.Context, r record) error {
	if r.identity.PID == 0 {
		return nil
	}
	killed, err := proc.KillLeftover(ctx, r.identity)
	if err != nil {
		return fmt.Errorf("cannot end %q, which a former supervisor left running as pid %d: %w", r.name, r.identity.PID, err)
	}
	if killed {
		s.deps.Log.Warn().Str("process", r.name).Int("pid", r.identity.PID).Msg("ended a process that a former supervisor left running")
	}
	return nil
}
