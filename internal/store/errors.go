package store

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/mattn/go-sqlite3"

	"procops/internal/fault"
)

// ErrClosed is returned for the use of a closed store.
var ErrClosed = errors.New("the state store is closed")

// ErrBehind is returned by Enqueue while too many updates wait already.
var ErrBehind = errors.New("cannot write state: too much waits to be written already")

// openError says what is wrong with the state at path and what helps.
func openError(path string, err error) error {
	e := fault.Wrap(fault.Failure, err, "cannot open state %q", path)
	var newer *newerSchemaError
	switch {
	case errors.As(err, &newer):
		return e.WithHint("upgrade this procops, or use another --state-dir")
	case errors.Is(err, errForeign):
		return e.WithHint("move it away, or use another --state-dir")
	case isFull(err):
		return e.WithHint("free some space on the disk of %q, or use another --state-dir", filepath.Dir(path))
	case errors.Is(err, syscall.ENAMETOOLONG), len(path) > maxPath:
		return e.WithHint("its path is longer than SQLite can use (%d bytes); choose a shorter --state-dir", maxPath)
	case isCode(err, sqlite3.ErrReadonly, sqlite3.ErrCantOpen, sqlite3.ErrPerm), isFileError(err):
		return e.WithHint("make %q writable for this user, or choose another directory with --state-dir", filepath.Dir(path))
	}
	return withHint(e, path, err)
}

// maxPath is the longest path that SQLite opens on Unix, with room for "-lock".
const maxPath = 500

// useError explains why the state at path could not be written or read; what
// is "write" or "read". An error that is not the database's is passed on as it is:
// it is the caller's own.
func useError(what, path string, err error) error {
	var own sqlite3.Error
	if err == nil || (!errors.As(err, &own) && !errors.Is(err, errLockTimeout) && !errors.Is(err, ErrReplaced)) {
		return err
	}
	return withHint(fault.Wrap(fault.Failure, err, "cannot %s state %q", what, path), path, err)
}

// withHint gives e the hint that fits the database's error err.
func withHint(e *fault.Error, path string, err error) error {
	switch {
	case isCode(err, sqlite3.ErrNotADB, sqlite3.ErrCorrupt):
		return e.WithHint("the file is damaged: save what can be saved with `sqlite3 '%s' .recover | sqlite3 recovered.db`, or move it away and procops makes a new one", path)
	case isFull(err):
		return e.WithHint("the disk is full: nothing of this change was kept")
	case errors.Is(err, ErrReplaced):
		return e.WithHint("what it wrote there would be lost: start it again")
	case isBusy(err):
		return e.WithHint("another process keeps writing to it; `fuser -v '%s'` names those that have it open", path)
	}
	return e
}

func isFileError(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) ||
		errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOTDIR)
}

func isFull(err error) bool {
	return isCode(err, sqlite3.ErrFull) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

func isBusy(err error) bool {
	return isCode(err, sqlite3.ErrBusy, sqlite3.ErrLocked) || errors.Is(err, errLockTimeout)
}

// undoesTransaction reports whether SQLite may have rolled the transaction back
// by itself because of err (see https://sqlite.org/lang_transaction.html).
func undoesTransaction(err error) bool {
	return isCode(err, sqlite3.ErrFull, sqlite3.ErrIoErr, sqlite3.ErrNomem, sqlite3.ErrBusy, sqlite3.ErrInterrupt, sqlite3.ErrCorrupt)
}

func isCode(err error, codes ...sqlite3.ErrNo) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && slices.Contains(codes, e.Code)
}
