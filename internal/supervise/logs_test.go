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

// TestMissedLinesAreTold has a follower miss lines in between and at the end.
func TestMissedLinesAreTold(t *testing.T) {
	l := &live{queue: make(chan LogLine, 3)}
	hear := func(texts ...string) {
		for _, text := range texts {
			l.hear(LogLine{Name: "p", Text: text})
		}
	}
	hear("1", "2", "3", "4", "5")
	<-l.queue
	<-l.queue
	hear("6", "7", "8")
	var got []string
	for _, line := range l.heard() {
		got = append(got, line.Name+":"+line.Text)
	}
	const missed = "p:procops dropped 2 lines here: they were not read as fast"
	if want := []string{"p:3", missed, "p:6", missed}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if rest := l.heard(); len(rest) != 0 {
		t.Errorf("%v is left", rest)
	}
}
