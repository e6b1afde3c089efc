package heartbeat

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"procops/internal/store"
)

// row is what the table heartbeats knows of a name; the zero value with a name
// is a heartbeat that was never heard of.
type row struct {
	name      string
	attached  bool
	target    Target
	status    Status // of the last knock
	coalesced int64
	last      *Beat
	uuid      string
	life      life
	pulse     time.Time // when it is to be knocked at; zero: at once
	broken    error     // why the rest cannot be read: there is only what was read before
}

const selectRow = `SELECT name, attached_at IS NOT NULL, target, status, coalesced,
	number, beat_time, uptime, memory, pid, outcome, message, data,
	uuid, state, since, base, armed, started, run, failures, alerted, next, until, pulse FROM heartbeats`

func loadAll(tx *store.Tx) ([]row, error) { return queryRows(tx, selectRow+" ORDER BY name") }

func queryRows(tx *store.Tx, query string, args ...any) (rows []row, err error) {
	found, err := tx.Query(query, args...)
	if err != nil {
		return nil, fmt.Errorf("cannot read the heartbeats: %w", err)
	}
	defer func() { _ = found.Close() }()
	for found.Next() {
		r := scanRow(found)
		if r.name == "" {
			return nil, r.broken // there is not even a name to blame
		}
		rows = append(rows, r)
	}
	return rows, found.Err()
}

// loadOne reads the row of a name; without one it returns that name alone.
func loadOne(tx *store.Tx, name string) (row, error) {
	r := scanRow(tx.QueryRow(selectRow+" WHERE name = ?", name))
	if errors.Is(r.broken, sql.ErrNoRows) {
		return row{name: name}, nil
	}
	if r.name == "" {
		return r, r.broken
	}
	return r, nil
}

type scanner interface{ Scan(into ...any) error }

// scanRow reads a row. One that is damaged keeps none of the others from being read:
// it has its name, and why it is broken.
func scanRow(from scanner) row {
	var (
		r                                 row
		b                                 Beat
		target                            string
		beatTime, uptime, memory, process sql.NullInt64
		outcome, message, data, uuid      sql.NullString
		f                                 = &r.life
	)
	err := from.Scan(&r.name, &r.attached, &target, &r.status, &r.coalesced,
		&b.Number, &beatTime, &uptime, &memory, &process, &outcome, &message, &data,
		&uuid, &f.state, (*moment)(&f.since), (*moment)(&f.base), (*moment)(&f.armed), (*moment)(&f.started), &f.run,
		&f.failures, &f.alerted, (*moment)(&f.next), (*moment)(&f.until), (*moment)(&r.pulse))
	if err != nil {
		return row{name: r.name, attached: r.attached, status: r.status, broken: fmt.Errorf("cannot read heartbeat %q: %w", r.name, err)}
	}
	r.uuid = uuid.String
	r.broken = errors.Join(r.readTarget(target), f.check(r.name))
	if !beatTime.Valid {
		return r
	}
	b.Time = time.UnixMicro(beatTime.Int64)
	b.Client = Client{PID: int(process.Int64), Uptime: micros(uptime.Int64), Memory: memory.Int64}
	b.Outcome, b.Message = Outcome(outcome.String), message.String
	if data.Valid {
		if err := json.Unmarshal([]byte(data.String), &b.Data); err != nil {
			r.broken = errors.Join(r.broken, fmt.Errorf("cannot read the data of heartbeat %q: %w", r.name, err))
		}
	}
	r.last = &b
	return r
}

// check reports a state that there is not.
func (f life) check(name string) error {
	if f.state == "" || slices.Contains(States(), f.state) {
		return nil
	}
	return fmt.Errorf("cannot read heartbeat %q: there is no state %q", name, f.state)
}

// readTarget reads what the heartbeat was attached with; nearly all have nothing.
func (r *row) readTarget(text string) error {
	if text == "{}" {
		return nil
	}
	if err := json.Unmarshal([]byte(text), &r.target); err != nil {
		return fmt.Errorf("cannot read what heartbeat %q was attached with: %w", r.name, err)
	}
	return nil
}

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

// attach adds a name to the list; added is false if it was in it. What an
// earlier life of the name has left does not count.
func attach(tx *store.Tx, name string, target Target) (added bool, err error) {
	raw, err := json.Marshal(target)
	if err != nil {
		return false, err
	}
	if _, err := tx.Exec("DELETE FROM heartbeats WHERE name = ? AND attached_at IS NULL", name); err != nil {
		return false, fmt.Errorf("cannot attach heartbeat %q: %w", name, err)
	}
	now := tx.Now().UnixMicro()
	done, err := tx.Exec("INSERT OR IGNORE INTO heartbeats (name, attached_at, target, created_at, updated_at, uuid, due) VALUES (?, ?, ?, ?, ?, ?, 0)",
		name, now, string(raw), now, now, newUUID())
	return changed(done, err, "attach", name)
}

// detach removes a name from the list; removed is false if it was not in it.
func detach(tx *store.Tx, name string) (removed bool, err error) {
	done, err := tx.Exec("DELETE FROM heartbeats WHERE name = ? AND attached_at IS NOT NULL", name)
	return changed(done, err, "detach", name)
}

func changed(done sql.Result, err error, what, name string) (bool, error) {
	if err != nil {
		return false, fmt.Errorf("cannot %s heartbeat %q: %w", what, name, err)
	}
	n, err := done.RowsAffected()
	return n > 0, err
}

// saveBeat makes b the last beat and returns its running number.
func saveBeat(tx *store.Tx, name string, b Beat) (number int64, err error) {
	var data any
	if len(b.Data) > 0 {
		raw, err := json.Marshal(b.Data)
		if err != nil {
			return 0, fmt.Errorf("cannot encode the data of heartbeat %q: %w", name, err)
		}
		data = string(raw)
	}
	var uptime, memory, process any
	if b.Client != (Client{}) {
		uptime, memory, process = b.Client.Uptime.Microseconds(), b.Client.Memory, b.Client.PID
	}
	now := tx.Now().UnixMicro()
	err = tx.QueryRow(`INSERT INTO heartbeats (name, created_at, updated_at, number, beat_time, uptime, memory, pid, outcome, message, data)
		VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET updated_at = excluded.updated_at, number = number + 1,
			beat_time = excluded.beat_time, uptime = excluded.uptime, memory = excluded.memory, pid = excluded.pid,
			outcome = excluded.outcome, message = excluded.message, data = excluded.data
		RETURNING number`,
		name, now, now, b.Time.UnixMicro(), uptime, memory, process, string(b.Outcome), b.Message, data).Scan(&number)
	if err != nil {
		return 0, fmt.Errorf("cannot record the beat of %q: %w", name, err)
	}
	return number, nil
}

func countCoalesced(tx *store.Tx, name string) error {
	now := tx.Now().UnixMicro()
	_, err := tx.Exec(`INSERT INTO heartbeats (name, coalesced, created_at, updated_at) VALUES (?, 1, ?, ?)
		ON CONFLICT (name) DO UPDATE SET coalesced = coalesced + 1, updated_at = excluded.updated_at`, name, now, now)
	if err != nil {
		return fmt.Errorf("cannot count the beat of %q: %w", name, err)
	}
	return nil
}

// saveStatus keeps what the last knock found. A declared heartbeat may have no
// row before its first knock.
func saveStatus(tx *store.Tx, name string, s Status) error {
	now := tx.Now().UnixMicro()
	_, err := tx.Exec(`INSERT INTO heartbeats (name, status, created_at, updated_at) VALUES (?, ?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET status = excluded.status`, name, string(s), now, now)
	if err != nil {
		return fmt.Errorf("cannot record the status of %q: %w", name, err)
	}
	return nil
}

// addHistory adds an entry and returns its number.
func addHistory(tx *store.Tx, e Entry) (id int64, err error) {
	var lag any
	if e.HasLag {
		lag = e.Lag.Microseconds()
	}
	done, err := tx.Exec("INSERT INTO heartbeat_history (name, time, status, lag, message) VALUES (?, ?, ?, ?, ?)",
		e.Name, e.Time.UnixMicro(), string(e.Status), lag, e.Message)
	if err == nil {
		id, err = done.LastInsertId()
	}
	if err != nil {
		return 0, fmt.Errorf("cannot record the knock at %q: %w", e.Name, err)
	}
	return id, nil
}

// pruneHistory removes the entries of a heartbeat that are too many or too old.
// OFFSET walks the index over those that are kept: some microseconds for a thousand.
func pruneHistory(tx *store.Tx, name string, keep retention) error {
	_, err := tx.Exec(`DELETE FROM heartbeat_history WHERE name = ?1 AND (time < ?2 OR id <= coalesce(
		(SELECT id FROM heartbeat_history WHERE name = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?3), -1))`,
		name, oldest(tx, keep), keep.count)
	if err != nil {
		return fmt.Errorf("cannot shorten the history of %q: %w", name, err)
	}
	return nil
}

// oldest returns the time before which nothing is kept.
func oldest(tx *store.Tx, keep retention) int64 {
	if keep.age == 0 {
		return 0
	}
	return tx.Now().Add(-keep.age).UnixMicro()
}

func loadHistory(tx *store.Tx, name string, f HistoryFilter) (entries []Entry, err error) {
	limit := -1 // no bound
	if f.Limit > 0 {
		limit = f.Limit
	}
	var since int64
	if !f.Since.IsZero() {
		since = f.Since.UnixMicro()
	}
	found, err := tx.Query(`SELECT id, time, status, lag, message FROM heartbeat_history
		WHERE name = ? AND time >= ? ORDER BY id DESC LIMIT ?`, name, since, limit)
	if err != nil {
		return nil, fmt.Errorf("cannot read the history of %q: %w", name, err)
	}
	defer func() { _ = found.Close() }()
	for found.Next() {
		e := Entry{Name: name}
		var (
			at  int64
			lag sql.NullInt64
		)
		if err := found.Scan(&e.ID, &at, &e.Status, &lag, &e.Message); err != nil {
			return nil, fmt.Errorf("cannot read the history of %q: %w", name, err)
		}
		e.Time, e.Lag, e.HasLag = time.UnixMicro(at), micros(lag.Int64), lag.Valid
		entries = append(entries, e)
	}
	slices.Reverse(entries)
	return entries, found.Err()
}
