package supervise

import (
	"context"
	"fmt"
	"slices"

	"procops/internal/proc"
)

// decisive returns the process that exit_with names, nil without one.
func (s *Supervisor) decisive() *process {
	p, _ := s.tree.byName[s.cfg.ExitWith].(*process)
	return p
}

// conclude begins to stop the tree if the process of exit_with has ended for
// good, and reports whether it did.
func (s *Supervisor) conclude() bool {
	p := s.decisive()
	if s.stopping || p == nil || !p.endedForGood() {
		return false
	}
	s.journal.emit(eventConcluded.New(p.name, concludedData{Code: s.codeOf(p)}))
	s.shutdown()
	return true
}

// endedForGood reports whether p has come to an end of its own and neither its
// chain nor a group above will start it again. One that an operator has stopped
// may be wanted again.
func (p *process) endedForGood() bool {
	return (p.state == StateCompleted || p.state == StateFatal) && !p.undecided()
}

// decidedBy reports whether an end of the named process that ends supervision
// leaves the exit code to that of exit_with: it is that process, or that process
// has ended before.
func (s *Supervisor) decidedBy(name string) bool {
	p := s.decisive()
	return p == nil || p.name == name || p.endedForGood()
}

// decidedCode returns the exit code that the process of exit_with gives procops,
// nil if it gives none.
func (s *Supervisor) decidedCode() *int {
	p := s.decisive()
	if p == nil || s.outvoted || p.lastExit == nil && p.state != StateFatal {
		return nil
	}
	code := s.codeOf(p)
	return &code
}

// codeOf returns the exit code of the last end of p. That of a failure is never
// 0 where procops had to end it, or could not start it.
func (s *Supervisor) codeOf(p *process) int {
	for _, f := range slices.Backward(s.failures) {
		if f.Process == p.name {
			return f.Code
		}
	}
	if p.lastExit == nil {
		return 0
	}
	return p.lastExit.Code
}

// PassOn sends a signal to the process that exit_with names. Without one it is
// dropped. The error says that the process does not run.
func (s *Supervisor) PassOn(ctx context.Context, sig proc.Signal) error {
	_, err := learn(ctx, s, func() (struct{}, error) {
		p := s.decisive()
		switch {
		case p == nil:
			return struct{}{}, nil
		case p.run == nil:
			return struct{}{}, fmt.Errorf("cannot send %s to %q: it does not run", sig, p.name)
		}
		return struct{}{}, p.run.child.Signal(sig)
	})
	return err
}
