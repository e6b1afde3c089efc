package tasks

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"procops/internal/store"
	"procops/internal/tasks/broker"
)

// errNoRecord says that nothing is known of a task.
var errNoRecord = errors.New("the task is not known")

// create records a new task, unless a worker has been faster.
func create(tx *store.Tx, r *Record) error {
	done, err := tx.Exec(`INSERT INTO tasks (id, type, state, params, priority, time_limit, pushed_at, run_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
		r.ID, r.Type, string(StatePending), string(r.Params), r.Priority, r.TimeLimit.Microseconds(),
		r.Pushed.UnixMicro(), r.RunAt.UnixMicro())
	if err != nil {
		return fmt.Errorf("cannot record task %q: %w", r.ID, err)
	}
	if n, err := done.RowsAffected(); n == 0 || err != nil {
		return err
	}
	data := pushData{Type: r.Type, Priority: r.Priority}
	if r.RunAt.After(r.Pushed) {
		data.RunAt = stamp(r.RunAt)
	}
	tx.Emit(eventPushed.New(r.ID, data))
	return nil
}

// move changes the state of a task by a trigger that comes from the holder of a
// lease, and returns the states before and after. A holder of an older lease gets
// broker.ErrLost.
func move(tx *store.Tx, l *broker.Lease, t Trigger) (from, to State, err error) {
	var run int64
	err = tx.QueryRow("SELECT state, run FROM tasks WHERE id = ?", l.ID).Scan(&from, &run)
	switch {
	case err != nil:
		return "", "", fmt.Errorf("cannot read task %q: %w", l.ID, err)
	case run > l.Number:
		return from, from, broker.ErrLost
	case from == StateDead && run < l.Number && l.Attempts == 0 && l.Crashes == 0:
		// Somebody has requeued it and could not record that, or not here. Without that it
		// could be claimed once more only because a worker has died.
		if from, err = revive(tx, l.ID, from); err != nil {
			return from, from, err
		}
	}
	if to, err = transition(from, t); err != nil {
		return from, from, fmt.Errorf("task %q: %w", l.ID, err)
	}
	_, err = tx.Exec("UPDATE tasks SET state = ?, run = ?, crashes = ? WHERE id = ?", string(to), l.Number, l.Crashes, l.ID)
	if err != nil {
		return from, from, fmt.Errorf("cannot record task %q: %w", l.ID, err)
	}
	return from, to, nil
}

// saveStart records that a run has begun.
func saveStart(tx *store.Tx, id string) error {
	_, err := tx.Exec(`UPDATE tasks SET started_at = ?, ended_at = NULL, duration = NULL, result = '', exit_code = NULL,
		message = '', response = NULL, diagnostics = '',
		progress = '', flow = '', meta = '' WHERE id = ?`, tx.Now().UnixMicro(), id)
	if err != nil {
		return fmt.Errorf("cannot record the start of task %q: %w", id, err)
	}
	return nil
}

// saveEnd records how a run has ended.
func saveEnd(tx *store.Tx, r *Record) error {
	told, err := r.Run.columns()
	if err != nil {
		return err
	}
	_, err = tx.Exec(`UPDATE tasks SET ended_at = ?, duration = ?, result = ?, exit_code = ?, message = ?, response = ?,
		diagnostics = ?, progress = ?, flow = ?, meta = ?, attempts = ?, run_at = ? WHERE id = ?`,
		tx.Now().UnixMicro(), r.Run.Duration.Microseconds(), string(r.Run.Result), r.Run.Code, r.Run.Message, r.Run.Response,
		r.Run.Diagnostics, told.progress, told.flow, told.meta, r.Attempts, r.RunAt.UnixMicro(), r.ID)
	if err != nil {
		return fmt.Errorf("cannot record the end of task %q: %w", r.ID, err)
	}
	return nil
}

// forgetAtOnce bounds how many old tasks one that is done takes with it.
const forgetAtOnce = 20

// The queries of forget find what is done or cancelled and old at the beginning of an index.
const (
	queryForget = `DELETE FROM tasks WHERE seq IN (
		SELECT seq FROM tasks INDEXED BY tasks_done WHERE state = 'done' AND ended_at < ? ORDER BY ended_at LIMIT ?)`
	queryForgetCancelled = `DELETE FROM tasks WHERE seq IN (
		SELECT seq FROM tasks INDEXED BY tasks_cancelled WHERE state = 'cancelled' AND ended_at < ? ORDER BY ended_at LIMIT ?)`
)

// forget removes tasks that were done or cancelled before a time.
func forget(tx *store.Tx, before time.Time) error {
	for _, query := range []string{queryForget, queryForgetCancelled} {
		if _, err := tx.Exec(query, before.UnixMicro(), forgetAtOnce); err != nil {
			return fmt.Errorf("cannot forget old tasks: %w", err)
		}
	}
	return nil
}

const selectRecord = `SELECT id, type, state, params, priority, time_limit, pushed_at, run_at, run, attempts, crashes,
	started_at, ended_at, duration, result, exit_code, message, response, diagnostics,
	progress, flow, meta FROM tasks`

// load reads one task.
func load(tx *store.Tx, id string) (Record, error) {
	r, err := scanRecord(tx.QueryRow(selectRecord+" WHERE id = ?", id))
	if errors.Is(err, sql.ErrNoRows) {
		return r, errNoRecord
	}
	return r, err
}

// sql builds the query of a filter.
func (f Filter) sql() (query string, args []any) {
	where := []string{"1"}
	if len(f.States) > 0 {
		where = append(where, "state IN (?"+strings.Repeat(", ?", len(f.States)-1)+")")
		for _, s := range f.States {
			args = append(args, string(s))
		}
	}
	if f.Type != "" {
		where, args = append(where, "type = ?"), append(args, f.Type)
	}
	if !f.Since.IsZero() {
		where, args = append(where, "pushed_at >= ?"), append(args, f.Since.UnixMicro())
	}
	query = selectRecord + " WHERE " + strings.Join(where, " AND ") + " ORDER BY seq DESC"
	if f.Limit > 0 {
		query, args = query+" LIMIT ?", append(args, f.Limit)
	}
	return query, args
}

func list(tx *store.Tx, f Filter) (records []Record, err error) {
	query, args := f.sql()
	found, err := tx.Query(query, args...)
	if err != nil {
		return nil, fmt.Errorf("cannot read the tasks: %w", err)
	}
	defer func() { _ = found.Close() }()
	for found.Next() {
		r, err := scanRecord(found)
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	slices.Reverse(records)
	return records, found.Err()
}

func scanRecord(from interface{ Scan(into ...any) error }) (r Record, err error) {
	var (
		params                         string
		limit, pushed, runAt           int64
		started, ended, duration, code sql.NullInt64
		told                           columns
	)
	err = from.Scan(&r.ID, &r.Type, &r.State, &params, &r.Priority, &limit, &pushed, &runAt, &r.run, &r.Attempts, &r.Crashes,
		&started, &ended, &duration, &r.Run.Result, &code, &r.Run.Message, &r.Run.Response, &r.Run.Diagnostics,
		&told.progress, &told.flow, &told.meta)
	if err != nil {
		return Record{}, fmt.Errorf("cannot read task: %w", err)
	}
	r.Params, r.TimeLimit = []byte(params), micros(limit)
	r.Pushed, r.RunAt = time.UnixMicro(pushed), time.UnixMicro(runAt)
	if started.Valid {
		r.Run.Started = time.UnixMicro(started.Int64)
	}
	if ended.Valid {
		r.Run.Ended = time.UnixMicro(ended.Int64)
	}
	r.Run.Duration, r.Run.Code = micros(duration.Int64), int(code.Int64)
	r.Run.Account, err = told.account()
	return r, err
}

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
