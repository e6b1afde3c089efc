package supervise

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"procops/internal/event"
	"procops/internal/fault"
)

// TestCopyOfStateLeavesOthersAlone: a supervisor on a copy of a state directory, whose
// records name processes of the supervisor on the original, neither ends nor takes
// them back.
func TestCopyOfStateLeavesOthersAlone(t *testing.T) {
	// It has been executed when it is ready: before that nobody can tell whose it is.
	up := sh("echo up; exec sleep 1000")
	up.Ready.Log = "^up$"
	r := newRig(t, processes(map[string]ProcessConfig{"a": with(up, keep)}))
	r.ready()
	pid := r.process("a").PID
	if err := r.s.journal.flush(t.Context()); err != nil { // now it is recorded whose it is
		t.Fatal(err)
	}
	copied := t.TempDir()
	s, err := New(t.Context(), processes(map[string]ProcessConfig{"a": with(forever(), keep)}), Deps{
		Host: host, Store: r.store, Bus: event.NewBus("test"), Log: zerolog.New(zerolog.NewTestWriter(t)),
		StateDir: copied, RunToken: testToken() + "-copy", LogDir: filepath.Join(copied, "logs"),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var f *fault.Error
	if _, err := s.Run(ctx); !errors.As(err, &f) || f.Kind != fault.Conflict || !strings.Contains(f.Message, `"a" is process`) {
		t.Errorf("it ended with %v", err)
	}
	if now := r.process("a"); now.PID != pid || now.State != StateRunning {
		t.Errorf("a is %s as %d; want it to run on as %d", now.State, now.PID, pid)
	}
}
