package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// envBuildDir is where Main tells Binary and Shipped to put what they build.
const envBuildDir = "PROCOPS_TEST_BUILD_DIR"

// Main runs the tests of a package. A package that uses Binary or Shipped calls
// it in TestMain; what they have built is removed at the end.
func Main(m *testing.M) {
	dir, err := os.MkdirTemp("", "procops-build-")
	if err != nil {
		panic(fmt.Errorf("cannot make a directory to build in: %w", err))
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Setenv(envBuildDir, dir); err != nil {
		panic(err)
	}
	m.Run()
}

//nolint:gochecknoglobals // each is built once in the life of a test process
var (
	shipped = sync.OnceValues(func() (string, error) { return build("shipped", makeBuild) })
	raced   = sync.OnceValues(func() (string, error) { return build("race", raceBuild) })
)

// Binary returns the path of the procops under test. Under the race detector
// it is built with the race detector too; it then ends with code 66 and a
// report on standard error when it finds a race.
func Binary(tb testing.TB) string {
	tb.Helper()
	if raceDetector {
		return built(tb, raced)
	}
	return Shipped(tb)
}

// Shipped returns the path of a procops as users have it: what `make build`
// builds. Tests that kill it thousands of times or measure it use this one.
func Shipped(tb testing.TB) string {
	tb.Helper()
	return built(tb, shipped)
}

func built(tb testing.TB, get func() (string, error)) string {
	tb.Helper()
	path, err := get()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

// build builds procops in a directory of that name, which then stands on PATH.
func build(name string, command func(path string) *exec.Cmd) (string, error) {
	dir := os.Getenv(envBuildDir)
	if dir == "" {
		return "", fmt.Errorf("cannot build %s procops: call harness.Main in TestMain", name)
	}
	path := filepath.Join(dir, name, "procops")
	cmd := command(path)
	cmd.Dir = ModuleRoot()
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build %s procops: %w\n%s", name, err, out)
	}
	return path, nil
}

// makeBuild goes through the Makefile, so that the tests and the users have
// the same binary. The flags of a make around it are not for this one.
func makeBuild(path string) *exec.Cmd {
	cmd := exec.Command("make", "build", "BINARY="+path) //nolint:noctx // outlives the test that asks first
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "MAKE") && !strings.HasPrefix(v, "MFLAGS=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	return cmd
}

func raceBuild(path string) *exec.Cmd {
	return exec.Command("go", "build", "-buildvcs=false", "-race", //nolint:noctx // outlives the test that asks first
		"-tags", "sqlite_omit_load_extension,urfave_cli_no_docs,netgo,osusergo", "-o", path, ".")
}

// ModuleRoot returns the directory of go.mod.
func ModuleRoot() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}
