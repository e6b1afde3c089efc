package store

import (
	"context"
	"database/sql"
	"time"

	"procops/internal/event"
)

// Tx is a transaction. It carries one fixed Now, so that all that happens in it
// happens at one time. It must not be used after the function it was given to
// has returned.
type Tx struct {
	ctx    context.Context
	now    time.Time
	q      querier
	events []event.Event
	broken error // the database's error after which nothing more may be written
}

// querier runs statements: for the writer through its cache of prepared ones.
type querier interface {
	exec(ctx context.Context, query string, args ...any) (sql.Result, error)
	query(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	queryRow(ctx context.Context, query string, args ...any) *sql.Row
}

// Now returns the time of the transaction.
func (tx *Tx) Now() time.Time { return tx.now }

// Exec runs a statement that returns no rows.
func (tx *Tx) Exec(query string, args ...any) (sql.Result, error) {
	if tx.broken != nil {
		return nil, tx.broken
	}
	res, err := tx.q.exec(tx.ctx, query, args...)
	if err != nil && undoesTransaction(err) {
		// Without a transaction a further statement would commit by itself.
		tx.broken = err
	}
	return res, err
}

// Query runs a statement that returns rows; the caller closes them.
func (tx *Tx) Query(query string, args ...any) (*sql.Rows, error) {
	return tx.q.query(tx.ctx, query, args...)
}

// QueryRow runs a statement that returns at most one row.
func (tx *Tx) QueryRow(query string, args ...any) *sql.Row {
	return tx.q.queryRow(tx.ctx, query, args...)
}

// Emit records e with the transaction and publishes it after the commit. It
// has no effect in a View.
func (tx *Tx) Emit(e event.Event) { tx.events = append(tx.events, e) }

// plain runs statements unprepared, in a reader's transaction.
type plain struct{ tx *sql.Tx }

func (p plain) exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return p.tx.ExecContext(ctx, query, args...)
}

func (p plain) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return p.tx.QueryContext(ctx, query, args...)
}

func (p plain) queryRow(ctx context.Context, query string, args ...any) *sql.Row {
	return p.tx.QueryRowContext(ctx, query, args...)
}
