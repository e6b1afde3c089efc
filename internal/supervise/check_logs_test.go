package supervise_test

import (
	"slices"
	"testing"

	"procops/internal/launch"
	"procops/internal/proc"
	"procops/internal/supervise"
)

func TestLogFilesHaveOneProcessEach(t *testing.T) {
	files := map[string]string{
		"a": "", "b": "x.log", "c": "./x.log", "d": "a.log",
		"e": "none", "f": "none", "g": "/dev/null", "h": "/dev/null",
	}
	cfg := supervise.Config{Process: processes()}
	for name, file := range files {
		cfg.Process[name] = supervise.ProcessConfig{
			Command: proc.Command{"true"}, Output: supervise.OutputConfig{File: file},
			Backoff: launch.Backoff{Initial: 1, Max: 1},
		}
	}
	want := []string{
		`process/c/output/file: "./x.log" is the log file of process "b" already`,
		`process/d/output/file: "a.log" is the log file of process "a" already`,
	}
	if got := problems(cfg); !slices.Equal(got, want) {
		t.Errorf("got\n%q, want\n%q", got, want)
	}
}
