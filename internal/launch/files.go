package launch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"procops/internal/dotenv"
)

// Files are paths of files; one with "-" before it may be missing. In a config it is
// a list, or one path.
type Files []string

// optional marks a file that may be missing, as in systemd.
const optional = "-"

// UnmarshalTOML reads a string or a list of strings.
func (f *Files) UnmarshalTOML(v any) error {
	list, isList := v.([]any)
	if !isList {
		list = []any{v}
	}
	parsed := make(Files, len(list))
	for i, item := range list {
		text, ok := item.(string)
		if !ok {
			return errors.New("want a path or a list of paths")
		}
		if strings.TrimPrefix(text, optional) == "" || strings.ContainsRune(text, 0) {
			return fmt.Errorf("%q is no path", text)
		}
		parsed[i] = text
	}
	*f = parsed
	return nil
}

// Anchor makes relative paths relative to dir.
func (f Files) Anchor(dir string) {
	for i, text := range f {
		path, may := strings.CutPrefix(text, optional)
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		if may {
			path = optional + path
		}
		f[i] = path
	}
}

// Env returns the variables that the files set, as "NAME=value", in order; of
// doubles the last counts. The error names the file and the line.
func (f Files) Env() ([]string, error) {
	var env []string
	for _, text := range f {
		path, may := strings.CutPrefix(text, optional)
		more, err := dotenv.Read(path)
		if may && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot take its environment from a file: %w", err)
		}
		env = append(env, more...)
	}
	return env, nil
}

// OpenStdin opens the file that a process reads; nil for an empty path. A named pipe is opened for writing
// as well: so nobody waits for a writer, and the process does not see an end when
// one goes.
func OpenStdin(path string) (*os.File, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // without a file there is none, and nothing is wrong
	}
	mode := syscall.O_RDONLY
	info, err := os.Stat(path)
	if err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
		mode = syscall.O_RDWR
	}
	if err == nil && info.IsDir() {
		err = &fs.PathError{Op: "open", Path: path, Err: syscall.EISDIR}
	}
	var fd int
	if err == nil {
		// The descriptor must not be one that Go waits with: the program shall find it
		// as any other would leave it.
		fd, err = syscall.Open(path, mode|syscall.O_CLOEXEC|syscall.O_NOCTTY, 0)
	}
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		err = failed.Err
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open its standard input %q: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// CheckStdin says why the file cannot be the standard input of a process.
func CheckStdin(path string) error {
	f, err := OpenStdin(path)
	if f != nil {
		_ = f.Close() // nothing was written
	}
	return err
}
