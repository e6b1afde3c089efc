package supervise

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestLogThatCannotBeRead has one of two logs be unreadable: the other one's lines
// come, and the trouble is told.
func TestLogThatCannotBeRead(t *testing.T) {
	good := with(sh("echo said; echo up; exec sleep 1000"), func(p *ProcessConfig) { p.Ready.Log = "up" })
	r := newRig(t, processes(map[string]ProcessConfig{"bad": good, "good": good}))
	r.await("supervise.process.running", "bad", 1)
	r.await("supervise.process.running", "good", 1)
	path := filepath.Join(r.dir, "logs", "bad.log")
	// Root may read everything, but nobody can read a directory.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	var got []string
	keep := func(l LogLine) { got = append(got, l.Name+":"+l.Text) }
	const trouble = `cannot read the log of "bad": `
	err := r.s.Logs(t.Context(), LogRequest{Lines: 10}, func(l LogLine) error { keep(l); return nil })
	if err == nil || !strings.HasPrefix(err.Error(), trouble) || !slices.Equal(got, []string{"good:said", "good:up"}) {
		t.Errorf("got %q, %v", got, err)
	}
	got = nil
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err = r.s.Logs(ctx, LogRequest{Lines: 10, Follow: true}, func(l LogLine) error {
		if keep(l); l.Name == "bad" {
			cancel()
		}
		return nil
	})
	if err != nil || len(got) != 3 || !strings.HasPrefix(got[2], "bad:procops: "+trouble) {
		t.Errorf("got %q, %v", got, err)
	}
}
