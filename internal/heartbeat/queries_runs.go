package heartbeat

import (
	"database/sql"
	"fmt"
	"slices"
	"time"

	"procops/internal/store"
)

// runsKept bounds the runs that are kept of each heartbeat, because each comes
// with its output.
const runsKept = 100

// addRun adds a run that has begun, or one as a whole, and removes those of its
// heartbeat that are too many or too old.
func addRun(tx *store.Tx, r Run, keep retention) (id int64, err error) {
	done, err := tx.Exec(`INSERT INTO heartbeat_runs (name, program, state, pid, pid_start, boot, started_at)
		VALUES (?, ?, ?, ?, ?, ?, ?)`,
		r.Name, r.Program, string(RunRunning), r.by.PID, int64(r.by.Start), r.by.Boot, r.Started.UnixMicro())
	if err == nil {
		id, err = done.LastInsertId()
	}
	if err == nil {
		_, err = tx.Exec(`DELETE FROM heartbeat_runs WHERE name = ?1 AND state <> 'running' AND (started_at < ?2 OR id <= coalesce(
			(SELECT id FROM heartbeat_runs WHERE name = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?3), -1))`,
			r.Name, oldest(tx, keep), min(keep.count, runsKept))
	}
	if err != nil {
		return 0, fmt.Errorf("cannot record the run of %q: %w", r.Name, err)
	}
	return id, nil
}

func saveRunEnd(tx *store.Tx, r Run) error {
	_, err := tx.Exec(`UPDATE heartbeat_runs SET state = ?, ended_at = ?, duration = ?, exit_code = ?, message = ?, output = ? WHERE id = ?`,
		string(r.State), r.Ended.UnixMicro(), r.Duration.Microseconds(), r.Code, r.Message, r.Output, r.ID)
	if err != nil {
		return fmt.Errorf("cannot record the end of the run of %q: %w", r.Name, err)
	}
	return nil
}

func markLost(tx *store.Tx, id int64) error {
	_, err := tx.Exec("UPDATE heartbeat_runs SET state = ? WHERE id = ?", string(RunLost), id)
	if err != nil {
		return fmt.Errorf("cannot record that run %d is lost: %w", id, err)
	}
	return nil
}

const selectRun = `SELECT id, name, program, state, pid, pid_start, boot, started_at, ended_at, duration, exit_code, message, output
	FROM heartbeat_runs WHERE name = ?`

// loadRunning reads the runs that nobody has reported the end of.
func loadRunning(tx *store.Tx, name string) ([]Run, error) {
	return queryRuns(tx, selectRun+" AND state = 'running' ORDER BY id", name)
}

// loadRuns reads the newest runs, oldest first; limit < 0: all that are kept.
func loadRuns(tx *store.Tx, name string, limit int) ([]Run, error) {
	runs, err := queryRuns(tx, selectRun+" ORDER BY id DESC LIMIT ?", name, limit)
	slices.Reverse(runs)
	return runs, err
}

func queryRuns(tx *store.Tx, query string, args ...any) (runs []Run, err error) {
	found, err := tx.Query(query, args...)
	if err != nil {
		return nil, fmt.Errorf("cannot read the runs of %q: %w", args[0], err)
	}
	defer func() { _ = found.Close() }()
	for found.Next() {
		r, err := scanRun(found)
		if err != nil {
			return nil, fmt.Errorf("cannot read the runs of %q: %w", args[0], err)
		}
		runs = append(runs, r)
	}
	return runs, found.Err()
}

func scanRun(from scanner) (Run, error) {
	var (
		r                     Run
		pidStart, started     int64
		ended, duration, code sql.NullInt64
	)
	err := from.Scan(&r.ID, &r.Name, &r.Program, &r.State, &r.PID, &pidStart, &r.by.Boot, &started, &ended, &duration, &code, &r.Message, &r.Output)
	if err != nil {
		return Run{}, err
	}
	r.by.PID, r.by.Start = r.PID, uint64(pidStart)
	r.Started = time.UnixMicro(started)
	if ended.Valid {
		r.Ended = time.UnixMicro(ended.Int64)
	}
	r.Duration, r.Code = micros(duration.Int64), int(code.Int64)
	return r, nil
}
