package supervise

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"procops/internal/event"
	"procops/internal/proc"
	"procops/internal/store"
)

// journal records what happens to the tree, in order, without making the loop
// wait for the disk. What cannot be recorded is published all the same.
type journal struct {
	store   *store.Store
	bus     *event.Bus
	log     zerolog.Logger
	failing atomic.Bool // the last attempt to record has failed
}

func newJournal(st *store.Store, bus *event.Bus, log zerolog.Logger) *journal {
	return &journal{store: st, bus: bus, log: log}
}

// emit records an event.
func (j *journal) emit(e event.Event) {
	j.record(e, func(*store.Tx) error { return nil })
}

// changed records the state that p has come into.
func (j *journal) changed(p *process, from State, delay time.Duration) {
	r := p.record()
	data := changeData{From: from, PID: r.identity.PID, Restarts: r.restarts, Reason: p.reason, Delay: seconds(delay)}
	j.record(changeType(p.state).New(p.name, data), func(tx *store.Tx) error { return saveProcess(tx, r) })
}

// exited records how a run of p ended.
func (j *journal) exited(p *process, r *run, f Failure, expected bool) {
	data := exitData{
		PID: f.PID, Code: f.Code, Signal: p.lastExit.Signal, Text: f.Text,
		Seconds: seconds(f.Time.Sub(r.began)), Expected: expected,
	}
	if !expected {
		data.Stdout, data.Stderr = f.Stdout, f.Stderr
	}
	j.emit(eventExited.New(p.name, data))
}

func (j *journal) record(e event.Event, save func(*store.Tx) error) {
	err := j.store.Enqueue(func(tx *store.Tx) error {
		tx.Emit(e)
		return save(tx)
	}, func(err error) { j.recorded(e, err) })
	if err != nil {
		j.recorded(e, err) // the writer is too far behind, or closed
	}
}

// recorded is called after each commit or failure of it, from the store's
// goroutine or the loop. It says once when recording fails and once when it
// works again.
func (j *journal) recorded(e event.Event, err error) {
	if err == nil {
		if j.failing.CompareAndSwap(true, false) {
			j.log.Info().Msg("events and states are recorded again")
		}
		return
	}
	if j.failing.CompareAndSwap(false, true) {
		j.log.Error().Err(err).Msg("cannot record events and states; supervision goes on without")
	}
	j.bus.Publish(e)
}

// How long an operator waits for the state to take what he wants, and the end
// of supervision for it to take the rest.
const (
	wantPatience  = 2 * time.Second
	flushPatience = 5 * time.Second
)

// errSlow says that the disk stands still, or that another process holds the
// state.
var errSlow = errors.New("the state does not answer in time")

// want records what an operator wants of the processes. A state that does not
// answer must not keep him from getting it: then want gives up.
func (j *journal) want(ctx context.Context, names []string, wanted bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, wantPatience, errSlow)
	defer cancel()
	return j.store.Update(ctx, func(tx *store.Tx) error { return saveWanted(tx, names, wanted) })
}

func saveWanted(tx *store.Tx, names []string, wanted bool) error {
	for _, n := range names {
		_, err := tx.Exec(`INSERT INTO supervise_process (name, wanted) VALUES (?, ?)
			ON CONFLICT (name) DO UPDATE SET wanted = excluded.wanted`, n, wanted)
		if err != nil {
			return err
		}
	}
	return nil
}

// unwant drops what an operator has wanted of a process.
func (j *journal) unwant(name string) {
	j.keep("cannot forget what is wanted", []string{name}, func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE supervise_process SET wanted = NULL WHERE name = ?`, name)
		return err
	})
}

// forget drops what is kept of a process that has left the tree.
func (j *journal) forget(name string) {
	j.keep("cannot forget a process", []string{name}, func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM supervise_process WHERE name = ?`, name)
		return err
	})
}

// keep records what is of no consequence if it cannot be recorded.
func (j *journal) keep(failure string, names []string, save func(*store.Tx) error) {
	done := func(err error) {
		if err != nil {
			j.log.Warn().Err(err).Strs("processes", names).Msg(failure)
		}
	}
	if err := j.store.Enqueue(save, done); err != nil {
		done(err)
	}
}

// flush returns when all that was recorded so far is committed.
func (j *journal) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, flushPatience, errSlow)
	defer cancel()
	err := j.store.Update(ctx, func(*store.Tx) error { return nil })
	if errors.Is(err, store.ErrClosed) {
		return nil
	}
	return err
}

// record is what is kept of a process.
type record struct {
	name     string
	wanted   sql.NullBool
	state    State
	identity proc.Identity
	restarts int
	exitCode sql.NullInt64
	hash     string // of the config that it runs with; empty: it does not outlive procops
}

func (p *process) record() record {
	r := record{name: p.name, state: p.state, restarts: max(0, p.started-1)}
	if p.run != nil {
		r.identity = p.run.child.Identity()
		if p.cfg.Adopt {
			r.hash = p.cfg.hash()
		}
	}
	if p.lastExit != nil {
		r.exitCode = sql.NullInt64{Int64: int64(p.lastExit.Code), Valid: true}
	}
	return r
}

// saveProcess writes all of a record but what is wanted.
func saveProcess(tx *store.Tx, r record) error {
	_, err := tx.Exec(`INSERT INTO supervise_process (name, state, pid, start_ticks, boot_id, restarts, exit_code, changed_at, config_hash)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET state = excluded.state, pid = excluded.pid, start_ticks = excluded.start_ticks,
			boot_id = excluded.boot_id, restarts = excluded.restarts, exit_code = excluded.exit_code, changed_at = excluded.changed_at,
			config_hash = excluded.config_hash`,
		r.name, string(r.state), r.identity.PID, int64(r.identity.Start), r.identity.Boot, r.restarts, r.exitCode, tx.Now().UnixMicro(), r.hash)
	return err
}

// loadProcesses returns the records of all processes.
func loadProcesses(ctx context.Context, st *store.Store) (records []record, err error) {
	err = st.View(ctx, func(tx *store.Tx) error {
		records = nil
		rows, err := tx.Query(`SELECT name, wanted, state, pid, start_ticks, boot_id, restarts, config_hash FROM supervise_process`)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var r record
			var ticks int64
			if err := rows.Scan(&r.name, &r.wanted, &r.state, &r.identity.PID, &ticks, &r.identity.Boot, &r.restarts, &r.hash); err != nil {
				return err
			}
			r.identity.Start = uint64(ticks)
			records = append(records, r)
		}
		return rows.Err()
	})
	return records, err
}

// resetProcesses marks everything but the survivors as down, and forgets
// processes that are not in the tree any more.
func resetProcesses(ctx context.Context, st *store.Store, forget, survivors []string) error {
	spared, err := json.Marshal(survivors)
	if err != nil {
		return err
	}
	return st.Update(ctx, func(tx *store.Tx) error {
		for _, n := range forget {
			if _, err := tx.Exec(`DELETE FROM supervise_process WHERE name = ?`, n); err != nil {
				return err
			}
		}
		_, err := tx.Exec(`UPDATE supervise_process SET state = 'stopped', pid = 0, start_ticks = 0, restarts = 0, config_hash = ''
			WHERE name NOT IN (SELECT value FROM json_each(?))`, string(spared))
		return err
	})
}
