package supervise

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"os"
	"slices"
	"strings"

	"procops/internal/fault"
	"procops/internal/proc"
)

// recover makes sure that nothing of a former supervisor of this state directory
// still runs, except what is to be taken back, which it returns; and it takes
// over what operators wanted. A process is known by pid and start time; what
// descendants left behind, by the marker in their environment.
func (s *Supervisor) recover(ctx context.Context) (survivors []record, err error) {
	records, err := loadProcesses(ctx, s.deps.Store)
	if err != nil {
		return nil, fmt.Errorf("cannot read what ran before: %w", err)
	}
	if err := s.wantOwn(records); err != nil {
		return nil, err
	}
	var forget []string
	for _, r := range records {
		p, known := s.tree.byName[r.name].(*process)
		if known {
			p.recall(r)
		} else {
			forget = append(forget, r.name)
		}
		if known && p.cfg.Adopt && r.hash != "" && r.identity.Alive() {
			survivors = append(survivors, r)
			continue
		}
		if err := s.endLeftover(ctx, r); err != nil {
			return nil, err
		}
	}
	if err := s.sweep(survivors); err != nil {
		return nil, fmt.Errorf("cannot end what a former supervisor left running: %w", err)
	}
	return survivors, resetProcesses(ctx, s.deps.Store, forget, recordNames(survivors))
}

// wantOwn refuses to go on if a recorded process runs under another state directory,
// of which this one is a copy or which it was before it was moved: to end the process
// or to take it back could rob a supervisor that lives, to start another is a second.
func (s *Supervisor) wantOwn(records []record) error {
	for _, r := range records {
		marker := r.identity.Variable("PROCOPS_RUN")
		token := marker[:max(strings.IndexAny(marker, ".:"), 0)]
		if token == "" || token == s.deps.RunToken {
			continue // some programs write over their environment: they are taken for our own
		}
		its := r.identity.Variable("PROCOPS_STATE_DIR")
		if sameFile(its, s.deps.StateDir) { // by another path
			continue
		}
		e := fault.New(fault.Conflict, "state directory %q says that %q is process %d, but that runs under state directory %q",
			s.deps.StateDir, r.name, r.identity.PID, its)
		return e.WithHint("if this one is a copy of it, use another --state-dir or stop the supervisor there; if it was moved here, end the process first")
	}
	return nil
}

func sameFile(a, b string) bool {
	one, errOne := os.Stat(a)
	other, errOther := os.Stat(b)
	return errOne == nil && errOther == nil && os.SameFile(one, other)
}

// recall gives p the word of an operator of a former supervisor.
func (p *process) recall(r record) {
	if !r.wanted.Valid {
		return
	}
	p.wanted, p.byHand = r.wanted.Bool, true
	if !p.wanted {
		p.reason = "stopped by hand"
	}
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

// sweep ends all that a former supervisor has left behind except survivors. One of which
// nothing is recorded was killed with procops in the moment of its start: nobody
// knows how far it got.
func (s *Supervisor) sweep(survivors []record) error {
	killed, err := proc.Sweep(s.deps.RunToken)
	if err != nil {
		return err
	}
	for tag := range proc.Survivors(s.deps.RunToken) {
		if slices.ContainsFunc(survivors, func(r record) bool { return survivorTag(r.name) == tag }) {
			continue
		}
		more, err := proc.SweepSurvivor(s.deps.RunToken, tag)
		if err != nil {
			return err
		}
		killed = append(killed, more...)
	}
	hidden, err := s.cgroups.Sweep(recordNames(survivors)...)
	if err != nil {
		return err
	}
	if killed = append(killed, hidden...); len(killed) > 0 {
		s.deps.Log.Warn().Ints("pids", killed).Msg("ended what a former supervisor left running")
	}
	return nil
}

// takeBack makes a process that has outlived a former supervisor one of the tree
// again. If that cannot be done it is ended, and started as all others are.
func (s *Supervisor) takeBack(ctx context.Context, r record) error {
	p, ok := s.tree.byName[r.name].(*process)
	if !ok {
		return nil
	}
	ready := r.state == StateRunning
	ch := p.channelsAgain(r.identity, ready)
	child, err := s.deps.Host.TakeBack(r.identity, p.output.lines)
	if err != nil {
		ch.discard()
		s.deps.Log.Warn().Err(err).Str("process", p.name).Msg("a process that outlived a former supervisor is ended")
		if err := s.endLeftover(ctx, r); err != nil {
			return err
		}
		_, err = proc.SweepSurvivor(s.deps.RunToken, survivorTag(p.name))
		return err
	}
	p.started = r.restarts
	s.enterRun(p, newRun(child, s.specOf(p, child.PID())), ch, TriggerTakenBack, "taken back from a former supervisor")
	if ready {
		s.fire(p, TriggerReady, "")
	} else {
		s.awaitReady(p, p.cfg.Ready.speaks())
	}
	// One that says itself when it is ready may have said so to a supervisor that was
	// killed before it could record it; nobody would say it again.
	unheard := !ready && p.cfg.Ready.speaks()
	if !p.wanted || !r.state.Up() || unheard || r.hash != p.cfg.hash() {
		p.again = p.wanted // as the config says now
		s.soon(func() { s.halt([]*process{p}) })
	}
	return nil
}

// channelsAgain opens the channels of a run that a former supervisor has begun,
// those that can be opened again.
func (p *process) channelsAgain(id proc.Identity, ready bool) (ch channels) {
	if p.cfg.Ready.Notify || p.cfg.Watchdog != 0 {
		socket, err := reopenNotifySocket(id.Variable("NOTIFY_SOCKET"))
		switch {
		case err != nil: // somebody has taken its name: what the process says is not heard
		case p.cfg.Ready.Notify:
			ch.ready = socket
		default:
			ch.aside = socket
		}
	}
	if p.cfg.Ready.Notify {
		return ch
	}
	expr, err := p.cfg.Ready.pattern()
	if ready || err != nil {
		expr = nil
	}
	if matched := p.output.arm(expr); matched != nil {
		ch.ready = newLogChannel(matched)
	}
	return ch
}

// survivorTag names a process in the markers of its descendants.
func survivorTag(name string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never fails
	return hex.EncodeToString(h.Sum(nil))
}

// hash tells whether a process that outlived its supervisor runs as the config says.
func (c *ProcessConfig) hash() string {
	// Strings, numbers and lists and maps of them cannot fail to encode.
	raw, _ := json.Marshal(c.running()) //nolint:musttag // nobody reads it, it is only compared
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8])
}

func recordNames(list []record) []string {
	names := make([]string, len(list))
	for i := range list {
		names[i] = list[i].name
	}
	return names
}
