package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"procops/internal/config"
	"procops/internal/fault"
	"procops/internal/proc"
	"procops/internal/runner"
	"procops/internal/supervise"
)

// envHandover tells a procops that it goes on in the place of another one in the
// same process: it is the number of the descriptor from which the handover is read.
// The value rehearsal asks for nothing but to find out whether it could.
const (
	envHandover = "PROCOPS_HANDOVER"
	rehearsal   = "rehearsal"
)

// RehearsalAnswer is what a procops prints to say that it could go on.
const RehearsalAnswer = "procops can go on with this tree"

// rehearsalTime is how long a rehearsal may take.
const rehearsalTime = 30 * time.Second

// ErrRehearsed is the error of Supervise when all is well and it was only to find out
// whether it could go on.
var ErrRehearsed = errors.New(RehearsalAnswer)

// Continues reports whether this procops goes on in the place of another one in the
// same process. Then the main goroutine has to stay on the main thread, to which the
// lives of the children are tied.
func Continues() bool {
	value, ok := os.LookupEnv(envHandover)
	return ok && value != rehearsal
}

// Redeliver sends this procops the signals once more that have come while it took the
// place of another one. Somebody must catch them by now.
func Redeliver() { proc.Redeliver() }

// handover is what a procops leaves to the one that takes its place in the same
// process. The numbers are descriptors.
type handover struct {
	Lock   int                `json:"lock"`
	Socket int                `json:"socket"`
	Tree   supervise.Handover `json:"tree"`
}

// readHandover reads the handover, if there is one, and takes the variable out of the
// environment, so that no child gets it.
func readHandover() (*handover, error) {
	value, ok := os.LookupEnv(envHandover)
	if !ok {
		return nil, nil
	}
	if err := os.Unsetenv(envHandover); err != nil {
		return nil, err
	}
	fd, err := strconv.Atoi(value)
	if err != nil {
		return nil, fmt.Errorf("cannot go on with a tree: %s is %q", envHandover, value)
	}
	file := os.NewFile(uintptr(fd), "handover")
	var h handover
	if err := errors.Join(json.NewDecoder(io.NewSectionReader(file, 0, 1<<40)).Decode(&h), file.Close()); err != nil {
		return nil, fmt.Errorf("cannot go on with a tree: %w", err)
	}
	return &h, nil
}

// file returns a memory file with the handover; the next procops reads it from its
// beginning.
func (h *handover) file() (*os.File, error) {
	fd, err := unix.MemfdCreate("procops-handover", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "handover")
	if err := json.NewEncoder(file).Encode(h); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// Upgrade makes this process the procops at the absolute path program, which goes on
// with the tree; no process is stopped. It returns only if that is not to be or
// fails, and then supervision goes on as before.
func (s *Supervisor) Upgrade(ctx context.Context, program string) error {
	if s.bound != "" {
		return fault.New(fault.Conflict, "cannot upgrade: %s", s.bound)
	}
	// Another one would leave this one's rehearsal behind, and whoever asked for this
	// would take it for his.
	if !s.upgrade.TryLock() {
		return fault.New(fault.Conflict, "cannot upgrade: another upgrade is under way")
	}
	defer s.upgrade.Unlock()
	if err := s.wantNothingNew(ctx); err != nil {
		return err
	}
	if err := s.rehearse(ctx, program); err != nil {
		return err
	}
	return s.Supervisor.Upgrade(ctx, func(tree supervise.Handover) error { return s.become(program, tree) })
}

// wantNothingNew refuses an upgrade while the config is not what runs: the next
// procops reads it.
func (s *Supervisor) wantNothingNew(ctx context.Context) error {
	if s.Config() == "" {
		return nil
	}
	plan, err := s.Reload(ctx, true)
	if err != nil {
		return fmt.Errorf("cannot upgrade: %w", err)
	}
	if !plan.Empty() {
		return changedMeanwhile()
	}
	return nil
}

// wantSame refuses an upgrade if the config has been changed since wantNothingNew,
// while the rehearsal ran or a process came to rest: the next procops would end with
// all processes if it is broken, and lose sight of those it does not name any more.
func (s *Supervisor) wantSame(runs *supervise.Config) error {
	if s.Config() == "" {
		return nil
	}
	cfg, err := config.Load(s.Config(), s.app.getenv)
	if err != nil {
		return fmt.Errorf("cannot upgrade: %w", err)
	}
	if !reflect.DeepEqual(cfg.Supervise, *runs) || len(s.app.fixed(cfg)) > 0 {
		return changedMeanwhile()
	}
	return nil
}

func changedMeanwhile() error {
	return fault.New(fault.Conflict, "cannot upgrade: the config has changed since it was read").
		WithHint("`procops supervise reload` applies it (--dry-run says what that does); then upgrade. What takes effect with the next start only needs a restart of procops")
}

// rehearse has the program read all that it will need, beside this one.
func (s *Supervisor) rehearse(ctx context.Context, program string) error {
	ctx, cancel := context.WithTimeout(ctx, rehearsalTime)
	defer cancel()
	result, err := runner.Run(ctx, s.app.host, runner.Unit{
		Command: append(proc.Command{program}, os.Args[1:]...),
		Env:     append(os.Environ(), envHandover+"="+rehearsal),
		Hurry:   ctx.Done(),
	})
	if err != nil {
		return fault.Wrap(fault.Failure, err, "cannot upgrade")
	}
	if result.Outcome == runner.Success && bytes.Contains(result.Output, []byte(RehearsalAnswer)) {
		return nil
	}
	why := strings.TrimSpace(result.Diagnostics)
	if why == "" {
		why = "it is no procops that can be upgraded to"
	}
	return fault.New(fault.Failure, "cannot upgrade: a rehearsal with %q ended with %s: %s", program, result.Exit.Text(), why)
}

// become replaces this program; it returns only if that fails.
func (s *Supervisor) become(program string, tree supervise.Handover) error {
	if err := s.wantSame(&tree.Declared); err != nil {
		return err
	}
	socket, err := s.listener.Descriptor()
	if err != nil {
		return fmt.Errorf("cannot hand over the control socket: %w", err)
	}
	h := handover{Lock: int(s.app.lock.Fd()), Socket: socket, Tree: tree}
	file, err := h.file()
	if err != nil {
		return fmt.Errorf("cannot hand over: %w", err)
	}
	defer file.Close() //nolint:errcheck // nobody will read it
	fd := int(file.Fd())
	env := append(os.Environ(), fmt.Sprintf("%s=%d", envHandover, fd))
	keep := append(tree.FDs(), h.Lock, h.Socket, fd)
	err = proc.Replace(program, os.Args, env, keep, s.ending)
	if errors.Is(err, proc.ErrEnding) {
		return fault.New(fault.Conflict, "cannot upgrade: the supervisor is on its way down")
	}
	return err
}
