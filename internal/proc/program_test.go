package proc_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"procops/internal/proc"
)

func TestFindProgram(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"tool": 0o755, "data": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	path := []string{"PATH=/nonexistent:" + dir}
	for _, test := range []struct {
		name, dir string
		env       []string
		want      string
		err       error
	}{
		{name: "tool", env: path, want: filepath.Join(dir, "tool")},
		{name: "./tool", dir: dir, want: filepath.Join(dir, "tool")},
		{name: filepath.Join(dir, "tool"), dir: "/", want: filepath.Join(dir, "tool")},
		{name: "sh", env: []string{}, want: "/usr/bin/sh"},
		{name: "tool", env: []string{"PATH=/nonexistent"}, err: exec.ErrNotFound},
		{name: "data", env: path, err: fs.ErrPermission},
		{name: "./data", dir: dir, err: fs.ErrPermission},
		{name: "./missing", dir: dir, err: fs.ErrNotExist},
		{name: "./tool/x", dir: dir, err: syscall.ENOTDIR},
		{name: dir, err: fs.ErrPermission},
	} {
		got, err := proc.FindProgram(test.name, test.dir, test.env)
		if got != test.want || !errors.Is(err, test.err) {
			t.Errorf("FindProgram(%q, %q, %q) = %q, %v, want %q, %v", test.name, test.dir, test.env, got, err, test.want, test.err)
		}
	}
}
