package runner

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"procops/internal/proc"
)

// childVariable names the co-process that the test binary is to be instead of running
// tests.
const childVariable = "RUNNER_TEST_CHILD"

func TestMain(m *testing.M) {
	name := os.Getenv(childVariable)
	if name == "" {
		goleak.VerifyTestMain(m)
		return
	}
	err := beChild(name)
	if code, ok := errors.AsType[exitError](err); ok {
		os.Exit(int(code))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// childSpec starts the test binary as a co-process.
func childSpec(tb testing.TB, name string) func() (proc.Spec, error) {
	tb.Helper()
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	env := append(os.Environ(), childVariable+"="+name, "GORACE=atexit_sleep_ms=0")
	return func() (proc.Spec, error) { return proc.Spec{Argv: []string{self}, Env: env}, nil }
}

// shSpec starts a shell script as a co-process.
func shSpec(script string) func() (proc.Spec, error) {
	return func() (proc.Spec, error) { return proc.Spec{Argv: sh(script)}, nil }
}

// line is what the co-processes of the tests read and write.
type line struct {
	Type     string            `json:"type"`
	Protocol int               `json:"protocol,omitempty"`
	Encoding string            `json:"encoding,omitempty"`
	ID       string            `json:"id,omitempty"`
	Input    string            `json:"input,omitempty"`
	Input64  []byte            `json:"input_base64,omitempty"`
	Meta     map[string]string `json:"meta,omitempty"`
	Outcome  string            `json:"outcome,omitempty"`
	Output   string            `json:"output,omitempty"`
	Output64 []byte            `json:"output_base64,omitempty"`
	Message  string            `json:"message,omitempty"`
	Done     int               `json:"done,omitempty"`
	Total    int               `json:"total,omitempty"`
}

// beChild is a co-process. What it does with a unit is in its name, or in "do" of the
// unit's meta.
func beChild(name string) error {
	in := bufio.NewReaderSize(os.Stdin, 64<<10)
	if name == "echo" {
		return echo(in)
	}
	hello := line{Type: "hello", Protocol: 1}
	if name == "base64" {
		hello.Encoding = "base64"
	}
	if err := say(hello); err != nil {
		return err
	}
	for {
		text, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			return err
		}
		if err := serve(l, strings.Contains(string(text), `"input_base64":`)); err != nil {
			return err
		}
	}
}

// echo answers each line with its input, with as little work as can be.
func echo(in *bufio.Reader) error {
	if _, err := os.Stdout.WriteString(`{"type":"hello","protocol":1}` + "\n"); err != nil {
		return err
	}
	var out []byte
	for {
		text, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		_, rest, _ := strings.Cut(text, `"id":`)
		id, input, _ := strings.Cut(rest, `,"input`)
		out = append(append(append(append(out[:0], `{"type":"result","id":`...), id...), `,"output`...), input...)
		if _, err := os.Stdout.Write(out); err != nil {
			return err
		}
	}
}

func say(l line) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(append(text, '\n'))
	return err
}

func write(text string) error {
	_, err := os.Stdout.WriteString(text)
	return err
}

// serve does one unit.
func serve(l line, binary bool) error {
	answer := line{Type: "result", ID: l.ID, Output: l.Input, Output64: l.Input64}
	what, argument, _ := strings.Cut(l.Meta["do"], " ")
	switch what {
	case "echo", "":
		return say(answer)
	case "base64":
		return say(line{Type: "result", ID: l.ID, Output64: append(l.Input64, l.Input...), Message: strconv.FormatBool(binary), Outcome: "warning"})
	case "pid":
		answer.Output = strconv.Itoa(os.Getpid())
		return say(answer)
	case "meta":
		answer.Output = fmt.Sprint(l.Meta)
		return say(answer)
	case "outcome":
		answer.Outcome, answer.Message = argument, l.Meta["message"]
		return say(answer)
	case "write":
		return write(strings.ReplaceAll(argument, "ID", l.ID))
	case "write-then-hang":
		if err := write(strings.ReplaceAll(argument, "ID", l.ID)); err != nil {
			return err
		}
		return hang()
	case "write-then-exit":
		if err := write(strings.ReplaceAll(argument, "ID", l.ID)); err != nil {
			return err
		}
		return exitError(3)
	case "answer-then-exit":
		if err := say(answer); err != nil {
			return err
		}
		return exitError(0)
	case "exit":
		code, err := strconv.Atoi(argument)
		if err != nil {
			return err
		}
		return exitError(code)
	case "kill":
		return syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "hang":
		return hang()
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		return hang()
	case "close":
		if err := os.Stdout.Close(); err != nil {
			return err
		}
		return hang()
	case "progress":
		for i := range 3 {
			if err := say(line{Type: "progress", ID: l.ID, Done: i + 1, Total: 3, Message: "step"}); err != nil {
				return err
			}
		}
		return say(answer)
	case "data":
		for _, piece := range []string{"one ", "two "} {
			if err := say(line{Type: "data", ID: l.ID, Output: piece}); err != nil {
				return err
			}
		}
		answer.Output = "three"
		return say(answer)
	case "stderr":
		fmt.Fprintln(os.Stderr, argument)
		return say(answer)
	case "grow":
		bytes, err := strconv.Atoi(argument)
		if err != nil {
			return err
		}
		keep := make([]byte, bytes)
		for i := 0; i < len(keep); i += os.Getpagesize() {
			keep[i] = 1
		}
		defer func() { keep[0] = 0 }()
		return say(answer)
	case "fork":
		// What it leaves running belongs to its group, and holds its pipes.
		process, err := os.StartProcess("/bin/sleep", []string{"sleep", "1000"}, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
		if err != nil {
			return err
		}
		answer.Output = strconv.Itoa(process.Pid)
		return say(answer)
	case "large":
		size, err := strconv.Atoi(argument)
		if err != nil {
			return err
		}
		return write(`{"type":"result","id":"` + l.ID + `","output":"` + strings.Repeat("x", size) + `"}` + "\n")
	case "large64":
		size, err := strconv.Atoi(argument)
		if err != nil {
			return err
		}
		return write(`{"type":"result","id":"` + l.ID + `","output_base64":"` + base64.StdEncoding.EncodeToString(make([]byte, size)) + `"}` + "\n")
	default:
		return fmt.Errorf("there is nothing called %q", what)
	}
}

// exitError ends a co-process.
type exitError int

func (c exitError) Error() string { return "exit " + strconv.Itoa(int(c)) }

// hang does nothing until it is killed.
func hang() error {
	<-time.After(time.Hour)
	return nil
}
