package store

import (
	"database/sql"
	"encoding/json"
	"strings"
	"time"

	"procops/internal/event"
)

const (
	// rowsPerInsert events go into one statement: fewer crossings into C.
	rowsPerInsert = 32
	// pruneEvery events the log is cut to its length.
	pruneEvery = 1024
)

var insertOne, insertMany = insertEvents(1), insertEvents(rowsPerInsert)

func insertEvents(rows int) string {
	return "INSERT INTO events (time, type, source, subject, data) VALUES " +
		strings.TrimSuffix(strings.Repeat("(?,?,?,?,?),", rows), ",")
}

// eventLog writes the events table for the writer.
type eventLog struct {
	keep int
	args []any
}

// record inserts the events and gives each its ID.
func (l *eventLog) record(tx *Tx, events []event.Event) error {
	for len(events) > 0 {
		n, query := 1, insertOne
		if len(events) >= rowsPerInsert {
			n, query = rowsPerInsert, insertMany
		}
		last, err := l.insert(tx, query, events[:n])
		if err != nil {
			return err
		}
		if err := l.prune(tx, last, n); err != nil {
			return err
		}
		events = events[n:]
	}
	return nil
}

func (l *eventLog) insert(tx *Tx, query string, events []event.Event) (last int64, err error) {
	l.args = l.args[:0]
	for _, e := range events {
		data, err := e.DataJSON()
		if err != nil {
			return 0, err
		}
		var text any
		if data != nil {
			text = string(data)
		}
		l.args = append(l.args, e.Time.UnixMicro(), e.Type, e.Source, e.Subject, text)
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
	query, args := f.sql()
	rows, err := tx.Query(query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		e, err := scanEvent(rows)
		if err != nil {
			return nil, err
		}
		events = append(events, e)
	}
	return events, rows.Err()
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
		var any []string
		for _, p := range f.Types {
			any = append(any, "type GLOB ?")
			args = append(args, globEscaper.Replace(p))
		}
		where = append(where, "("+strings.Join(any, " OR ")+")")
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
