//go:build bench

package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"procops/integration/harness"
)

const (
	// chatter is what the chatty child writes, in bytes.
	chatter = 400 << 20
	// chatterLine is a line of it without its newline.
	chatterLine = 99
	// chatterRounds is how often each logger is measured.
	chatterRounds = 5
	// logFile is the size at which all rotate, in bytes.
	logFile = 16 << 20
)

// logger keeps what a child writes, with time stamps, in files that rotate.
type logger struct {
	name string
	// command returns what runs the child under the logger and ends with it, with the
	// directory of the log files below the sandbox's.
	command func(t *testing.T, s *harness.Sandbox) []string
}

func loggers() []logger {
	pipeline := func(program string) string { return child() + " | exec " + program }
	return []logger{
		{"procops", func(t *testing.T, s *harness.Sandbox) []string {
			t.Helper()
			s.Config(fmt.Sprintf("[supervise]\nlog_dir = 'log'\n[supervise.process.chatty]\ncommand = '''%s'''\noutput = { max_size = '%d', max_files = 1000 }\n", child(), logFile))
			return []string{harness.Shipped(t), "supervise", "run", "--quiet"}
		}},
		{"svlogd", func(_ *testing.T, s *harness.Sandbox) []string {
			s.WriteFile("log/config", fmt.Sprintf("s%d\nn1000\n", logFile))
			return []string{"sh", "-c", pipeline("svlogd -tt log")}
		}},
		{"s6-log", func(_ *testing.T, _ *harness.Sandbox) []string {
			return []string{"sh", "-c", pipeline(fmt.Sprintf("s6-log n1000 s%d T ./log", logFile))}
		}},
	}
}

// child is a shell command that writes lines as fast as they are taken.
func child() string {
	return fmt.Sprintf("yes %s | head -c %d", strings.Repeat("x", chatterLine), chatter)
}

// TestLogThroughput has one child that writes as fast as it can.
func TestLogThroughput(t *testing.T) {
	rates := map[string][]float64{}
	kept := map[string][]float64{}
	for i := range chatterRounds {
		for _, l := range loggers() {
			t.Run(fmt.Sprintf("%s round %d", l.name, i+1), func(t *testing.T) {
				bytes, took := l.keep(t)
				rate := megabytes(bytes) / took.Seconds()
				t.Logf("%.0f MB/s, %.1f %% kept", rate, 100*float64(bytes)/chatter)
				rates[l.name] = append(rates[l.name], rate)
				kept[l.name] = append(kept[l.name], 100*float64(bytes)/chatter)
			})
		}
	}
	if t.Failed() || len(rates) < len(loggers()) { // -run has chosen some
		return
	}
	heading(fmt.Sprintf("%d MB of %d-byte lines from one child, with time stamps and rotation, medians of %d rounds", chatter>>20, chatterLine+1, chatterRounds))
	fmt.Printf("%-12s %14s %8s\n", "", "into the log", "kept")
	for _, l := range loggers() {
		fmt.Printf("%-12s %9.0f MB/s %6.1f %%\n", l.name, median(rates[l.name]), median(kept[l.name]))
	}
	atLeast(t, "bytes/s into the log, procops / svlogd", median(rates["procops"])/median(rates["svlogd"]), 1, "times")
	atLeast(t, "bytes/s into the log, procops / s6-log", median(rates["procops"])/median(rates["s6-log"]), 1, "times")
	atLeast(t, "kept by procops", median(kept["procops"]), 100, "%")
}

// keep runs the child under the logger, and returns how many of its bytes are in the
// log and how long it took until they were.
func (l logger) keep(t *testing.T) (bytes int64, took time.Duration) {
	t.Helper()
	s := harness.NewShipped(t)
	if err := os.MkdirAll(filepath.Join(s.Dir, "log"), 0o755); err != nil {
		t.Fatal(err)
	}
	command := l.command(t, s)
	started := time.Now()
	p := s.StartProgram(command[0], command[1:]...)
	p.WantExit(0)
	took = time.Since(started)
	files, err := filepath.Glob(filepath.Join(s.Dir, "log", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		bytes += int64(strings.Count(string(content), strings.Repeat("x", chatterLine)+"\n")) * (chatterLine + 1)
	}
	return bytes, took
}
