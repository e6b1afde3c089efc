package config

import (
	_ "embed"
	"errors"
	"io/fs"
	"os"

	"procops/internal/fault"
)

// starter has to be a variable to be embedded; see Starter.
//
//go:embed starter.toml
var starter string

// Starter returns a commented configuration to start from.
func Starter() string { return starter }

// WriteStarter writes the starter configuration to a new file (mode 0644). If
// there is a file the error is a fault.Conflict.
func WriteStarter(path string) error { return WriteNew(path, starter, 0o644) }

// WriteNew writes a configuration to a new file. If there is a file the error
// is a fault.Conflict.
func WriteNew(path, text string, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return fault.New(fault.Conflict, "cannot write %q: it exists already", path).
			WithHint("name another file, or \"-\" to print the configuration")
	}
	if err != nil {
		return fault.Wrap(fault.Failure, cause(err), "cannot write %q", path)
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return fault.Wrap(fault.Failure, cause(err), "cannot write %q", path)
	}
	return nil
}
