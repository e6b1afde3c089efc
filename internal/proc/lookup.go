package proc

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// defaultPath is searched when the environment of the child has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// notFoundError is the error for a program that does not exist. It is both
// fs.ErrNotExist and exec.ErrNotFound.
type notFoundError struct{ text string }

func (e notFoundError) Error() string { return e.text }

// Is makes errors.Is find both errors of the standard library.
func (e notFoundError) Is(target error) bool {
	return target == fs.ErrNotExist || target == exec.ErrNotFound
}

// lookPath finds the program the way a shell does in the child's environment: a
// name with a slash is a path (relative to the child's directory), another is
// searched in the child's PATH. Relative directories in PATH are not searched:
// what they hold depends on where one stands.
func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	path := defaultPath
	for _, variable := range env {
		if value, ok := strings.CutPrefix(variable, "PATH="); ok {
			path = value
		}
	}
	var denied, relative bool
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			relative = true
			continue
		}
		candidate := filepath.Join(dir, name)
		info, err := os.Stat(candidate)
		switch {
		case err != nil || info.IsDir():
		case info.Mode().Perm()&0o111 == 0:
			denied = true
		default:
			return candidate, nil
		}
	}
	switch {
	case denied:
		return "", fmt.Errorf("%w: what its PATH has by that name is not executable", fs.ErrPermission)
	case relative:
		return "", notFoundError{"not found in its PATH (relative directories in PATH are not searched)"}
	default:
		return "", notFoundError{"not found in its PATH"}
	}
}

// execFailure says why execve failed. A script whose interpreter is missing
// looks like a missing file to the kernel.
func (l *launch) execFailure(cause syscall.Errno) error {
	file := l.path
	if !filepath.IsAbs(file) {
		file = filepath.Join(l.dir, file)
	}
	info, err := os.Stat(file)
	switch {
	case cause == syscall.ENOENT && err == nil:
		return notFoundError{"its interpreter does not exist"}
	case cause == syscall.ENOENT:
		return notFoundError{"no such file"}
	case cause == syscall.EACCES && err == nil && info.IsDir():
		return fmt.Errorf("%w: it is a directory", cause)
	case cause == syscall.EACCES && err == nil && info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("%w: it is not executable", cause)
	case cause == syscall.ENOEXEC:
		return fmt.Errorf("%w: not a program, nor a script that begins with \"#!\"", cause)
	default:
		return cause
	}
}

// withoutDoubles returns env with the last value of each variable only, which is
// also how os/exec reads it, and with the marker of the run if there is one.
func withoutDoubles(env []string, marker string) []string {
	if marker != "" {
		env = append(slices.Clip(env), markerName+"="+marker)
	}
	last := make(map[string]int, len(env))
	for i, variable := range env {
		name, _, _ := strings.Cut(variable, "=")
		last[name] = i
	}
	kept := make([]string, 0, len(last))
	for i, variable := range env {
		name, _, ok := strings.Cut(variable, "=")
		if ok && last[name] == i && name != "" {
			kept = append(kept, variable)
		}
	}
	return kept
}

// withRoomForPID returns env with a variable as its last that is long enough for a
// pid, which is not known before the child is there and writes it itself.
func withRoomForPID(env []string, name string) []string {
	env = slices.DeleteFunc(env, func(variable string) bool { return strings.HasPrefix(variable, name+"=") })
	return append(env, name+"="+strings.Repeat("0", pidRoom-1))
}
