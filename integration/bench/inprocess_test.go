//go:build bench

package bench

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"procops/integration/harness"
)

// TestEvents runs the benchmarks of the bus and the store and holds them
// against their targets.
func TestEvents(t *testing.T) {
	heading("bus and store, in the process")
	figures := benchmarks(t, "./internal/event", "./internal/store")
	atMost(t, "publish without listeners", figures.of(t, "BenchmarkPublishWithoutListeners", "ns/op"), 50, "ns")
	atMost(t, "publish without listeners", figures.of(t, "BenchmarkPublishWithoutListeners", "allocs/op"), 0, "allocations")
	atLeast(t, "recorded events through Update", figures.of(t, "BenchmarkUpdate", "events/s"), 100_000, "a second")
	atLeast(t, "recorded events through Enqueue", figures.of(t, "BenchmarkEnqueue", "events/s"), 100_000, "a second")
}

// TestCoprocess runs the benchmarks of co-processes and holds them against their
// targets: a turn with a payload of 1 kB, and many at once.
func TestCoprocess(t *testing.T) {
	heading("co-processes, in the process")
	figures := benchmarks(t, "./internal/runner")
	atMost(t, "a turn with 1 kB, echoed", figures.of(t, "BenchmarkCoprocess/echo", "µs-median"), 60, "µs")
	atMost(t, "a turn with 1 kB, echoed by PHP", figures.of(t, "BenchmarkCoprocess/php", "µs-median"), 60, "µs")
	atMost(t, "many at once", figures.of(t, "BenchmarkCoprocess/parallel", "ns/op"), 100_000, "ns")
}

// figures maps a benchmark and a unit to the median of its rounds.
type figures map[string]map[string][]float64

func (f figures) of(t *testing.T, benchmark, unit string) float64 {
	t.Helper()
	values := f[benchmark][unit]
	if len(values) == 0 {
		t.Fatalf("there is no figure %q of %q", unit, benchmark)
	}
	return median(values)
}

// benchmarks runs the benchmarks of the packages and reads their lines:
// "BenchmarkUpdate-2  12345  678 ns/op  0 allocs/op".
func benchmarks(t *testing.T, packages ...string) figures {
	t.Helper()
	args := append([]string{
		"test", "-buildvcs=false", "-tags", "sqlite_omit_load_extension,urfave_cli_no_docs,netgo,osusergo",
		"-run", "^$", "-bench", ".", "-benchmem", "-count", "3",
	}, packages...)
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = harness.ModuleRoot()
	out, err := cmd.CombinedOutput()
	fmt.Print(string(out))
	if err != nil {
		t.Fatalf("cannot run the benchmarks: %v", err)
	}
	f := figures{}
	for l := range strings.Lines(string(out)) {
		fields := strings.Fields(l)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name, _, _ := strings.Cut(fields[0], "-")
		for i := 2; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				t.Fatalf("cannot read %q: %v", l, err)
			}
			if f[name] == nil {
				f[name] = map[string][]float64{}
			}
			f[name][fields[i+1]] = append(f[name][fields[i+1]], value)
		}
	}
	return f
}
