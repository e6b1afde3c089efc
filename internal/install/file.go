package install

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"procops/internal/fault"
)

// Write writes a file that this package has made, and its directory. A file of somebody
// else is a fault.Conflict, unless it is forced.
func Write(path string, content []byte, mode fs.FileMode, force bool) error {
	switch ours, err := isOurs(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case !ours && !force:
		return notOurs(path, "overwrites")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // everybody may read what services there are
		return fmt.Errorf("cannot install: %w", err)
	}
	fresh := path + ".new"
	err := os.WriteFile(fresh, content, mode)
	if err == nil {
		err = os.Chmod(fresh, mode) // whatever the umask is
	}
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		return fmt.Errorf("cannot install: %w", errors.Join(err, removed(fresh)))
	}
	return nil
}

// Remove removes a file that Write has written. One that is not there is a
// fault.NotFound, one of somebody else a fault.Conflict, unless it is forced.
func Remove(path string, force bool) error {
	ours, err := isOurs(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fault.New(fault.NotFound, "nothing is installed: there is no %q", path)
	case err != nil:
		return err
	case !ours && !force:
		return notOurs(path, "removes")
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("cannot uninstall: %w", err)
	}
	return nil
}

func removed(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func notOurs(path, what string) error {
	return fault.New(fault.Conflict, "%q was not written by procops install", path).WithHint("--force %s it", what)
}

func isOurs(path string) (bool, error) {
	text, err := os.ReadFile(path)
	return bytes.Contains(text, []byte(marker)), err
}
