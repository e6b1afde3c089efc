package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrReplaced says that the database is not where it was opened. What is written to it
// then is nowhere, though each commit succeeds.
var ErrReplaced = errors.New("it was moved, removed or replaced while this process had it open")

// place is where a database was found when it was opened.
type place struct {
	path string // absolute
	file fs.FileInfo
}

func placeOf(path string) (place, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return place{}, err
	}
	file, err := os.Stat(path)
	return place{path, file}, err
}

// check returns ErrReplaced if there is no file at the place any more, or another one.
// SQLite looks for that only in its other journal modes.
func (p place) check() error {
	now, err := os.Stat(p.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(p.file, now) {
		return ErrReplaced
	}
	return nil // one that cannot be looked at may well be there
}
