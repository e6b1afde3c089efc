package daemon

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"syscall"
	"time"

	"procops/internal/launch"
	"procops/internal/proc"
	"procops/internal/runner"
)

// The outcomes of a turn that runner does not know.
const (
	outcomeStop   = "stop"   // it has asked that the daemon end
	outcomeMemory = "memory" // it has hit memory_limit
)

// nearLimit is the share of memory_limit from which on a failed turn is taken to have
// failed for want of memory: the kernel refuses the page that would not fit, so its
// largest size is a little below.
const nearLimit = 0.9

// Turn is one turn of a daemon.
type Turn struct {
	Number   uint64        `json:"turn"` // from 1, since the daemon has begun
	Started  time.Time     `json:"started"`
	Duration time.Duration `json:"-"`
	Outcome  string        `json:"outcome"` // of runner, or stop or memory
	Code     int           `json:"code"`    // as a shell has it
	Memory   int64         `json:"memory"`  // largest resident memory in bytes; 0: not known
	Message  string        `json:"message,omitempty"`

	begun bool // there was a process
}

// Failed reports whether the turn counts as a failure. One that wants to be tried again
// later does not: it is.
func (t Turn) Failed() bool {
	switch t.Outcome {
	case string(runner.Success), string(runner.Warning), string(runner.Retry), string(runner.Cancelled), outcomeStop:
		return false
	default:
		return true
	}
}

// worker runs turns, one at a time.
type worker interface {
	// turn runs one; the end of ctx stops it. A turn that could not begin is a Turn, too.
	// begun, which may be nil, is called when it has begun.
	turn(ctx context.Context, number uint64, begun func()) Turn
	// usage returns the memory in bytes that counts for memory_threshold: what is used
	// now, not once.
	usage() int64
	// close ends what is left.
	close()
}

// commands is the worker of the mode command: each turn is a fresh process.
type commands struct {
	host    *proc.Host
	cfg     Section
	program launch.Program
	extra   []string        // environment
	ready   *proc.Spec      // how turns start, if nothing about it can change
	hurry   <-chan struct{} // closed: a stop under way becomes SIGKILL
	output  func(proc.Stream, []byte)
	memory  int64 // of the last turn
}

func (c *commands) turn(ctx context.Context, number uint64, begun func()) Turn {
	t := Turn{Number: number, Started: time.Now()}
	spec, err := c.spec()
	if err != nil {
		return t.notBegun(err)
	}
	r, err := runner.Run(ctx, c.host, runner.Unit{
		Command: spec.Argv, Dir: spec.Dir, Env: append(spec.Env, "PROCOPS_TURN="+strconv.FormatUint(number, 10)),
		OnStart: begun, Output: c.output, MaxOutput: -1,
		TimeLimit: c.cfg.Timeout.Std(), Ladder: c.cfg.Stop.ladder(), Hurry: c.hurry,
		User: spec.User, Umask: spec.Umask, Nice: spec.Nice, CPUs: spec.CPUs, Limits: spec.Limits,
	})
	if err != nil {
		return t.notBegun(err)
	}
	c.memory, t.begun = ownMemory(r.Exit), true
	t.Started, t.Duration, t.Memory = r.Started, r.Duration, c.memory
	t.Outcome, t.Code, t.Message = string(r.Outcome), r.Exit.ShellCode(), r.Reason
	return c.cfg.judge(t, r.Exit.Signal == 0)
}

// ownMemory returns the largest resident memory of a process in bytes; 0 if it is not
// known, because it was not larger than procops: the kernel counts from there.
func ownMemory(exit proc.Exit) int64 {
	var self syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &self); err != nil || exit.MaxRSS <= self.Maxrss<<10 {
		return 0
	}
	return exit.MaxRSS
}

// judge adds what only a daemon knows.
func (s Section) judge(t Turn, exited bool) Turn {
	limit := s.MemoryLimit.Bytes()
	switch {
	case t.Outcome == string(runner.Cancelled):
	case exited && t.Code == s.StopCode:
		t.Outcome, t.Message = outcomeStop, fmt.Sprintf("exit code %d", t.Code)
	case limit > 0 && float64(t.Memory) >= nearLimit*float64(limit) && t.Failed() && t.Outcome != string(runner.TimedOut):
		t.Message = fmt.Sprintf("it has used %s of its memory_limit of %s: %s", bytesText(t.Memory), bytesText(limit), t.Message)
		t.Outcome = outcomeMemory
	}
	return t
}

func (c *commands) usage() int64 { return c.memory }

func (c *commands) close() {}

// spec returns how a turn is started. What may have changed since the last one, the
// users and the files with variables, is read again.
func (c *commands) spec() (proc.Spec, error) {
	if c.ready != nil {
		return *c.ready, nil
	}
	spec, err := c.program.Spec(c.extra)
	if limit := uint64(c.cfg.MemoryLimit.Bytes()); limit > 0 {
		spec.Limits.Data = &limit
	}
	spec.Env = slices.Clip(spec.Env) // each turn adds its own
	if err == nil && len(c.program.EnvFile) == 0 && spec.User == nil {
		c.ready = &spec
	}
	return spec, err
}

// codeNotStarted is what a shell says of a command that it cannot start.
const codeNotStarted = 127

func (t Turn) notBegun(err error) Turn {
	t.Duration = time.Since(t.Started)
	t.Outcome, t.Code, t.Message = string(runner.Failed), codeNotStarted, err.Error()
	return t
}

// bytesText writes a size for people.
func bytesText(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/(1<<20)) }
