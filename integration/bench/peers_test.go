//go:build bench

package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

// peer is a supervisor under measurement.
type peer struct {
	name string
	// kills is how many children are killed in a round, one after the other.
	kills int
	// stop is the signal that ends the supervisor and all its children.
	stop syscall.Signal
	// command writes a config that keeps the programs up and returns what
	// starts the supervisor.
	command func(t *testing.T, s *harness.Sandbox, programs []string) []string
}

// peers returns the supervisors, each with the fastest configuration that its
// users would have.
func peers() []peer {
	return []peer{
		{name: "procops", kills: 100, stop: syscall.SIGTERM, command: procopsCommand},
		{name: "runsvdir", kills: 100, stop: syscall.SIGHUP, command: runsvdirCommand},
		// These restart once a second: a few kills are enough to see that.
		{name: "s6-svscan", kills: 9, stop: syscall.SIGTERM, command: s6Command},
		{name: "supervisord", kills: 9, stop: syscall.SIGTERM, command: supervisordCommand},
	}
}

func procopsCommand(t *testing.T, s *harness.Sandbox, programs []string) []string {
	t.Helper()
	var config strings.Builder
	for _, p := range programs {
		fmt.Fprintf(&config, "[supervise.process.%s]\ncommand = [%q, \"100000\"]\nrestart = \"always\"\nbackoff = { initial = \"0s\" }\n", filepath.Base(p), p)
	}
	s.Config(config.String())
	return []string{harness.Shipped(t), "supervise", "run"}
}

// runsvdirCommand makes all service directories beforehand: runsvdir looks for
// new ones only every five seconds.
func runsvdirCommand(t *testing.T, s *harness.Sandbox, programs []string) []string {
	t.Helper()
	for _, p := range programs {
		run := s.WriteFile(filepath.Join("service", filepath.Base(p), "run"), fmt.Sprintf("#!/bin/sh\nexec %s 100000\n", p))
		if err := os.Chmod(run, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"runsvdir", filepath.Join(s.Dir, "service")}
}

// s6Command makes all service directories beforehand, and room for them.
func s6Command(t *testing.T, s *harness.Sandbox, programs []string) []string {
	t.Helper()
	for _, p := range programs {
		run := s.WriteFile(filepath.Join("service", filepath.Base(p), "run"), fmt.Sprintf("#!/bin/sh\nexec %s 100000\n", p))
		if err := os.Chmod(run, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"s6-svscan", "-c", strconv.Itoa(len(programs)), filepath.Join(s.Dir, "service")}
}

// supervisordCommand switches off the log files, which procops writes.
func supervisordCommand(t *testing.T, s *harness.Sandbox, programs []string) []string {
	t.Helper()
	path := s.WriteFile("supervisord.conf", fmt.Sprintf(`[supervisord]
nodaemon = true
logfile = /dev/null
logfile_maxbytes = 0
pidfile = %s/supervisord.pid
minfds = 8192
[program:sleep]
command = %s/sleep-%%(process_num)03d 100000
process_name = sleep-%%(process_num)03d
numprocs = %d
startsecs = 0
autorestart = true
stdout_logfile = NONE
stderr_logfile = NONE
`, s.Dir, filepath.Dir(programs[0]), len(programs)))
	return []string{"supervisord", "-c", path}
}
