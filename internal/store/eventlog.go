package store

import (
	"database/sql"
	"encoding/json"
	"math/bits"
	"strings"
	"time"

	"procops/internal/event"
)

// pruneEvery events the log is cut to its length.
const pruneEvery = 1024

// inserts are the statements that insert 1, 2, 4 ... rows at once: the fewer
// statements, the fewer crossings into C.
var inserts = [...]string{insertRows(1), insertRows(2), insertRows(4), insertRows(8), insertRows(16), insertRows(32)}

func insertRows(n int) string {
	return "INSERT INTO events (time, type, source, subject, data) VALUES " +
		strings.TrimSuffix(strings.Repeat("(?,?,?,?,?),", n), ",")
}

// insertFor returns the longest insert for at most n rows, and its rows.
func insertFor(n int) (query string, rows int) {
	power := min(bits.Len(uint(n)), len(inserts)) - 1
	return inserts[power], 1 << power
}

// eventLog writes the events table for the writer.
type eventLog struct {
	keep int
	data []any // the encoded data of the transaction's events, a string or nil
	args []any
}

// reset begins a transaction.
func (l *eventLog) reset() { l.data = l.data[:0] }

// encode prepares the data of further events of the transaction.
func (l *eventLog) encode(events []event.Event) error {
	for _, e := range events {
		raw, err := e.DataJSON()
		switch {
		case err != nil:
			return err
		case raw == nil:
			l.data = append(l.data, nil)
		default:
			l.data = append(l.data, string(raw))
		}
	}
	return nil
}

// record inserts the events, which have been encoded, and gives each its ID.
func (l *eventLog) record(tx *Tx, events []event.Event) error {
	data := l.data
	for len(events) > 0 {
		query, n := insertFor(len(events))
		last, err := l.insert(tx, query, events[:n], data)
		if err != nil {
			return err
		}
		if err := l.prune(tx, last, n); err != nil {
			return err
		}
		events, data = events[n:], data[n:]
	}
	return nil
}

func (l *eventLog) insert(tx *Tx, query string, events []event.Event, data []any) (last int64, err error) {
	l.args = l.args[:0]
	for i, e := range events {
		l.args = append(l.args, e.Time.UnixMicro(), e.Type, e.Source, e.Subject, data[i])
	}
	res, err := tx.Exec(query, l.args...)
	if err != nil {
		return 0, err
	}
	if last, err = res.LastInsertId(); err != nil {
		return 0, err
	}
	// The rows of one statement get consecutive ids: nobody else writes meanwhile.
	for i := range events {
		events[i].ID = last - int64(len(events)-1-i)
	}
	return last, nil
}

// prune cuts the log each time its ids cross a multiple of pruneEvery.
func (l *eventLog) prune(tx *Tx, last int64, inserted int) error {
	if last/pruneEvery == (last-int64(inserted))/pruneEvery {
		return nil
	}
	_, err := tx.Exec("DELETE FROM events WHERE id <= ?", last-int64(l.keep))
	return err
}

// EventFilter selects events of the log. The zero value selects all.
type EventFilter struct {
	AfterID int64     // only events with a greater id
	Since   time.Time // only events at or after this time; zero means no bound
	Types   []string  // patterns as of event.Match, any of them; empty means every type
	Subject string    // only events about this subject; empty means all
	Limit   int       // at most this many; 0 means no bound
	Last    bool      // with Limit: the newest ones, still in ascending order
}

// Events returns the recorded events that match, in ascending order of id.
func Events(tx *Tx, f EventFilter) (events []event.Event, err error) {
	err = EachEvent(tx, f, func(e event.Event) error {
		events = append(events, e)
		return nil
	})
	return events, err
}

// EachEvent calls fn with the recorded events that match, in ascending order of
// id, until fn fails.
func EachEvent(tx *Tx, f EventFilter, fn func(event.Event) error) error {
	query, args := f.sql()
	rows, err := tx.Query(query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		e, err := scanEvent(rows)
		if err != nil {
			return err
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return rows.Err()
}

// newestEvent returns the id of the newest event that is still in the log, 0 if
// there is none.
func newestEvent(tx *Tx) (id int64, err error) {
	err = tx.QueryRow("SELECT coalesce(max(id), 0) FROM events").Scan(&id)
	return id, err
}

// sql builds the query. GLOB's "*" is that of event.Match; its other special
// characters cannot occur in a type's name and are escaped in a pattern.
func (f EventFilter) sql() (query string, args []any) {
	where := []string{"id > ?"}
	args = append(args, f.AfterID)
	if !f.Since.IsZero() {
		where = append(where, "time >= ?")
		args = append(args, f.Since.UnixMicro())
	}
	if f.Subject != "" {
		where = append(where, "subject = ?")
		args = append(args, f.Subject)
	}
	if len(f.Types) > 0 {
		var patterns []string
		for _, p := range f.Types {
			patterns = append(patterns, "type GLOB ?")
			args = append(args, globEscaper.Replace(p))
		}
		where = append(where, "("+strings.Join(patterns, " OR ")+")")
	}
	order := "ASC"
	if f.Last {
		order = "DESC"
	}
	query = "SELECT id, time, type, source, subject, data FROM events WHERE " + strings.Join(where, " AND ") + " ORDER BY id " + order
	if f.Limit > 0 {
		query += " LIMIT ?"
		args = append(args, f.Limit)
	}
	if f.Last {
		query = "SELECT * FROM (" + query + ") ORDER BY id ASC"
	}
	return query, args
}

var globEscaper = strings.NewReplacer("[", "[[]", "?", "[?]")

func scanEvent(rows *sql.Rows) (event.Event, error) {
	var (
		e      event.Event
		micros int64
		data   sql.NullString
	)
	if err := rows.Scan(&e.ID, &micros, &e.Type, &e.Source, &e.Subject, &data); err != nil {
		return event.Event{}, err
	}
	e.Time = time.UnixMicro(micros)
	if data.Valid {
		e.Data = json.RawMessage(data.String)
	}
	return e, nil
}
