package control

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxAddress is the longest path that fits into the address of a unix socket
// (unix(7): sun_path has 108 bytes, one of which ends it).
const maxAddress = 107

// address is a way to name a unix socket to the kernel.
type address struct {
	name string
	dir  int // descriptor of the directory that name goes through; -1 if none
}

// newAddress returns an address for a path of any length: what is too long goes
// through a descriptor of its directory. The caller closes it.
func newAddress(path string) (address, error) {
	if len(path) <= maxAddress {
		return address{name: path, dir: -1}, nil
	}
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return address{}, &os.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	name := fmt.Sprintf("/proc/self/fd/%d/%s", dir, filepath.Base(path))
	if len(name) > maxAddress {
		return address{}, errors.Join(&os.PathError{Op: "connect", Path: path, Err: unix.ENAMETOOLONG}, unix.Close(dir))
	}
	return address{name: name, dir: dir}, nil
}

func (a address) close() {
	if a.dir >= 0 {
		_ = unix.Close(a.dir) // nothing is written through it that could be lost
	}
}
