package heartbeat

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"procops/internal/store"
)

// moment is a time in the store: microseconds, NULL for the zero time.
type moment time.Time

// Scan reads a column.
func (m *moment) Scan(from any) error {
	switch v := from.(type) {
	case nil:
		*m = moment{}
	case int64:
		*m = moment(time.UnixMicro(v))
	default:
		return fmt.Errorf("invalid time %v", from)
	}
	return nil
}

func column(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

// saveLife keeps where a heartbeat is in its life. due is when it is to be looked at
// again.
func saveLife(tx *store.Tx, name string, f life, pulse, due time.Time) error {
	done, err := tx.Exec(`UPDATE heartbeats SET state = ?, since = ?, base = ?, armed = ?, started = ?, run = ?,
		failures = ?, alerted = ?, next = ?, until = ?, pulse = ?, due = ? WHERE name = ?`,
		string(f.state), column(f.since), column(f.base), column(f.armed), column(f.started), f.run,
		f.failures, f.alerted, column(f.next), column(f.until), column(pulse), column(due), name)
	if _, err := changed(done, err, "record the state of", name); err != nil {
		return err
	}
	return nil
}

// ensureRow makes the row of a heartbeat that the configuration declares.
func ensureRow(tx *store.Tx, name string) error {
	now := tx.Now().UnixMicro()
	_, err := tx.Exec("INSERT OR IGNORE INTO heartbeats (name, created_at, updated_at, due) VALUES (?, ?, ?, 0)", name, now, now)
	if err != nil {
		return fmt.Errorf("cannot record heartbeat %q: %w", name, err)
	}
	return nil
}

func saveAlert(tx *store.Tx, name string, n notice, message string) error {
	_, err := tx.Exec("INSERT INTO heartbeat_alerts (name, alert, time, failures, message) VALUES (?, ?, ?, ?, ?)",
		name, string(n.alert), n.at.UnixMicro(), n.failures, message)
	if err != nil {
		return fmt.Errorf("cannot record an alert of %q: %w", name, err)
	}
	return nil
}

// watchRow says whether somebody watches, and by which clocks.
type watchRow struct {
	boot    string
	skew    time.Duration // wall clock minus time since boot
	watched time.Time     // of the last pass; zero: never
	until   time.Time
}

// loadWatch reads the row; known is false before the first.
func loadWatch(tx *store.Tx) (w watchRow, known bool, err error) {
	var skew int64
	err = tx.QueryRow("SELECT boot, skew, watched, until FROM heartbeat_watch").
		Scan(&w.boot, &skew, (*moment)(&w.watched), (*moment)(&w.until))
	if errors.Is(err, sql.ErrNoRows) {
		return w, false, nil
	}
	if err != nil {
		return w, false, fmt.Errorf("cannot read who watches the heartbeats: %w", err)
	}
	w.skew = micros(skew)
	return w, true, nil
}

func saveWatch(tx *store.Tx, w watchRow) error {
	_, err := tx.Exec("INSERT OR REPLACE INTO heartbeat_watch (id, boot, skew, watched, until) VALUES (1, ?, ?, ?, ?)",
		w.boot, w.skew.Microseconds(), column(w.watched), column(w.until))
	if err != nil {
		return fmt.Errorf("cannot record who watches the heartbeats: %w", err)
	}
	return nil
}

// shiftTimes moves all that is measured from now on or back, after the wall clock was
// set. What goes by a schedule goes by the wall clock all the same: it is not late
// before now, because what was to come in a time that was left out has not come.
func shiftTimes(tx *store.Tx, by time.Duration, scheduled []string) error {
	names, err := json.Marshal(scheduled)
	if err != nil {
		return err
	}
	const bySchedule = "(CASE WHEN json_valid(target) THEN json_extract(target, '$.schedule') END IS NOT NULL OR name IN (SELECT value FROM json_each(?2)))"
	_, err = tx.Exec(`UPDATE heartbeats SET beat_time = beat_time + ?1, since = since + ?1,
		base = CASE WHEN `+bySchedule+` THEN base ELSE base + ?1 END,
		armed = CASE WHEN `+bySchedule+` THEN ?3 ELSE armed + ?1 END,
		started = started + ?1, next = next + ?1, until = until + ?1, pulse = pulse + ?1, due = due + ?1`,
		by.Microseconds(), string(names), tx.Now().UnixMicro())
	if err == nil {
		_, err = tx.Exec("UPDATE heartbeat_runs SET started_at = started_at + ? WHERE state = 'running'", by.Microseconds())
	}
	if err != nil {
		return fmt.Errorf("cannot follow the clock: %w", err)
	}
	return nil
}

// pingsKept bounds the pings that are kept of each heartbeat, because each comes
// with what it said.
const pingsKept = 100

// savePing keeps what a client said and removes what of its heartbeat is too much.
func savePing(tx *store.Tx, name string, p Ping, keep retention) error {
	var code any
	if p.HasCode {
		code = p.ExitCode
	}
	_, err := tx.Exec("INSERT INTO heartbeat_pings (name, time, kind, code, run, source, body) VALUES (?, ?, ?, ?, ?, ?, ?)",
		name, tx.Now().UnixMicro(), string(p.Kind), code, p.Run, p.Source, p.Body)
	if err == nil {
		_, err = tx.Exec(`DELETE FROM heartbeat_pings WHERE name = ?1 AND (time < ?2 OR id <= coalesce(
			(SELECT id FROM heartbeat_pings WHERE name = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?3), -1))`,
			name, oldest(tx, keep), min(keep.count, pingsKept))
	}
	if err != nil {
		return fmt.Errorf("cannot keep the ping of %q: %w", name, err)
	}
	return nil
}

// loadPings reads the pings that are kept of a heartbeat, oldest first.
func loadPings(tx *store.Tx, name string) (pings []KeptPing, err error) {
	found, err := tx.Query("SELECT id, time, kind, code, run, source, body FROM heartbeat_pings WHERE name = ? ORDER BY id", name)
	if err != nil {
		return nil, fmt.Errorf("cannot read the pings of %q: %w", name, err)
	}
	defer func() { _ = found.Close() }()
	for found.Next() {
		var (
			p    KeptPing
			code sql.NullInt64
		)
		if err := found.Scan(&p.ID, (*moment)(&p.Time), &p.Kind, &code, &p.Run, &p.Source, &p.Body); err != nil {
			return nil, fmt.Errorf("cannot read the pings of %q: %w", name, err)
		}
		p.ExitCode, p.HasCode = int(code.Int64), code.Valid
		pings = append(pings, p)
	}
	return pings, found.Err()
}

// nameByUUID returns the name of the attached heartbeat with an address, "" if none
// has it.
func nameByUUID(tx *store.Tx, id string) (name string, err error) {
	err = tx.QueryRow("SELECT name FROM heartbeats WHERE uuid = ? AND attached_at IS NOT NULL", id).Scan(&name)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot look a heartbeat up by its address: %w", err)
	}
	return name, nil
}

// loadDue reads the rows that are due, at most limit, the longest overdue first.
func loadDue(tx *store.Tx, limit int) ([]row, error) {
	return queryRows(tx, selectRow+" WHERE due < ? ORDER BY due LIMIT ?", tx.Now().UnixMicro(), limit)
}

// loadDueByName reads the rows that are due behind a name, at most limit.
func loadDueByName(tx *store.Tx, after string, limit int) ([]row, error) {
	return queryRows(tx, selectRow+" WHERE due < ? AND name > ? ORDER BY name LIMIT ?", tx.Now().UnixMicro(), after, limit)
}

// withRuns returns which of the heartbeats have runs of a wrapped command.
func withRuns(tx *store.Tx, rows []row) (names map[string]bool, err error) {
	all := make([]string, len(rows))
	for i, r := range rows {
		all[i] = r.name
	}
	raw, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	found, err := tx.Query(`SELECT value FROM json_each(?)
		WHERE EXISTS (SELECT 1 FROM heartbeat_runs WHERE name = value)`, string(raw))
	if err != nil {
		return nil, fmt.Errorf("cannot read which heartbeats have runs: %w", err)
	}
	defer func() { _ = found.Close() }()
	names = map[string]bool{}
	for found.Next() {
		var name string
		if err := found.Scan(&name); err != nil {
			return nil, fmt.Errorf("cannot read which heartbeats have runs: %w", err)
		}
		names[name] = true
	}
	return names, found.Err()
}

// setDue keeps when a heartbeat is to be knocked at and looked at again; zero: never.
func setDue(tx *store.Tx, name string, pulse, due time.Time) error {
	_, err := tx.Exec("UPDATE heartbeats SET pulse = ?, due = ? WHERE name = ?", column(pulse), column(due), name)
	if err != nil {
		return fmt.Errorf("cannot record when %q is due: %w", name, err)
	}
	return nil
}

func loadOpenAlerts(tx *store.Tx, after int64, limit int) (open []delivery, err error) {
	found, err := tx.Query(`SELECT id, name, alert, time, failures, message FROM heartbeat_alerts
		WHERE delivered IS NULL AND id > ? ORDER BY id LIMIT ?`, after, limit)
	if err != nil {
		return nil, fmt.Errorf("cannot read the alerts: %w", err)
	}
	defer func() { _ = found.Close() }()
	for found.Next() {
		var d delivery
		err := found.Scan(&d.id, &d.Name, &d.Alert, (*moment)(&d.Time), &d.Failures, &d.Message)
		if d.id == 0 {
			return nil, fmt.Errorf("cannot read the alerts: %w", err)
		}
		if err != nil {
			d.Message = fmt.Sprintf("cannot read the alert: %v", err) // that there is one can still be told
		}
		open = append(open, d)
	}
	return open, found.Err()
}

func alertIsOpen(tx *store.Tx, id int64) (open bool, err error) {
	err = tx.QueryRow("SELECT EXISTS (SELECT 1 FROM heartbeat_alerts WHERE id = ? AND delivered IS NULL)", id).Scan(&open)
	if err != nil {
		return false, fmt.Errorf("cannot read the alerts: %w", err)
	}
	return open, nil
}

func saveDelivered(tx *store.Tx, ids []int64) error {
	raw, err := json.Marshal(ids)
	if err != nil {
		return err
	}
	now := tx.Now()
	_, err = tx.Exec("UPDATE heartbeat_alerts SET delivered = ? WHERE id IN (SELECT value FROM json_each(?))", now.UnixMicro(), string(raw))
	if err == nil {
		_, err = tx.Exec("DELETE FROM heartbeat_alerts WHERE delivered < ?", now.Add(-alertsKept).UnixMicro())
	}
	if err != nil {
		return fmt.Errorf("cannot record that alerts were delivered: %w", err)
	}
	return nil
}

// letLogGrow lets the write-ahead log become 40 MB instead of 4 before this process
// copies it into the database: a pass over a hundred thousand heartbeats writes to a
// page of its own for each that is due, and would do so after every pass. What other
// processes write has it copied earlier.
func letLogGrow(tx *store.Tx) error {
	var pages int
	if err := tx.QueryRow("PRAGMA wal_autocheckpoint = 10000").Scan(&pages); err != nil {
		return fmt.Errorf("cannot set the length of the write-ahead log: %w", err)
	}
	return nil
}
