package integration

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

// TestWorkerStatus shows what servers have to do; procops' own tells more.
func TestWorkerStatus(t *testing.T) {
	t.Parallel()
	jobServers(t, func(t *testing.T, s *harness.Sandbox, port int) {
		at := harness.Loopback(port)
		s.Want(0, "worker", "submit", "f", "1", "--server", at)
		s.Want(0, "worker", "submit", "f", "2", "--server", at)
		gearmanWorker(s, port, "g", "echo >begun; while [ ! -e go ]; do sleep 0.01; done")
		s.Want(0, "worker", "submit", "g", "3", "--server", at)
		s.WaitFile("begun")
		var got []struct {
			Server    string `json:"server"`
			Functions []struct {
				Function  string   `json:"function"`
				Queued    int      `json:"queued"`
				Running   int      `json:"running"`
				Workers   int      `json:"workers"`
				Scheduled *int     `json:"scheduled"`
				Oldest    *float64 `json:"oldest_seconds"`
			} `json:"functions"`
		}
		r := s.Want(0, "worker", "status", at, "--json")
		if err := json.Unmarshal([]byte(r.Stdout), &got); err != nil || len(got) != 1 || got[0].Server != at || len(got[0].Functions) != 2 {
			t.Fatal(err, r)
		}
		f, g := got[0].Functions[0], got[0].Functions[1]
		if f.Function != "f" || f.Queued != 2 || f.Running != 0 || f.Workers != 0 || g.Function != "g" || g.Queued != 0 || g.Running != 1 || g.Workers != 1 {
			t.Error(r)
		}
		ours := strings.HasSuffix(t.Name(), "procops")
		if (f.Scheduled != nil) != ours || (f.Oldest != nil) != ours || ours && *f.Oldest <= 0 {
			t.Error(r)
		}
		nobody := harness.Loopback(harness.FreePort(t))
		if r := s.Want(5, "worker", "status", at, nobody); !strings.Contains(r.Stdout, " f  ") || !strings.Contains(r.Stdout, "no answer") || !strings.Contains(r.Stderr, "cannot ask job server "+nobody) {
			t.Error(r)
		}
		w := s.Start("worker", "status", at, "--watch")
		w.WaitLine(` f +2 +0 +0 `)
		s.Want(0, "worker", "submit", "f", "4", "--server", at)
		w.WaitLine(` f +3 +0 +0 `)
		w.Signal(syscall.SIGINT)
		w.WantExit(130)
		s.WriteFile("go", "")
	})
}

// TestWorkerMetrics asks the worker, the job server and procops serve for their figures.
func TestWorkerMetrics(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	ports := harness.FreePorts(t, 4)
	s.Config(fmt.Sprintf(`
[serve]
listen = "127.0.0.1:%[1]d"
[worker]
servers = ["127.0.0.1:%[2]d"]
metrics = "%[3]s"
[worker.function.good]
command = ["true"]
[worker.function.bad]
command = ["false"]
[worker.server]
listen = ["127.0.0.1:%[2]d"]
metrics = "127.0.0.1:%[4]d"
`, ports[0], ports[1], filepath.Join(s.Dir, "worker.sock"), ports[2]))
	server := s.Start("worker", "server")
	server.WaitLine("^listening on ")
	first := s.Start("worker", "run")
	first.WaitLine("worker.functions.after_register")
	second := s.Start("worker", "run")
	second.WaitLine("nobody sees the metrics of this worker")
	second.WaitLine("worker.functions.after_register") // and it works
	second.Signal(syscall.SIGTERM)
	second.WantExit(0)
	s.Want(0, "worker", "exec", "good")
	s.Want(0, "worker", "exec", "good")
	s.Want(1, "worker", "exec", "bad")
	s.Want(0, "worker", "submit", "later", "--in", "1h")
	s.Want(0, "worker", "submit", "nobody")
	wantLines(t, s.Run("curl", "-sf", "--unix-socket", "worker.sock", "http://worker/metrics"),
		`procops_worker_jobs_total{function="good",outcome="success"} 2`, `procops_worker_jobs_total{function="bad",outcome="error"} 1`,
		`procops_worker_job_seconds_count{function="good"} 2`, `procops_worker_jobs_running{function="good"} 0`,
		fmt.Sprintf(`procops_worker_server_connected{server="127.0.0.1:%d"} 1`, ports[1]))
	wantLines(t, s.Run("curl", "-sf", fmt.Sprintf("http://127.0.0.1:%d/metrics", ports[2])),
		`procops_gearman_jobs_queued{function="nobody"} 1`, `procops_gearman_jobs_scheduled{function="later"} 1`,
		`procops_gearman_jobs_ended_total{function="good",outcome="completed"} 2`, `procops_gearman_jobs_ended_total{function="bad",outcome="failed"} 1`,
		`procops_gearman_job_seconds_count{function="bad"} 1`, `procops_gearman_workers{function="good"} 1`)
	server.Signal(syscall.SIGTERM)
	server.WantExit(0)
	s.Start("serve").WaitLine("^listening on |http://")
	wantLines(t, s.Run("curl", "-sf", fmt.Sprintf("http://127.0.0.1:%d/metrics", ports[0])),
		`procops_gearman_jobs_recorded{function="nobody",place="waiting"} 1`, `procops_gearman_jobs_recorded{function="later",place="scheduled"} 1`)
}
