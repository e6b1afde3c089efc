package integration

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

// jobServers starts gearmand and procops' server in turn, each with a sandbox of its own.
func jobServers(t *testing.T, test func(t *testing.T, s *harness.Sandbox, port int)) {
	t.Helper()
	for name, start := range map[string]func(*testing.T, *harness.Sandbox) int{
		"gearmand": func(t *testing.T, s *harness.Sandbox) int { t.Helper(); return gearmand(t, s) },
		"procops":  func(t *testing.T, s *harness.Sandbox) int { t.Helper(); return gearmanServer(t, s) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := harness.New(t)
			test(t, s, start(t, s))
		})
	}
}

// TestWorkerBench measures in each mode, and leaves nothing behind, though it is told to end
// in the middle.
func TestWorkerBench(t *testing.T) {
	t.Parallel()
	jobServers(t, func(t *testing.T, s *harness.Sandbox, port int) {
		at := harness.Loopback(port)
		var got []struct {
			Mode string  `json:"mode"`
			Jobs int     `json:"jobs"`
			Rate float64 `json:"jobs_per_second"`
			Min  float64 `json:"min_seconds"`
			Max  float64 `json:"max_seconds"`
		}
		r := s.Want(0, "worker", "bench", "--server", at, "--jobs", "201", "--size", "100K", "--in-flight", "7", "--workers", "3", "--json")
		if err := json.Unmarshal([]byte(r.Stdout), &got); err != nil || len(got) != 3 {
			t.Fatal(err, r)
		}
		for i, mode := range []string{"submit", "drain", "foreground"} {
			if g := got[i]; g.Mode != mode || g.Jobs != 201 || g.Rate <= 0 || g.Min <= 0 || g.Max < g.Min {
				t.Errorf("%+v", g)
			}
		}
		nothingLeft := func() {
			t.Helper()
			if r := s.Want(0, "worker", "admin", "status", "--server", at); strings.Contains(r.Stdout, "procops-bench") {
				t.Error(r)
			}
		}
		nothingLeft()
		for _, mode := range []string{"submit", "drain", "foreground"} {
			p := s.Start("worker", "bench", mode, "--server", at, "--jobs", "100000000", "--in-flight", "2")
			harness.Eventually(t, "its jobs", func() bool {
				return strings.Contains(s.Want(0, "worker", "admin", "status", "--server", at).Stdout, "procops-bench")
			})
			p.Signal(syscall.SIGINT)
			p.WantExit(130)
			nothingLeft()
		}
		s.Want(2, "worker", "bench", "nonsense", "--server", at)
		s.Want(2, "worker", "bench", "--jobs", "0", "--server", at)
		s.Want(2, "worker", "bench", "--size", "much", "--server", at)
	})
}
