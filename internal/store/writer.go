package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"procops/internal/event"
)

const (
	// queueLength is how many updates may wait for the writer before Enqueue
	// refuses more. It bounds memory when the disk stands still.
	queueLength = 8192
	// batchLimit bounds a transaction, so that writers in other processes get
	// their turn within milliseconds.
	batchLimit = 1024
)

// request is one update on its way to the writer.
type request struct {
	fn   func(*Tx) error
	done func(error) // may be nil
	// claim is set by whoever is first: the writer that begins with fn, or
	// the caller that no longer wants it. It is nil where nobody can give up.
	claim *atomic.Bool
}

// wanted claims the request for the writer; a caller that has given up makes
// it false. A request that runs again stays claimed.
func (r *request) wanted() bool {
	if r.claim == nil {
		return true
	}
	if !r.claim.CompareAndSwap(false, true) {
		return false
	}
	r.claim = nil
	return true
}

// writer owns the one connection that writes.
type writer struct {
	db    *sql.DB
	conn  *sql.Conn
	lock  *writeLock
	place place
	path  string // as messages name it
	opt   Options
	stmts map[string]*sql.Stmt
	log   eventLog

	mu       sync.RWMutex // guards closing the queue against a late send
	closed   bool
	closing  atomic.Bool // finish has been called; read without mu, which a late send may hold
	queue    chan request
	finished chan struct{}
}

func startWriter(db *sql.DB, conn *sql.Conn, lock *writeLock, at place, path string, opt Options) *writer {
	w := &writer{
		db: db, conn: conn, lock: lock, place: at, path: path, opt: opt,
		stmts:    map[string]*sql.Stmt{},
		log:      eventLog{keep: opt.KeepEvents},
		queue:    make(chan request, queueLength),
		finished: make(chan struct{}),
	}
	go w.run()
	return w
}

func (w *writer) submit(ctx context.Context, r request) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return ErrClosed
	}
	select {
	case w.queue <- r:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// offer is submit for those who cannot wait.
func (w *writer) offer(r request) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return ErrClosed
	}
	select {
	case w.queue <- r:
		return nil
	default:
		return ErrBehind
	}
}

// finish commits what is queued and ends the goroutine.
func (w *writer) finish() {
	w.closing.Store(true)
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.queue)
	}
	w.mu.Unlock()
	<-w.finished
}

// close closes the connection, after finish. It may be called twice.
func (w *writer) close() error {
	var errs []error
	for _, s := range w.stmts {
		errs = append(errs, s.Close())
	}
	w.stmts = nil
	if err := w.conn.Close(); !errors.Is(err, sql.ErrConnDone) {
		errs = append(errs, err)
	}
	errs = append(errs, w.db.Close())
	if err := w.lock.close(); !errors.Is(err, os.ErrClosed) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (w *writer) run() {
	defer close(w.finished)
	batch := make([]request, 0, batchLimit)
	var broken error // what the last transaction failed of as a whole
	for first := range w.queue {
		batch = w.gather(append(batch[:0], first))
		if broken != nil && w.closing.Load() {
			answer(batch, broken) // who closes waits once for a state that stands still, not for each batch
		} else {
			broken = w.commit(batch)
		}
		clear(batch)
	}
}

// gather adds what waits already, without waiting for more. It lets the other
// goroutines go first: those that the last commit has answered are about to ask
// for the next one, and together they need one commit only.
func (w *writer) gather(batch []request) []request {
	runtime.Gosched()
	for len(batch) < batchLimit {
		select {
		case r, ok := <-w.queue:
			if !ok {
				return batch
			}
			batch = append(batch, r)
		default:
			return batch
		}
	}
	return batch
}

// commit runs the batch in one transaction. When one of the updates fails, the
// transaction is undone; then those before it, it alone and those after it get
// a transaction each, so that nobody pays for another's failure. When the
// transaction itself fails (the disk is full, the database locked), all fail,
// and commit returns the error.
func (w *writer) commit(batch []request) error {
	for len(batch) > 0 {
		failed, err := w.transact(batch)
		if err == nil || failed < 0 || len(batch) == 1 {
			answer(batch, err)
			if failed < 0 {
				return err
			}
			return nil
		}
		if err := errors.Join(w.commit(batch[:failed]), w.commit(batch[failed:failed+1])); err != nil {
			answer(batch[failed+1:], err)
			return err
		}
		batch = batch[failed+1:]
	}
	return nil
}

func answer(batch []request, err error) {
	for _, r := range batch {
		if r.done != nil {
			r.done(err)
		}
	}
}

// transact runs the updates in one transaction and publishes their events.
// failed is the index of the update whose fault an error is, -1 if none's.
func (w *writer) transact(batch []request) (failed int, err error) {
	if err := w.lock.lock(); err != nil {
		return -1, useError("write", w.path, err)
	}
	if err := w.place.check(); err != nil {
		w.lock.unlock()
		return -1, useError("write", w.path, err)
	}
	events, failed, err := w.locked(batch)
	w.lock.unlock()
	if err != nil {
		return failed, useError("write", w.path, err)
	}
	w.publish(events)
	return -1, nil
}

// locked is transact with the write lock held; it returns the recorded events.
func (w *writer) locked(batch []request) (events []event.Event, failed int, err error) {
	ctx := context.Background()
	if _, err := w.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return nil, -1, err
	}
	tx := &Tx{ctx: ctx, now: w.opt.Now(), q: w}
	failed, err = w.apply(tx, batch)
	if err == nil {
		_, err = w.exec(ctx, "COMMIT")
	}
	if err != nil {
		// SQLite may have rolled back by itself: then this fails, harmlessly.
		_, _ = w.exec(ctx, "ROLLBACK")
		return nil, failed, err
	}
	return tx.events, -1, nil
}

// apply runs the updates and records what they emitted.
func (w *writer) apply(tx *Tx, batch []request) (failed int, err error) {
	w.log.reset()
	for i := range batch {
		if !batch[i].wanted() {
			continue
		}
		from := len(tx.events)
		err := batch[i].fn(tx)
		if tx.broken != nil {
			return -1, tx.broken
		}
		if err != nil {
			return i, err
		}
		w.stamp(tx.events[from:])
		if err := w.log.encode(tx.events[from:]); err != nil {
			return i, err
		}
	}
	return -1, w.log.record(tx, tx.events)
}

func (w *writer) stamp(events []event.Event) {
	if w.opt.Bus == nil {
		return
	}
	for i := range events {
		events[i] = w.opt.Bus.Stamp(events[i])
	}
}

func (w *writer) publish(events []event.Event) {
	if w.opt.Bus == nil {
		return
	}
	for _, e := range events {
		w.opt.Bus.Publish(e)
	}
}

// prepared returns the statement for a query, preparing it once.
func (w *writer) prepared(ctx context.Context, query string) (*sql.Stmt, error) {
	if s, ok := w.stmts[query]; ok {
		return s, nil
	}
	s, err := w.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("cannot prepare %q: %w", query, err)
	}
	w.stmts[query] = s
	return s, nil
}

func (w *writer) exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	s, err := w.prepared(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(ctx, args...)
}

func (w *writer) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	s, err := w.prepared(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, args...)
}

func (w *writer) queryRow(ctx context.Context, query string, args ...any) *sql.Row {
	s, err := w.prepared(ctx, query)
	if err != nil {
		// The unprepared call fails in the same way and carries the error in its Row.
		return w.conn.QueryRowContext(ctx, query, args...)
	}
	return s.QueryRowContext(ctx, args...)
}
