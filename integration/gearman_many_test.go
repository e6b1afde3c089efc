package integration

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"procops/integration/harness"
)

// TestExecMany runs a job for each line, several at once; one that fails keeps none of the
// others back.
func TestExecMany(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	port := gearmand(t, s)
	s.Setenv("PROCOPS_CONFIG", s.WriteFile("procops.toml", "[worker]\nservers = ['"+harness.Loopback(port)+"']\n"))
	for range 4 {
		gearmanWorker(s, port, "upper", `read word; [ "$word" != bad ] || exit 1; echo "$word" | tr a-z A-Z`)
	}
	r := s.Run("sh", "-c", `printf 'one\ntwo\nbad\n\nthree' | procops worker exec-many upper --parallel 3`)
	lines := strings.Split(strings.TrimSuffix(r.Stdout, "\n"), "\n")
	slices.Sort(lines)
	if want := []string{"", "ONE", "THREE", "TWO"}; r.Code != 1 || !slices.Equal(lines, want) {
		t.Errorf("%s", r)
	}
	if !strings.Contains(r.Stderr, "line 3: job ") || !strings.Contains(r.Stderr, "1 of 5 jobs have failed") {
		t.Errorf("stderr: %s", r.Stderr)
	}

	r = s.Run("sh", "-c", `printf 'one\nbad\n' | procops worker exec-many upper --json`)
	seen := map[int]string{}
	for text := range strings.Lines(r.Stdout) {
		var view struct {
			Line          int
			State, Result string
		}
		check(t, json.Unmarshal([]byte(text), &view))
		seen[view.Line] = view.State + " " + view.Result
	}
	if len(seen) != 2 || seen[1] != "completed ONE\n" || seen[2] != "failed " {
		t.Errorf("%v", seen)
	}
	if r := s.Run("sh", "-c", "echo x | procops worker exec-many nobody --timeout 100ms"); r.Code != 124 {
		t.Errorf("%s", r)
	}
	if r := s.Run("sh", "-c", "echo x | procops worker exec-many upper --server "+harness.Loopback(harness.FreePort(t))); r.Code != 5 {
		t.Errorf("%s", r)
	}
}

// TestWaitForAJob waits for a background job by asking for it.
func TestWaitForAJob(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	port := gearmand(t, s)
	s.Setenv("PROCOPS_CONFIG", s.WriteFile("procops.toml", "[worker]\nservers = ['"+harness.Loopback(port)+"']\n"))
	handle := strings.TrimSpace(s.Want(0, "worker", "submit", "later").Stdout)
	waiting := s.Start("worker", "job", handle, "--wait")
	if r := s.Procops("worker", "job", handle, "--wait", "--timeout", "300ms"); r.Code == 0 {
		t.Errorf("the job is not done, and was waited for: %s", r)
	}
	gearmanWorker(s, port, "later", "cat; echo done >done")
	s.WaitFile("done")
	waiting.WantExit(0)
	s.Want(3, "worker", "job", handle, "--wait")
}
