package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	_ "github.com/mattn/go-sqlite3" // the driver "sqlite3"

	"procops/internal/event"
)

// File is the database's name in its state directory.
const File = "procops.db"

// Durability says what a commit survives.
type Durability string

// The two durabilities.
const (
	Process Durability = "process" // a crash or SIGKILL of the process
	Power   Durability = "power"   // a power cut as well; every commit costs an fsync
)

// Options configure a Store. The zero value is Process durability, no bus, the
// default retention and time-out and the wall clock.
type Options struct {
	Durability  Durability
	Bus         *event.Bus       // hears events after their commit; may be nil
	KeepEvents  int              // how many events the log keeps; 0 means DefaultKeepEvents
	BusyTimeout time.Duration    // how long a write waits for those of other processes; 0 means DefaultBusyTimeout
	Now         func() time.Time // the clock of Tx.Now; nil means time.Now
	// LeaveLog is for a process that ends right after Close. While the
	// write-ahead log is short, Close then leaves it for the next process instead
	// of copying it into the database, which costs a short command four fsyncs.
	// That means to leave the connections open until the process ends.
	LeaveLog bool
}

const (
	// DefaultKeepEvents is how many events the log keeps unless told otherwise.
	DefaultKeepEvents = 100_000
	// DefaultBusyTimeout is how long a write waits unless told otherwise.
	DefaultBusyTimeout = 10 * time.Second
)

// Store is an open state directory. Its methods may be called from any
// goroutine.
type Store struct {
	path   string
	opt    Options
	writer *writer
	reader readPool
}

// Open opens the database in dir, which is made (mode 0700) if it does not
// exist, and brings its schema up to date. An error says what is wrong with the
// state and how to mend it: no permission, not a database, a newer schema.
func Open(ctx context.Context, dir string, opt Options) (*Store, error) {
	opt = withDefaults(opt)
	path := filepath.Join(dir, File)
	s, err := open(ctx, dir, path, opt)
	if err != nil {
		return nil, openError(path, err)
	}
	return s, nil
}

func open(ctx context.Context, dir, path string, opt Options) (*Store, error) {
	if len(path) > maxPath {
		return nil, syscall.ENAMETOOLONG
	}
	if err := createPrivate(dir, path); err != nil {
		return nil, err
	}
	lock, err := openWriteLock(path, opt.BusyTimeout)
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite3", dsn(path, opt))
	if err != nil {
		return nil, errors.Join(err, lock.close())
	}
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(ctx)
	if err == nil {
		err = migrate(ctx, conn, opt.BusyTimeout)
	}
	var at place
	if err == nil {
		at, err = placeOf(path)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close(), lock.close())
	}
	return &Store{
		path:   path,
		opt:    opt,
		writer: startWriter(db, conn, lock, at, path, opt),
		reader: readPool{dsn: dsn(path, opt) + "&_query_only=true"},
	}, nil
}

func withDefaults(opt Options) Options {
	clock := opt.Now
	if clock == nil {
		clock = time.Now
	}
	// What is told of a change is what will be read of it.
	opt.Now = func() time.Time { return clock().Truncate(time.Microsecond) }
	if opt.KeepEvents <= 0 {
		opt.KeepEvents = DefaultKeepEvents
	}
	if opt.BusyTimeout <= 0 {
		opt.BusyTimeout = DefaultBusyTimeout
	}
	return opt
}

// Path returns the path of the database.
func (s *Store) Path() string { return s.path }

// Update runs fn in a write transaction and returns when that is committed.
// When fn fails nothing of it remains and Update returns fn's error. fn shares
// the transaction with other updates and may therefore run more than once: it
// must touch nothing but tx and the variables it sets anew each time, and must
// return the errors of tx's methods. When ctx ends before fn's turn has come, fn
// never runs and Update returns ctx's cause; after that Update waits for the
// outcome. A subscriber of the bus must not call Update: its event is
// published by the goroutine that would have to run it.
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) error {
	var claim atomic.Bool
	done := make(chan error, 1)
	if err := s.writer.submit(ctx, request{fn: fn, done: func(err error) { done <- err }, claim: &claim}); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		if claim.CompareAndSwap(false, true) {
			return context.Cause(ctx)
		}
		return <-done
	}
}

// Enqueue hands fn to the writer and does not wait for the commit; done, if
// not nil, is called in the writer's goroutine with the outcome and must not
// block. Updates of one caller are committed in the order it enqueued them.
// Enqueue never waits: while the writer is more than queueLength updates behind,
// because the disk stands still or another process holds the state, it returns
// ErrBehind, and neither fn nor done is called.
func (s *Store) Enqueue(fn func(*Tx) error, done func(error)) error {
	return s.writer.offer(request{fn: fn, done: done})
}

// Record records e alone, publishes it, and returns it as it was recorded.
func (s *Store) Record(ctx context.Context, e event.Event) (event.Event, error) {
	var (
		tx *Tx
		at int
	)
	err := s.Update(ctx, func(now *Tx) error {
		tx, at = now, len(now.events)
		now.Emit(e)
		return nil
	})
	if err != nil {
		return e, err
	}
	return tx.events[at], nil
}

// View runs fn in a read transaction: all its queries see one state.
func (s *Store) View(ctx context.Context, fn func(*Tx) error) error {
	db, err := s.reader.open()
	if err != nil {
		return useError("read", s.path, err)
	}
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return useError("read", s.path, err)
	}
	err = fn(&Tx{ctx: ctx, now: s.opt.Now(), q: plain{tx}})
	return useError("read", s.path, errors.Join(err, ignoreDone(tx.Rollback())))
}

// Close commits what is queued and closes the database. It may be called twice.
func (s *Store) Close() error {
	s.writer.finish()
	if s.opt.LeaveLog && s.logIsShort() {
		s.reader.leave()
		return nil
	}
	return errors.Join(s.writer.close(), s.reader.close())
}

// leftLog is the length in bytes up to which LeaveLog leaves the log. Whoever
// opens the database first reads it all: a quarter of a megabyte costs him some
// 0.1 ms, and the log of a hundred small updates is no longer.
const leftLog = 256 << 10

func (s *Store) logIsShort() bool {
	info, err := os.Stat(s.path + "-wal")
	return err == nil && info.Size() < leftLog
}

// readPool is the pool of reading connections. It opens when it is first
// needed: short commands that only write do without.
type readPool struct {
	dsn    string
	mu     sync.Mutex
	db     *sql.DB
	closed bool
}

func (p *readPool) open() (*sql.DB, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	if p.db == nil {
		// Not mode=ro: a reader of a WAL database must be able to make the -shm file.
		db, err := sql.Open("sqlite3", p.dsn)
		if err != nil {
			return nil, err
		}
		db.SetMaxOpenConns(4)
		p.db = db
	}
	return p.db, nil
}

// leave forbids further use and keeps the connections.
func (p *readPool) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
}

func (p *readPool) close() error {
	p.leave()
	if p.db == nil {
		return nil
	}
	return p.db.Close()
}

// dsn names the database for the driver. Write transactions begin IMMEDIATE by
// statement, because a deferred one that reads before it writes fails with BUSY
// whatever the time-out.
func dsn(path string, opt Options) string {
	level := "NORMAL"
	if opt.Durability == Power {
		level = "FULL"
	}
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}
	return fmt.Sprintf("%s?_busy_timeout=%d&_synchronous=%s&_foreign_keys=true", u.String(), opt.BusyTimeout.Milliseconds(), level)
}

// createPrivate makes the directory and an empty database file that only the
// owner can read; SQLite gives its companions the same mode. It never opens a
// file that exists: closing it would drop the locks that another Store of this
// process holds on it.
func createPrivate(dir, path string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err == nil {
		return f.Close()
	}
	if !errors.Is(err, os.ErrExist) {
		return err
	}
	// SQLite would open a file that it cannot write, and fail only later.
	const writable = 2 // W_OK
	if err := syscall.Access(path, writable); err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	return nil
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}
