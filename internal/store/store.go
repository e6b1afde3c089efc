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

// busyTimeout is how long a write waits for writers in other processes.
const busyTimeout = 10 * time.Second

// Options configure a Store. The zero value is Process durability, no bus, the
// default retention and the wall clock.
type Options struct {
	Durability Durability
	Bus        *event.Bus       // hears events after their commit; may be nil
	KeepEvents int              // how many events the log keeps; 0 means DefaultKeepEvents
	Now        func() time.Time // the clock of Tx.Now; nil means time.Now
}

// DefaultKeepEvents is how many events the log keeps unless told otherwise.
const DefaultKeepEvents = 100_000

// Store is an open state directory. Its methods may be called from any
// goroutine.
type Store struct {
	path   string
	opt    Options
	writer *writer
	readMu sync.Mutex
	read   *sql.DB // opened by the first View
}

// Open opens the database in dir, which is made (mode 0700) if it does not
// exist, and brings its schema up to date. An error says what is wrong with the
// state and how to mend it: no permission, not a database, a newer schema.
func Open(ctx context.Context, dir string, opt Options) (*Store, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.KeepEvents <= 0 {
		opt.KeepEvents = DefaultKeepEvents
	}
	path := filepath.Join(dir, File)
	if err := createPrivate(dir, path); err != nil {
		return nil, openError(path, err)
	}
	db, err := sql.Open("sqlite3", dsn(path, opt.Durability))
	if err != nil {
		return nil, openError(path, err)
	}
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(ctx)
	if err == nil {
		err = migrate(ctx, conn)
	}
	if err != nil {
		return nil, openError(path, errors.Join(err, db.Close()))
	}
	s := &Store{path: path, opt: opt}
	s.writer = startWriter(db, conn, s.opt)
	return s, nil
}

// Path returns the path of the database.
func (s *Store) Path() string { return s.path }

// Update runs fn in a write transaction and returns when that is committed.
// When fn fails nothing of it remains and Update returns fn's error. fn shares
// the transaction with other updates and may therefore run more than once: it
// must touch nothing but tx and the variables it sets anew each time.
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) error {
	done := make(chan error, 1)
	if err := s.writer.submit(ctx, request{fn: fn, done: func(err error) { done <- err }}); err != nil {
		return err
	}
	return <-done
}

// Enqueue hands fn to the writer and does not wait for the commit; done, if
// not nil, is called in the writer's goroutine with the outcome and must not
// block. Updates of one caller are committed in the order it enqueued them.
// Enqueue blocks while the writer is more than queueLength updates behind.
func (s *Store) Enqueue(fn func(*Tx) error, done func(error)) error {
	return s.writer.submit(context.Background(), request{fn: fn, done: done})
}

// View runs fn in a read transaction: all its queries see one state.
func (s *Store) View(ctx context.Context, fn func(*Tx) error) (err error) {
	db, err := s.reader()
	if err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("cannot read state %q: %w", s.path, err)
	}
	defer func() { err = errors.Join(err, ignoreDone(tx.Rollback())) }()
	return fn(&Tx{ctx: ctx, now: s.opt.Now(), q: plain{tx}})
}

// Close commits what is queued and closes the database.
func (s *Store) Close() error {
	err := s.writer.close()
	s.readMu.Lock()
	defer s.readMu.Unlock()
	if s.read != nil {
		err = errors.Join(err, s.read.Close())
	}
	return err
}

// reader opens the pool of reading connections when it is first needed: short
// commands that only write do without.
func (s *Store) reader() (*sql.DB, error) {
	s.readMu.Lock()
	defer s.readMu.Unlock()
	if s.read == nil {
		// Not mode=ro: a reader of a WAL database must be able to make the -shm file.
		db, err := sql.Open("sqlite3", dsn(s.path, s.opt.Durability)+"&_query_only=true&_txlock=deferred")
		if err != nil {
			return nil, openError(s.path, err)
		}
		db.SetMaxOpenConns(4)
		s.read = db
	}
	return s.read, nil
}

// dsn names the database for the driver. Write transactions begin IMMEDIATE by
// statement, because a deferred one that reads before it writes fails with BUSY
// whatever the time-out.
func dsn(path string, d Durability) string {
	level := "NORMAL"
	if d == Power {
		level = "FULL"
	}
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}
	return fmt.Sprintf("%s?_busy_timeout=%d&_synchronous=%s&_foreign_keys=true", u.String(), busyTimeout.Milliseconds(), level)
}

// createPrivate makes the directory and an empty database file that only the
// owner can read; SQLite gives its companions the same mode.
func createPrivate(dir, path string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}
