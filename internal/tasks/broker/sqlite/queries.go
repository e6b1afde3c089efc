package sqlite

import (
	"database/sql"
	"fmt"
	"time"

	"procops/internal/store"
	"procops/internal/tasks/broker"
)

// The statements of a claim. Each finds its rows at the beginning of an index of
// its own, and touches no more of them than it needs.
const (
	// What has lost its worker, and what has come due.
	queryReap = `UPDATE tasks_queue SET state = back, crashes = crashes + (back = 'ready') WHERE seq IN (
		SELECT seq FROM tasks_queue WHERE state = 'leased' AND type = ?1 AND lease_until <= ?2 ORDER BY lease_until LIMIT ?3)`
	queryPromote = `UPDATE tasks_queue SET state = 'ready' WHERE seq IN (
		SELECT seq FROM tasks_queue WHERE state = 'scheduled' AND type = ?1 AND run_at <= ?2 ORDER BY run_at LIMIT ?3)`
	queryHeads = `SELECT seq, priority, run_at FROM tasks_queue
		WHERE state = 'ready' AND type = ? ORDER BY priority, run_at, seq LIMIT ?`
	queryLater  = `SELECT seq, priority, run_at FROM tasks_queue WHERE state = 'scheduled' AND type = ? ORDER BY run_at LIMIT ?`
	queryBuried = `SELECT seq, priority, run_at FROM tasks_queue WHERE state = 'buried' AND type = ? ORDER BY seq LIMIT ?`
	queryLease  = `UPDATE tasks_queue SET state = 'leased', back = state, lease = lease + 1, lease_until = ? WHERE seq = ?
		RETURNING id, type, priority, run_at, body, lease, attempts, crashes, back = 'buried'`
	queryClaimable = `SELECT EXISTS (SELECT 1 FROM tasks_queue WHERE state = 'ready' AND type = ?1)
		OR EXISTS (SELECT 1 FROM tasks_queue WHERE state = 'scheduled' AND type = ?1 AND run_at <= ?2)
		OR EXISTS (SELECT 1 FROM tasks_queue WHERE state = 'leased' AND type = ?1 AND lease_until <= ?2)`
	queryCount = `SELECT
		(SELECT count(*) FROM tasks_queue WHERE state = 'ready' AND type = ?1)
			+ (SELECT count(*) FROM tasks_queue WHERE state = 'scheduled' AND type = ?1 AND run_at <= ?2)
			+ (SELECT count(*) FROM tasks_queue WHERE state = 'leased' AND type = ?1 AND lease_until <= ?2 AND (back = 'ready' OR back = 'scheduled' AND run_at <= ?2)),
		(SELECT count(*) FROM tasks_queue WHERE state = 'scheduled' AND type = ?1 AND run_at > ?2)
			+ (SELECT count(*) FROM tasks_queue WHERE state = 'leased' AND type = ?1 AND lease_until <= ?2 AND back = 'scheduled' AND run_at > ?2),
		(SELECT count(*) FROM tasks_queue WHERE state = 'leased' AND type = ?1 AND lease_until > ?2),
		(SELECT count(*) FROM tasks_queue WHERE state = 'buried' AND type = ?1)
			+ (SELECT count(*) FROM tasks_queue WHERE state = 'leased' AND type = ?1 AND lease_until <= ?2 AND back = 'buried')`
	// queryTypes jumps from type to type in each index.
	queryTypes = `WITH RECURSIVE
		ready(type) AS (SELECT min(type) FROM tasks_queue WHERE state = 'ready' UNION ALL
			SELECT (SELECT min(type) FROM tasks_queue WHERE state = 'ready' AND type > ready.type) FROM ready WHERE type IS NOT NULL),
		scheduled(type) AS (SELECT min(type) FROM tasks_queue WHERE state = 'scheduled' UNION ALL
			SELECT (SELECT min(type) FROM tasks_queue WHERE state = 'scheduled' AND type > scheduled.type) FROM scheduled WHERE type IS NOT NULL),
		leased(type) AS (SELECT min(type) FROM tasks_queue WHERE state = 'leased' UNION ALL
			SELECT (SELECT min(type) FROM tasks_queue WHERE state = 'leased' AND type > leased.type) FROM leased WHERE type IS NOT NULL),
		buried(type) AS (SELECT min(type) FROM tasks_queue WHERE state = 'buried' UNION ALL
			SELECT (SELECT min(type) FROM tasks_queue WHERE state = 'buried' AND type > buried.type) FROM buried WHERE type IS NOT NULL)
		SELECT type FROM ready UNION SELECT type FROM scheduled UNION SELECT type FROM leased UNION SELECT type FROM buried`
	queryPage = `SELECT seq, id, type, priority, run_at, body, lease, attempts, crashes,
		CASE WHEN state = 'leased' AND lease_until <= ?1 THEN back ELSE state END FROM tasks_queue WHERE seq > ?2 ORDER BY seq LIMIT ?3`
)

// The statements of a claim of one message by its ID.
const (
	queryReapOne    = `UPDATE tasks_queue SET state = back, crashes = crashes + (back = 'ready') WHERE id = ?1 AND state = 'leased' AND lease_until <= ?2`
	queryPromoteOne = `UPDATE tasks_queue SET state = 'ready' WHERE id = ?1 AND state = 'scheduled' AND run_at <= ?2`
	queryOne        = `SELECT seq, priority, run_at FROM tasks_queue WHERE id = ? AND state = ?`
)

// held selects the message of a lease while that is held.
const held = ` WHERE id = ? AND state = 'leased' AND lease = ?`

// insert queues a message, unless one of its ID is queued.
func insert(tx *store.Tx, m *broker.Message) error {
	state := stateAt(tx, m.RunAt)
	if m.Buried {
		state = broker.StateBuried
	}
	_, err := tx.Exec(`INSERT INTO tasks_queue (id, type, priority, run_at, state, body, lease, attempts, crashes)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
		m.ID, m.Type, m.Priority, m.RunAt.UnixMicro(), string(state), append([]byte{}, m.Body...), m.Number, m.Attempts, m.Crashes)
	if err != nil {
		return fmt.Errorf("cannot queue task %q: %w", m.ID, err)
	}
	return nil
}

// stateAt returns the state of a message that waits for a time.
func stateAt(tx *store.Tx, at time.Time) broker.State {
	if at.After(tx.Now()) {
		return broker.StateScheduled
	}
	return broker.StateReady
}

// makeReady makes those of a type claimable whose lease has ended or whose time
// has come, as many as are needed.
func makeReady(tx *store.Tx, typ string, limit int) error {
	for _, query := range []string{queryReap, queryPromote} {
		if _, err := tx.Exec(query, typ, tx.Now().UnixMicro(), limit); err != nil {
			return fmt.Errorf("cannot find the tasks of type %q that are due: %w", typ, err)
		}
	}
	return nil
}

// head is a message that can be claimed.
type head struct{ seq, priority, runAt int64 }

// headsOf returns the first of a type that are in a state.
func headsOf(tx *store.Tx, typ string, state broker.State, limit int) ([]head, error) {
	query := queryHeads
	switch state {
	case broker.StateScheduled:
		query = queryLater
	case broker.StateBuried:
		query = queryBuried
	case broker.StateReady, broker.StateLeased:
	}
	heads, err := readHeads(tx, query, typ, limit)
	if err != nil {
		return nil, fmt.Errorf("cannot find tasks of type %q: %w", typ, err)
	}
	return heads, nil
}

// headOf returns the message of an ID if it is in a state.
func headOf(tx *store.Tx, id string, state broker.State) ([]head, error) {
	for _, query := range []string{queryReapOne, queryPromoteOne} {
		if _, err := tx.Exec(query, id, tx.Now().UnixMicro()); err != nil {
			return nil, fmt.Errorf("cannot find task %q: %w", id, err)
		}
	}
	heads, err := readHeads(tx, queryOne, id, string(state))
	if err != nil {
		return nil, fmt.Errorf("cannot find task %q: %w", id, err)
	}
	return heads, nil
}

func readHeads(tx *store.Tx, query string, args ...any) (heads []head, err error) {
	found, err := tx.Query(query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = found.Close() }()
	for found.Next() {
		var h head
		if err := found.Scan(&h.seq, &h.priority, &h.runAt); err != nil {
			return nil, err
		}
		heads = append(heads, h)
	}
	return heads, found.Err()
}

// allTypes returns the types of all messages.
func allTypes(tx *store.Tx) (types []string, err error) {
	found, err := tx.Query(queryTypes)
	if err != nil {
		return nil, fmt.Errorf("cannot read the types of tasks: %w", err)
	}
	defer func() { _ = found.Close() }()
	for found.Next() {
		var typ sql.NullString // the end of an index
		if err := found.Scan(&typ); err != nil {
			return nil, fmt.Errorf("cannot read the types of tasks: %w", err)
		}
		if typ.Valid {
			types = append(types, typ.String)
		}
	}
	return types, found.Err()
}

// page returns the entries behind one, and the last of them to go on from.
func page(tx *store.Tx, after int64, limit int) (entries []broker.Entry, last int64, err error) {
	found, err := tx.Query(queryPage, tx.Now().UnixMicro(), after, limit)
	if err != nil {
		return nil, 0, fmt.Errorf("cannot read the queue: %w", err)
	}
	defer func() { _ = found.Close() }()
	for found.Next() {
		var (
			e     broker.Entry
			runAt int64
		)
		if err := found.Scan(&last, &e.ID, &e.Type, &e.Priority, &runAt, &e.Body, &e.Number, &e.Attempts, &e.Crashes, &e.State); err != nil {
			return nil, 0, fmt.Errorf("cannot read the queue: %w", err)
		}
		e.RunAt = time.UnixMicro(runAt)
		e.Buried = e.State == broker.StateBuried
		if e.State == broker.StateScheduled || e.State == broker.StateReady {
			e.State = stateAt(tx, e.RunAt)
		}
		entries = append(entries, e)
	}
	return entries, last, found.Err()
}

// lease claims one message.
func lease(tx *store.Tx, seq int64, until time.Time) (broker.Lease, error) {
	l := broker.Lease{Until: until}
	var runAt int64
	err := tx.QueryRow(queryLease, until.UnixMicro(), seq).
		Scan(&l.ID, &l.Type, &l.Priority, &runAt, &l.Body, &l.Number, &l.Attempts, &l.Crashes, &l.Buried)
	if err != nil {
		return broker.Lease{}, fmt.Errorf("cannot claim a task: %w", err)
	}
	l.RunAt = time.UnixMicro(runAt)
	return l, nil
}

// claimable reports whether something of a type can be claimed.
func claimable(tx *store.Tx, typ string) (found bool, err error) {
	if err := tx.QueryRow(queryClaimable, typ, tx.Now().UnixMicro()).Scan(&found); err != nil {
		return false, fmt.Errorf("cannot look for tasks of type %q: %w", typ, err)
	}
	return found, nil
}

func extend(tx *store.Tx, l *broker.Lease, until time.Time) (bool, error) {
	done, err := tx.Exec("UPDATE tasks_queue SET lease_until = ?"+held, until.UnixMicro(), l.ID, l.Number)
	return changed(done, err, "extend the lease of", l)
}

func remove(tx *store.Tx, l *broker.Lease) (bool, error) {
	done, err := tx.Exec("DELETE FROM tasks_queue"+held, l.ID, l.Number)
	return changed(done, err, "remove", l)
}

func giveBack(tx *store.Tx, l *broker.Lease, again broker.Again) (bool, error) {
	at := again.At
	if at.IsZero() {
		at = l.RunAt // it keeps its place
	}
	done, err := tx.Exec("UPDATE tasks_queue SET state = ?, run_at = ?, attempts = attempts * ? + ?, crashes = crashes * ?"+held,
		string(stateAt(tx, at)), at.UnixMicro(), !again.Fresh, again.Failed, !again.Fresh, l.ID, l.Number)
	return changed(done, err, "give back", l)
}

func bury(tx *store.Tx, l *broker.Lease) (bool, error) {
	done, err := tx.Exec("UPDATE tasks_queue SET state = 'buried'"+held, l.ID, l.Number)
	return changed(done, err, "bury", l)
}

func changed(done sql.Result, err error, what string, l *broker.Lease) (bool, error) {
	if err != nil {
		return false, fmt.Errorf("cannot %s task %q: %w", what, l.ID, err)
	}
	n, err := done.RowsAffected()
	return n > 0, err
}

// count counts the messages of a type.
func count(tx *store.Tx, typ string) (n broker.Counts, err error) {
	err = tx.QueryRow(queryCount, typ, tx.Now().UnixMicro()).Scan(&n.Ready, &n.Scheduled, &n.Leased, &n.Buried)
	if err != nil {
		return n, fmt.Errorf("cannot count the tasks of type %q: %w", typ, err)
	}
	return n, nil
}
