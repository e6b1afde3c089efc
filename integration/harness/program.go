package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"procops/internal/flock"
)

// ServerProgram returns the path of a test server of integration/servers, which is built
// if it has to be. Each is a module of its own, so that its dependencies are none of
// procops'. The program is kept in bin/servers, and the test processes of several packages
// build it one after the other, not each for itself.
func ServerProgram(tb testing.TB, name string) string {
	tb.Helper()
	path, err := buildServer(name)
	if err != nil {
		tb.Fatalf("cannot build the test server %q: %v", name, err)
	}
	return path
}

func buildServer(name string) (string, error) {
	source := filepath.Join(ModuleRoot(), "integration", "servers", name)
	dir := filepath.Join(ModuleRoot(), "bin", "servers")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock, err := flock.Open(filepath.Join(dir, name+".lock"))
	if err != nil {
		return "", err
	}
	defer func() { _ = lock.Close() }()
	if err := flock.Wait(lock); err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	//nolint:noctx // outlives the test that asks first
	cmd := exec.Command("go", "build", "-buildvcs=false", "-mod=readonly", "-ldflags=-s -w", "-o", path, ".")
	cmd.Dir = source
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s\nto download what it needs: (cd %s && go mod download)", err, out, source)
	}
	return path, nil
}
