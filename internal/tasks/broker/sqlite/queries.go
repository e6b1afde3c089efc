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
	queryReap = `UPDATE tasks_queue SET state = 'ready', crashes = crashes + 1 WHERE seq IN (
		SELECT seq FROM tasks_queue WHERE state = 'leased' AND type = ?1 AND lease_until <= ?2 ORDER BY lease_until LIMIT ?3)`
	queryPromote = `UPDATE tasks_queue SET state = 'ready' WHERE seq IN (
		SELECT seq FROM tasks_queue WHERE state = 'scheduled' AND type = ?1 AND run_at <= ?2 ORDER BY run_at LIMIT ?3)`
	queryHeads = `SELECT seq, priority, run_at FROM tasks_queue
		WHERE state = 'ready' AND type = ? ORDER BY priority, run_at, seq LIMIT ?`
	queryLease = `UPDATE tasks_queue SET state = 'leased', lease = lease + 1, lease_until = ? WHERE seq = ?
		RETURNING id, type, priority, run_at, body, lease, attempts, crashes`
	queryClaimable = `SELECT EXISTS (SELECT 1 FROM tasks_queue WHERE state = 'ready' AND type = ?1)
		OR EXISTS (SELECT 1 FROM tasks_queue WHERE state = 'scheduled' AND type = ?1 AND run_at <= ?2)
		OR EXISTS (SELECT 1 FROM tasks_queue WHERE state = 'leased' AND type = ?1 AND lease_until <= ?2)`
	queryCount = `SELECT
		(SELECT count(*) FROM tasks_queue WHERE state = 'ready' AND type = ?1)
			+ (SELECT count(*) FROM tasks_queue WHERE state = 'scheduled' AND type = ?1 AND run_at <= ?2)
			+ (SELECT count(*) FROM tasks_queue WHERE state = 'leased' AND type = ?1 AND lease_until <= ?2),
		(SELECT count(*) FROM tasks_queue WHERE state = 'scheduled' AND type = ?1 AND run_at > ?2),
		(SELECT count(*) FROM tasks_queue WHERE state = 'leased' AND type = ?1 AND lease_until > ?2),
		(SELECT count(*) FROM tasks_queue WHERE state = 'buried' AND type = ?1)`
)

// held selects the message of a lease while that is held.
const held = ` WHERE id = ? AND state = 'leased' AND lease = ?`

// insert queues a message, unless one of its ID is queued.
func insert(tx *store.Tx, m *broker.Message) error {
	_, err := tx.Exec(`INSERT INTO tasks_queue (id, type, priority, run_at, state, body) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
		m.ID, m.Type, m.Priority, m.RunAt.UnixMicro(), stateAt(tx, m.RunAt), append([]byte{}, m.Body...))
	if err != nil {
		return fmt.Errorf("cannot queue task %q: %w", m.ID, err)
	}
	return nil
}

// stateAt returns the state of a message that waits for a time.
func stateAt(tx *store.Tx, at time.Time) string {
	if at.After(tx.Now()) {
		return "scheduled"
	}
	return "ready"
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

// readyHeads returns the first of a type that can be claimed.
func readyHeads(tx *store.Tx, typ string, limit int) (heads []head, err error) {
	found, err := tx.Query(queryHeads, typ, limit)
	if err != nil {
		return nil, fmt.Errorf("cannot find tasks of type %q: %w", typ, err)
	}
	defer func() { _ = found.Close() }()
	for found.Next() {
		var h head
		if err := found.Scan(&h.seq, &h.priority, &h.runAt); err != nil {
			return nil, fmt.Errorf("cannot find tasks of type %q: %w", typ, err)
		}
		heads = append(heads, h)
	}
	return heads, found.Err()
}

// lease claims one message.
func lease(tx *store.Tx, seq int64, until time.Time) (broker.Lease, error) {
	l := broker.Lease{Until: until}
	var runAt int64
	err := tx.QueryRow(queryLease, until.UnixMicro(), seq).
		Scan(&l.ID, &l.Type, &l.Priority, &runAt, &l.Body, &l.Number, &l.Attempts, &l.Crashes)
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
	done, err := tx.Exec("UPDATE tasks_queue SET state = ?, run_at = ?, attempts = attempts + ?"+held,
		stateAt(tx, at), at.UnixMicro(), again.Failed, l.ID, l.Number)
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
