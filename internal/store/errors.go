package store

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/mattn/go-sqlite3"

	"procops/internal/fault"
)

// openError says what is wrong with the state at path and what helps.
func openError(path string, err error) error {
	e := fault.Wrap(fault.Failure, err, "cannot open state %q", path)
	var newer *newerSchemaError
	switch {
	case errors.As(err, &newer):
		return e.WithHint("upgrade this procops, or use another --state-dir")
	case isCode(err, sqlite3.ErrNotADB, sqlite3.ErrCorrupt):
		return e.WithHint("it is damaged: save what can be saved with `sqlite3 %s .recover | sqlite3 recovered.db`, or move it away and procops makes a new one", path)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrNotExist), isCode(err, sqlite3.ErrReadonly, sqlite3.ErrCantOpen, sqlite3.ErrPerm):
		return e.WithHint("make %q writable for this user, or choose another directory with --state-dir", filepath.Dir(path))
	}
	return e
}

// writeError explains why an update was not committed; nil stays nil.
func writeError(err error) error {
	if err == nil {
		return nil
	}
	e := fault.Wrap(fault.Failure, err, "cannot write state")
	switch {
	case isCode(err, sqlite3.ErrFull):
		return e.WithHint("the disk is full; nothing of this change was kept")
	case isCode(err, sqlite3.ErrBusy, sqlite3.ErrLocked):
		return e.WithHint("another procops held the state for more than %s", busyTimeout)
	}
	return e
}

func isCode(err error, codes ...sqlite3.ErrNo) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && slices.Contains(codes, e.Code)
}
