package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"procops/internal/event"
	"procops/internal/fault"
)

// helperMode names the variable that makes the test binary a helper process.
const helperMode = "PROCOPS_STORE_TEST_HELPER"

func TestMain(m *testing.M) {
	if mode := os.Getenv(helperMode); mode != "" {
		os.Exit(helperMain(mode, os.Args[1], Durability(os.Args[2])))
	}
	os.Exit(m.Run())
}

// helperMain is what the helper processes do. What they print is read by the
// tests.
func helperMain(mode, dir string, durability Durability) int {
	s, err := Open(context.Background(), dir, Options{Durability: durability, LeaveLog: mode == "brief"})
	if err != nil {
		printFault(err)
		return 1
	}
	switch mode {
	case "open":
	case "brief":
		for range briefEvents {
			err = firstError(err, emit(s, "brief"))
		}
	case "ledger":
		err = writeLedger(s)
	case "saturate":
		err = saturate(s)
	case "fill":
		err = fill(s)
	case "hold":
		err = hold(s)
	default:
		err = fmt.Errorf("unknown mode %q", mode)
	}
	if err = firstError(err, s.Close()); err != nil {
		printFault(err)
		return 1
	}
	return 0
}

// briefEvents is how many events a helper in the mode "brief" records.
const briefEvents = 20

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func printFault(err error) {
	fmt.Println(err)
	for _, hint := range fault.Hints(err) {
		fmt.Println("hint:", hint)
	}
}

// writeLedger records events and prints each one's number when it is acknowledged.
func writeLedger(s *Store) error {
	for n := 0; ; n++ {
		subject := fmt.Sprintf("%d-%d", os.Getpid(), n)
		if err := s.Update(context.Background(), func(tx *Tx) error {
			tx.Emit(event.Event{Type: "test.ledger", Subject: subject})
			return nil
		}); err != nil {
			return err
		}
		if _, err := os.Stdout.WriteString(subject + "\n"); err != nil {
			return err
		}
	}
}

// saturation is what a process that writes without a pause has seen.
type saturation struct {
	Count   int
	Longest time.Duration
}

// saturate writes until standard input ends.
func saturate(s *Store) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	var seen saturation
	for ctx.Err() == nil {
		begin := time.Now()
		if err := emit(s, "saturate"); err != nil {
			return err
		}
		seen.Longest = max(seen.Longest, time.Since(begin))
		seen.Count++
	}
	return json.NewEncoder(os.Stdout).Encode(seen)
}

// fill writes until an error.
func fill(s *Store) error {
	for {
		if err := s.Update(context.Background(), func(tx *Tx) error {
			tx.Emit(event.Event{Type: "test.fill", Data: json.RawMessage(`"` + strings.Repeat("x", 10000) + `"`)})
			return nil
		}); err != nil {
			return err
		}
	}
}

// hold keeps a write transaction open until standard input ends.
func hold(s *Store) error {
	return s.Update(context.Background(), func(*Tx) error {
		fmt.Println("holding")
		_, err := io.Copy(io.Discard, os.Stdin)
		return err
	})
}

func emit(s *Store, subject string) error {
	return s.Update(context.Background(), func(tx *Tx) error {
		tx.Emit(event.Event{Type: "test.done", Subject: subject})
		return nil
	})
}

// helper is a command that runs the test binary as a helper process.
func helper(tb testing.TB, mode, dir string, d Durability) *exec.Cmd {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), "/proc/self/exe", dir, string(d))
	// Without the race detector's second of waiting at exit.
	cmd.Env = append(os.Environ(), helperMode+"="+mode, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	return cmd
}

// output runs a helper and returns what it printed and whether it ended well.
func output(tb testing.TB, cmd *exec.Cmd) (string, bool) {
	tb.Helper()
	var out bytes.Buffer
	cmd.Stdout = &out
	err := cmd.Run()
	var exited *exec.ExitError
	if err != nil && !errors.As(err, &exited) {
		tb.Fatal(err)
	}
	return out.String(), err == nil
}

// openTest opens a store in a new directory, until the end of the test.
func openTest(tb testing.TB, opt Options) *Store {
	tb.Helper()
	return openIn(tb, tb.TempDir(), opt)
}

func openIn(tb testing.TB, dir string, opt Options) *Store {
	tb.Helper()
	s, err := Open(tb.Context(), dir, opt)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// subjects returns the subjects of all recorded events, in order.
func subjects(tb testing.TB, s *Store) (all []string) {
	tb.Helper()
	err := s.View(tb.Context(), func(tx *Tx) error {
		return EachEvent(tx, EventFilter{}, func(e event.Event) error {
			all = append(all, e.Subject)
			return nil
		})
	})
	if err != nil {
		tb.Fatal(err)
	}
	return all
}

// nobody makes cmd run as an unprivileged user when the tests run as root.
func nobody(cmd *exec.Cmd) {
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
}
