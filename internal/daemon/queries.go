package daemon

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"procops/internal/proc"
	"procops/internal/store"
)

// record is what is known of a daemon: its row.
type record struct {
	state    State
	by       proc.Identity // who runs it
	began    time.Time
	turns    uint64
	failures int // in a row
	reason   string
	next     time.Time // of the next turn; the zero time: none is planned
	turn     Turn      // the newest that has begun; it is under way while state is not waiting or stopped
}

func (p *page) save(tx *store.Tx, id ID, keep int) error {
	if p.state != nil {
		if err := saveState(tx, id, *p.state); err != nil {
			return err
		}
	}
	if err := saveTurns(tx, id, p.turns, keep); err != nil {
		return err
	}
	for _, e := range p.events {
		tx.Emit(e)
	}
	return nil
}

func saveState(tx *store.Tx, id ID, r record) error {
	_, err := tx.Exec(`REPLACE INTO daemons (name, context, instance, state, pid, pid_start, boot, began_at, turns, failures, reason, next_at,
			turn_at, turn_duration, turn_outcome, turn_code, turn_memory, turn_message)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		id.Name, id.Context, id.Instance, string(r.state), r.by.PID, int64(r.by.Start), r.by.Boot, micro(r.began), int64(r.turns), r.failures, r.reason, micro(r.next),
		micro(r.turn.Started), r.turn.Duration.Microseconds(), r.turn.Outcome, r.turn.Code, r.turn.Memory, r.turn.Message)
	if err != nil {
		return fmt.Errorf("cannot record the state of daemon %q: %w", id, err)
	}
	return nil
}

// micro returns a time as the database has it; NULL stands for none.
func micro(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMicro(), Valid: !t.IsZero()}
}

func fromMicro(n sql.NullInt64) time.Time {
	if !n.Valid {
		return time.Time{}
	}
	return time.UnixMicro(n.Int64)
}

// saveTurns adds turns and removes those that are too many.
func saveTurns(tx *store.Tx, id ID, turns []Turn, keep int) error {
	if keep == 0 || len(turns) == 0 {
		return nil
	}
	for _, t := range turns {
		_, err := tx.Exec(`INSERT INTO daemon_turns (name, context, instance, turn, started_at, duration, outcome, code, memory, message)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			id.Name, id.Context, id.Instance, int64(t.Number), t.Started.UnixMicro(), t.Duration.Microseconds(), t.Outcome, t.Code, t.Memory, t.Message)
		if err != nil {
			return fmt.Errorf("cannot record a turn of daemon %q: %w", id, err)
		}
	}
	_, err := tx.Exec(`DELETE FROM daemon_turns WHERE name = ?1 AND context = ?2 AND instance = ?3 AND id <= coalesce(
		(SELECT id FROM daemon_turns WHERE name = ?1 AND context = ?2 AND instance = ?3 ORDER BY id DESC LIMIT 1 OFFSET ?4), -1)`,
		id.Name, id.Context, id.Instance, keep)
	if err != nil {
		return fmt.Errorf("cannot shorten the history of daemon %q: %w", id, err)
	}
	return nil
}

// load returns what is known of a daemon; false if nothing is.
func load(ctx context.Context, st *store.Store, id ID) (r record, known bool, err error) {
	err = st.View(ctx, func(tx *store.Tx) error {
		var began, next, at sql.NullInt64
		var start, turns, duration int64
		row := tx.QueryRow(`SELECT state, pid, pid_start, boot, began_at, turns, failures, reason, next_at,
				turn_at, turn_duration, turn_outcome, turn_code, turn_memory, turn_message
			FROM daemons WHERE name = ? AND context = ? AND instance = ?`, id.Name, id.Context, id.Instance)
		err := row.Scan(&r.state, &r.by.PID, &start, &r.by.Boot, &began, &turns, &r.failures, &r.reason, &next,
			&at, &duration, &r.turn.Outcome, &r.turn.Code, &r.turn.Memory, &r.turn.Message)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot read the state of daemon %q: %w", id, err)
		}
		known = true
		r.by.Start, r.turns, r.turn.Number = uint64(start), uint64(turns), uint64(turns)
		r.began, r.next, r.turn.Started = fromMicro(began), fromMicro(next), fromMicro(at)
		r.turn.Duration = time.Duration(duration) * time.Microsecond
		return nil
	})
	return r, known, err
}

// loadTurns returns the newest turns since a time, oldest first.
func loadTurns(ctx context.Context, st *store.Store, id ID, since time.Time, limit int) (turns []Turn, err error) {
	err = st.View(ctx, func(tx *store.Tx) error {
		turns = nil
		rows, err := tx.Query(`SELECT turn, started_at, duration, outcome, code, memory, message FROM daemon_turns
			WHERE name = ? AND context = ? AND instance = ? AND started_at >= ? ORDER BY id DESC LIMIT ?`,
			id.Name, id.Context, id.Instance, since.UnixMicro(), limit)
		if err != nil {
			return fmt.Errorf("cannot read the history of daemon %q: %w", id, err)
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var (
				t                   Turn
				number, at, lasting int64
			)
			if err := rows.Scan(&number, &at, &lasting, &t.Outcome, &t.Code, &t.Memory, &t.Message); err != nil {
				return fmt.Errorf("cannot read the history of daemon %q: %w", id, err)
			}
			t.Number, t.Started, t.Duration = uint64(number), time.UnixMicro(at), time.Duration(lasting)*time.Microsecond
			turns = append(turns, t)
		}
		return rows.Err()
	})
	slices.Reverse(turns)
	return turns, err
}
