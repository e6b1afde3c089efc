package heartbeat

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"procops/internal/proc"
	"procops/internal/store"
)

// RunState says how far a run of a wrapped command is.
type RunState string

// The states of a run.
const (
	RunRunning   RunState = "running"
	RunSucceeded RunState = "succeeded" // exit code 0
	RunFailed    RunState = "failed"    // any other end
	RunLost      RunState = "lost"      // the procops that wrapped it is gone, its end is not known
)

// Run is the record of one run of a wrapped command.
type Run struct {
	ID       int64
	Name     string // of the heartbeat
	Program  string // what is run, without its arguments
	State    RunState
	PID      int // of the procops that wraps it
	Started  time.Time
	Ended    time.Time     // zero while it runs
	Duration time.Duration // by a clock that nobody sets; 0 while it runs
	Code     int           // exit code as a shell has it, valid when it succeeded or failed
	Message  string        // why it failed, for people
	Output   []byte        // the end of what it printed
	by       proc.Identity
}

// before reports whether the run had begun before a beat was recorded.
func (r Run) before(b *Beat) bool { return b != nil && r.Started.Before(b.Time) }

// startRun records that a run has begun and returns its number. It attaches the
// heartbeat if it is not in the list, and settles runs whose wrapper is gone.
func (l *List) startRun(ctx context.Context, r Run) (id int64, err error) {
	if r.by, err = identify(os.Getpid()); err != nil {
		return 0, fmt.Errorf("cannot identify this process: %w", err)
	}
	err = l.store.Update(ctx, func(tx *store.Tx) error {
		h, _, err := l.expect(tx, r.Name, true)
		if err != nil {
			return err
		}
		if err := l.settleLost(tx, r.Name); err != nil {
			return err
		}
		if id, err = addRun(tx, r, l.retention()); err != nil {
			return err
		}
		if err := ensureRow(tx, r.Name); err != nil {
			return err
		}
		begin := func(t *turn) error { return t.begin(runName(id), tx.Now()) }
		if err := l.live(tx, h, begin); err != nil {
			return err
		}
		tx.Emit(eventRunStarted.New(r.Name, runData{Run: id, Program: r.Program, PID: r.by.PID}))
		return nil
	})
	return id, err
}

// endRun records how a run has ended, and beats with its outcome. A run whose
// start could not be recorded (its ID is 0) is recorded as a whole.
func (l *List) endRun(ctx context.Context, r Run, client Client) error {
	var (
		h Heartbeat
		b Beat
	)
	err := l.store.Update(ctx, func(tx *store.Tx) (err error) {
		if h, _, err = l.expect(tx, r.Name, true); err != nil {
			return err
		}
		ended := r
		if ended.ID == 0 {
			id, err := addRun(tx, ended, l.retention())
			if err != nil {
				return err
			}
			ended.ID = id
		}
		if err := saveRunEnd(tx, ended); err != nil {
			return err
		}
		b = Beat{Time: tx.Now(), Client: client, Outcome: Good, Message: r.Message}
		t := eventRunSucceeded
		if r.State == RunFailed {
			b.Outcome, t = Bad, eventRunFailed
		}
		if _, err := l.saveSign(tx, h, b, runName(ended.ID)); err != nil {
			return err
		}
		tx.Emit(t.New(r.Name, endData{
			Run: ended.ID, Program: r.Program, Code: r.Code,
			Seconds: r.Duration.Round(time.Millisecond).Seconds(), Message: r.Message,
		}))
		return nil
	})
	if err == nil && b.Outcome == Good { // the file knows no bad news
		err = h.file.write(b)
	}
	return err
}

// runName is the id of a run of a wrapped command in the life of its heartbeat.
func runName(id int64) string { return strconv.FormatInt(id, 10) }

// settleLost marks the runs whose wrapper no longer exists.
func (l *List) settleLost(tx *store.Tx, name string) error {
	running, err := loadRunning(tx, name)
	if err != nil {
		return err
	}
	for _, r := range running {
		if r.by.Alive() {
			continue
		}
		if err := markLost(tx, r.ID); err != nil {
			return err
		}
		tx.Emit(eventRunLost.New(name, lostData{Run: r.ID, Program: r.Program}))
	}
	return nil
}

// newestRun returns the newest run, after lost ones were settled.
func (l *List) newestRun(tx *store.Tx, name string) (*Run, error) {
	if err := l.settleLost(tx, name); err != nil {
		return nil, err
	}
	runs, err := loadRuns(tx, name, 1)
	if err != nil || len(runs) == 0 {
		return nil, err
	}
	return &runs[0], nil
}
