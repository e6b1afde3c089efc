// Package pidfile says which process does something that only one at a time may do.
package pidfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"procops/internal/fault"
	"procops/internal/flock"
)

// File is a file that says which process it is. The kernel's lock on it,
// and nothing that stands in it, decides who is: so one that is left behind, empty or
// garbage is in nobody's way. It has the pid and nothing else, because people write
// kill $(cat FILE); it is empty where there is no process of its own.
type File struct {
	path string
	file *os.File
}

// maxPidfile is how many bytes of a pidfile are read.
const maxPidfile = 64

// Claim takes the pidfile for the process pid, or with 0 for what has none of its own.
// The error is a fault.Conflict if another process has it, or if the file is
// another user's.
func Claim(path string, pid int) (*File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // other programs may read who runs
		return nil, fmt.Errorf("cannot make the directory of the pidfile: %w", err)
	}
	for {
		f, err := openPidfile(path)
		if err != nil {
			return nil, err
		}
		p := &File{path: path, file: f}
		current, err := p.lock()
		switch {
		case err != nil:
			return nil, errors.Join(err, f.Close())
		case !current: // its former owner has removed it meanwhile
			_ = f.Close()
			continue
		}
		if err := p.write(pid); err != nil {
			return nil, errors.Join(fmt.Errorf("cannot write pidfile %q: %w", path, err), f.Close())
		}
		return p, nil
	}
}

// openPidfile opens the file, which is made if it does not exist. A symbolic link is
// refused: it could lead root to a file that must not be written.
func openPidfile(path string) (*os.File, error) {
	f, err := openOrMake(path)
	if errors.Is(err, fs.ErrPermission) && makeReadable(path) == nil {
		f, err = openOrMake(path)
	}
	if err == nil {
		err = checkOwner(path, f)
		if err != nil {
			_ = f.Close()
			return nil, err
		}
		return f, nil
	}
	if info, bad := os.Lstat(path); bad == nil && foreign(info) {
		return nil, belongsTo(path, info)
	}
	switch {
	case errors.Is(err, syscall.ELOOP):
		return nil, fault.New(fault.Failure, "cannot open pidfile %q: it is a symbolic link", path).WithHint("remove it")
	case errors.Is(err, syscall.EISDIR):
		return nil, irregular(path)
	default:
		return nil, fmt.Errorf("cannot open pidfile: %w", err)
	}
}

func openOrMake(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, pidfileMode)
}

// pidfileMode lets other programs read who runs.
const pidfileMode = 0o644

// makeReadable gives back the mode of a file that is this user's and that somebody has
// made unreadable. It fails for whatever else is at the path.
func makeReadable(path string) error {
	f, err := os.OpenFile(path, unix.O_PATH|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := checkOwner(path, f); err != nil {
		return err
	}
	return os.Chmod(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), pidfileMode)
}

func checkOwner(path string, f *os.File) error {
	info, err := f.Stat()
	switch {
	case err != nil:
		return fmt.Errorf("cannot open pidfile: %w", err)
	case !info.Mode().IsRegular():
		return irregular(path)
	case foreign(info):
		return belongsTo(path, info)
	default:
		return nil
	}
}

func irregular(path string) error {
	return fault.New(fault.Failure, "cannot open pidfile %q: it is no regular file", path).WithHint("remove it")
}

// foreign reports whether a file is another user's.
func foreign(info fs.FileInfo) bool { return owner(info) != os.Geteuid() }

func owner(info fs.FileInfo) int {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Uid)
	}
	return os.Geteuid()
}

func belongsTo(path string, info fs.FileInfo) error {
	who := strconv.Itoa(owner(info))
	if account, err := user.LookupId(who); err == nil {
		who = account.Username
	}
	return fault.New(fault.Conflict, "pidfile %q belongs to user %s", path, who).
		WithHint("if that user does not run it any more, remove the file")
}

// lock takes the lock. It returns false if the file is not at its path any more.
func (p *File) lock() (current bool, err error) {
	err = flock.Claim(p.file)
	if errors.Is(err, flock.ErrTaken) {
		running := "it already runs"
		if pid := readPID(p.file); pid != 0 {
			running += fmt.Sprintf(" (pid %d)", pid)
		}
		return false, fault.New(fault.Conflict, "%s: it has pidfile %q", running, p.path)
	}
	if err != nil {
		return false, err
	}
	return p.current(), nil
}

// current reports whether the path still leads to the file that is open.
func (p *File) current() bool {
	ours, err := p.file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(p.path)
	return err == nil && os.SameFile(ours, there)
}

// write says who has the file.
func (p *File) write(pid int) error {
	var text []byte
	if pid != 0 {
		text = fmt.Appendf(nil, "%d\n", pid)
	}
	if _, err := p.file.WriteAt(text, 0); err != nil {
		return err
	}
	return p.file.Truncate(int64(len(text)))
}

// Release removes the file, if it is still this one, and frees the lock.
func (p *File) Release() error {
	var err error
	if p.current() {
		err = os.Remove(p.path)
	}
	return errors.Join(err, p.file.Close())
}

// Holder returns whether somebody has the pidfile, and the pid; 0 if there is no process of
// its own.
func Holder(path string) (pid int, held bool) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return 0, false
	}
	defer func() { _ = f.Close() }()
	if taken, err := flock.Claimed(f); err != nil || !taken {
		return 0, false
	}
	return readPID(f), true
}

// readPID returns the pid in a pidfile; 0 if there is none.
func readPID(f *os.File) int {
	text, err := io.ReadAll(io.NewSectionReader(f, 0, maxPidfile))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(text)))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}
