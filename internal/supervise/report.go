package supervise

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// Failure is the failed end, or the failed start, of a process.
type Failure struct {
	Process string    `json:"process"`
	Group   string    `json:"group,omitempty"` // whose chain deals with it; empty: that of the process
	Command string    `json:"command"`
	PID     int       `json:"pid,omitempty"`
	Code    int       `json:"code"` // as a shell has it: 128 + n for signal n, 126 and 127 for a failed start
	Text    string    `json:"text"` // the code and what it commonly means, or why it could not start
	Stdout  string    `json:"stdout,omitempty"`
	Stderr  string    `json:"stderr,omitempty"`
	Time    time.Time `json:"time"`

	good   bool // no failure: a chain on_pass deals with a good end
	passed bool // the same, once the chain has raised it
}

func (f Failure) json() []byte {
	// A struct of strings, numbers and a time cannot fail to encode.
	raw, _ := json.Marshal(f)
	return raw
}

// Report says how supervision of a tree ended.
type Report struct {
	Failures []Failure // of what was given up or ended supervision, in order of time
	// Decided is the exit code of the process that exit_with names. It is nil without
	// one, if it has never run, and if the failure of another has ended supervision.
	Decided *int
}

// ExitCode returns the code of the process that decides, if there is one;
// otherwise 0 when nothing failed, else the code of the first failure, or of the
// first good end that a chain raised.
func (r Report) ExitCode() int {
	if r.Decided != nil {
		return *r.Decided
	}
	if len(r.Failures) == 0 {
		return 0
	}
	first := r.Failures[0]
	if first.passed {
		return first.Code
	}
	return max(1, first.Code)
}

// WriteTo writes the failures for people: command line, exit code and text,
// standard error, standard output.
func (r Report) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	for _, f := range r.Failures {
		if f.passed {
			continue
		}
		fmt.Fprintf(&b, "\nThe process %q failed.\n\n  command:   %s\n  exit code: %s\n", f.Process, f.Command, f.exitLine())
		writeOutput(&b, "stderr", f.Stderr)
		writeOutput(&b, "stdout", f.Stdout)
	}
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}

// exitLine begins with the code, which Text has too when it came from an exit.
func (f Failure) exitLine() string {
	code := fmt.Sprint(f.Code)
	if strings.HasPrefix(f.Text, code+" ") {
		return f.Text
	}
	return code + " " + f.Text
}

func writeOutput(b *strings.Builder, name, text string) {
	if text == "" {
		return
	}
	fmt.Fprintf(b, "\n  %s:\n", name)
	for line := range strings.Lines(text) {
		b.WriteString("    " + strings.TrimRight(line, "\n") + "\n")
	}
}

func (s *Supervisor) report() Report { return Report{Failures: s.failures, Decided: s.decidedCode()} }
