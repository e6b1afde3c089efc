package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// FindProgram returns the path of the program that Start would run for name in
// the directory dir (empty: the current one) with the environment env, or says
// why there is none. Start may still fail, where the user that the program
// shall run as has fewer rights, or an interpreter is missing.
func FindProgram(name, dir string, env []string) (string, error) {
	path, err := lookPath(name, env)
	if err != nil || !strings.Contains(name, "/") {
		return path, err
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	info, err := os.Stat(path)
	var failed *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", notFoundError{"no such file"}
	case errors.As(err, &failed):
		return "", failed.Err
	case info.IsDir():
		return "", fmt.Errorf("%w: it is a directory", fs.ErrPermission)
	case info.Mode().Perm()&0o111 == 0:
		return "", fmt.Errorf("%w: it is not executable", fs.ErrPermission)
	}
	return path, nil
}
