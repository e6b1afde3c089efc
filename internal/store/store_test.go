package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"procops/internal/event"
	"procops/internal/fault"
)

func TestOpenRefusesWhatItCannotUse(t *testing.T) {
	for _, test := range []struct {
		name        string
		spoil       func(t *testing.T, path string)
		error, hint string
	}{
		{"not a database", func(t *testing.T, path string) {
			mustWrite(t, path, bytes.Repeat([]byte("this is a letter\n"), 300), 0o600)
		}, "file is not a database", ".recover"},
		{"damaged schema", func(t *testing.T, path string) {
			damage(t, path, 100, 4096)
		}, "malformed", ".recover"},
		{"newer schema", func(t *testing.T, path string) {
			setVersion(t, path, 4711)
		}, "it was written by a newer procops (schema 4711;", "upgrade this procops"},
		{"another program's", func(t *testing.T, path string) {
			setVersion(t, path, 0)
		}, "it is the database of another program", "move it away"},
		{"a directory", func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			mustMkdir(t, path, 0o755)
		}, "unable to open database file", "make \""},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			makeState(t, dir)
			path := filepath.Join(dir, File)
			test.spoil(t, path)
			before, _ := os.ReadFile(path)
			s, err := Open(t.Context(), dir, Options{})
			if err == nil {
				// Damage shows only where it is read.
				err = emit(s, "x")
				_ = s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), test.error) || !strings.Contains(err.Error(), fmt.Sprintf("state %q: ", path)) {
				t.Fatalf("error %v, want one with %q", err, test.error)
			}
			if hints := strings.Join(fault.Hints(err), "\n"); !strings.Contains(hints, test.hint) {
				t.Errorf("hints %q, want one with %q", hints, test.hint)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
		})
	}
}

// makeState leaves a database without companions in dir.
func makeState(t *testing.T, dir string) {
	t.Helper()
	s, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(emit(s, "x"), s.Close()); err != nil {
		t.Fatal(err)
	}
}

func damage(t *testing.T, path string, from, to int) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := from; i < to; i++ {
		raw[i] = 0xa5
	}
	mustWrite(t, path, raw, 0o600)
}

func setVersion(t *testing.T, path string, version int) {
	t.Helper()
	db, err := sql.Open("sqlite3", path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), fmt.Sprintf("PRAGMA user_version = %d", version))
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedPageIsNamed(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2000 {
		if err := s.Enqueue(func(tx *Tx) error { tx.Emit(event.Event{Type: "test.done"}); return nil }, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, File))
	if err != nil {
		t.Fatal(err)
	}
	// The last pages hold events alone; the schema is in the first ones.
	damage(t, filepath.Join(dir, File), int(info.Size())*3/4, int(info.Size()))
	s = openIn(t, dir, Options{})
	err = s.View(t.Context(), func(tx *Tx) error {
		_, err := Events(tx, EventFilter{})
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "cannot read state") || !strings.Contains(strings.Join(fault.Hints(err), ""), ".recover") {
		t.Errorf("error %v, hints %q", err, fault.Hints(err))
	}
}

// TestReplacedDatabase: who writes to a file that is gone, or no longer the one at the
// path, is told so and not that all is well.
func TestReplacedDatabase(t *testing.T) {
	for name, replace := range map[string]func(dir string) error{
		"removed":  func(dir string) error { return os.Remove(filepath.Join(dir, File)) },
		"moved":    func(dir string) error { return os.Rename(dir, dir+".old") },
		"replaced": func(dir string) error { return os.Rename(filepath.Join(dir, "other"), filepath.Join(dir, File)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			s := openIn(t, dir, Options{})
			mustWrite(t, filepath.Join(dir, "other"), nil, 0o600)
			if err := emit(s, "before"); err != nil {
				t.Fatal(err)
			}
			if err := replace(dir); err != nil {
				t.Fatal(err)
			}
			err := emit(s, "after")
			if err == nil || !strings.Contains(err.Error(), "was moved, removed or replaced") || !strings.Contains(strings.Join(fault.Hints(err), ""), "start it again") {
				t.Errorf("error %v, hints %q", err, fault.Hints(err))
			}
		})
	}
}

func TestOddPaths(t *testing.T) {
	for _, name := range []string{"with space", "100%", "what?", "#1", "a&b=c+d;e", "it's", "é\xff", "file:x", "%41", "a\nb"} {
		dir := filepath.Join(t.TempDir(), name)
		s, err := Open(t.Context(), dir, Options{})
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		err = s.View(t.Context(), func(tx *Tx) error { _, err := newestEvent(tx); return err })
		if err := errors.Join(err, emit(s, "x"), s.Close()); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if files := listing(t, filepath.Dir(dir)); !strings.HasSuffix(files, filepath.Join(dir, File)+lockSuffix) {
			t.Errorf("%q: files %q", name, files)
		}
	}
}

func TestPathTooLong(t *testing.T) {
	parts := append([]string{t.TempDir()}, slices.Repeat([]string{strings.Repeat("x", 200)}, 3)...)
	dir := filepath.Join(parts...)
	_, err := Open(t.Context(), dir, Options{})
	if err == nil || !strings.Contains(strings.Join(fault.Hints(err), ""), "shorter --state-dir") {
		t.Errorf("error %v, hints %q", err, fault.Hints(err))
	}
	if _, err := os.Stat(parts[0] + "/" + parts[1]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was made: %v", err)
	}
}

func TestRelativePath(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, dir := range []string{"state", ".", "./a/../b", "x:y"} {
		if err := emit(openIn(t, dir, Options{}), "x"); err != nil {
			t.Errorf("%q: %v", dir, err)
		}
		if _, err := os.Stat(filepath.Join(dir, File)); err != nil {
			t.Error(err)
		}
	}
}

func TestFilesArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s := openIn(t, dir, Options{})
	if err := emit(s, "x"); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 4 { // the database, -wal, -shm, -lock
		t.Errorf("files: %v", entries)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v", info.Mode(), err)
	}
}

// TestSecondStoreOfTheProcess opens the same directory twice in one process and
// checks that the first one's locks survive, by having another process close
// the database as if it were the last one.
func TestSecondStoreOfTheProcess(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir, Options{})
	if err := emit(s, "1"); err != nil {
		t.Fatal(err)
	}
	second, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if out, ok := output(t, helper(t, "open", dir, Process)); !ok {
		t.Fatal(out)
	}
	if err := errors.Join(emit(second, "2"), emit(s, "3"), second.Close(), emit(s, "4")); err != nil {
		t.Error(err)
	}
	if got := strings.Join(subjects(t, s), ""); got != "1234" {
		t.Errorf("recorded %s", got)
	}
	checkIntegrity(t, s)
}

// block makes the writer wait, so that updates gather behind it.
func block(t *testing.T, s *Store) (release func()) {
	t.Helper()
	blocked, free := make(chan struct{}), make(chan struct{})
	first := sync.OnceFunc(func() { close(blocked) })
	if err := s.Enqueue(func(*Tx) error { first(); <-free; return nil }, nil); err != nil {
		t.Fatal(err)
	}
	<-blocked
	return sync.OnceFunc(func() { close(free) })
}

func TestUpdatesThatWaitShareACommit(t *testing.T) {
	s := openTest(t, Options{})
	release := block(t, s)
	defer release()
	const n = 100
	var (
		nows = map[time.Time]int{}
		done = make(chan error, n)
	)
	for range n {
		// The writer's goroutine alone touches the map until all are done.
		if err := s.Enqueue(func(tx *Tx) error { nows[tx.Now()]++; return nil }, func(err error) { done <- err }); err != nil {
			t.Fatal(err)
		}
	}
	release()
	for range n {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if len(nows) != 1 {
		t.Errorf("%d transactions, want one", len(nows))
	}
}

func TestFailingUpdateLeavesTheOthers(t *testing.T) {
	mine := errors.New("mine")
	bus := event.NewBus("test")
	var heard []string
	bus.Subscribe("", func(e event.Event) { heard = append(heard, e.Subject) })
	s := openTest(t, Options{Bus: bus})
	release := block(t, s)
	defer release()
	failures := []int{0, 1, 7, 50, 98, 99}
	const n = 100
	outcomes := make(chan error, n)
	for i := range n {
		var wanted error
		if slices.Contains(failures, i) {
			wanted = mine
		}
		err := s.Enqueue(func(tx *Tx) error {
			tx.Emit(event.Event{Type: "test.done", Subject: fmt.Sprint(i)})
			return wanted
		}, func(err error) {
			if !errors.Is(err, wanted) {
				t.Errorf("update %d: %v, want %v", i, err, wanted)
			}
			outcomes <- err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	release()
	for range n {
		if err := <-outcomes; err != nil && !errors.Is(err, mine) {
			t.Error(err)
		}
	}
	var want []string
	for i := range n {
		if !slices.Contains(failures, i) {
			want = append(want, fmt.Sprint(i))
		}
	}
	if got := subjects(t, s); !slices.Equal(got, want) {
		t.Errorf("recorded %v", got)
	}
	if !slices.Equal(heard, want) {
		t.Errorf("published %v", heard)
	}
}

func TestBadEventFailsItsUpdateOnly(t *testing.T) {
	s := openTest(t, Options{})
	release := block(t, s)
	defer release()
	bad := make(chan error, 1)
	good := make(chan error, 1)
	add := func(data any, done chan error) {
		err := s.Enqueue(func(tx *Tx) error {
			tx.Emit(event.Event{Type: "test.done", Data: data})
			return nil
		}, func(err error) { done <- err })
		if err != nil {
			t.Fatal(err)
		}
	}
	add(func() {}, bad)
	add(map[string]int{"n": 1}, good)
	release()
	if err := <-bad; err == nil || !strings.Contains(err.Error(), "cannot encode the data of event test.done") {
		t.Errorf("the bad one: %v", err)
	}
	if err := <-good; err != nil {
		t.Errorf("the good one: %v", err)
	}
	if n := len(subjects(t, s)); n != 1 {
		t.Errorf("%d events recorded", n)
	}
}

// TestEventIsVisibleWhenPublished reads an event back from the log in the
// moment it is published.
func TestEventIsVisibleWhenPublished(t *testing.T) {
	bus := event.NewBus("test[1]")
	dir := t.TempDir()
	s := openIn(t, dir, Options{Bus: bus})
	reader := openIn(t, dir, Options{})
	heard := 0
	bus.Subscribe("test.*", func(e event.Event) {
		heard++
		err := reader.View(context.Background(), func(tx *Tx) error {
			found, err := Events(tx, EventFilter{AfterID: e.ID - 1})
			if len(found) != 1 || found[0].Subject != e.Subject || found[0].Source != "test[1]" || !found[0].Time.Equal(e.Time.Truncate(time.Microsecond)) {
				t.Errorf("published %+v, recorded %+v", e, found)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
	for i := range 5 {
		if err := emit(s, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if heard != 5 {
		t.Errorf("heard %d events", heard)
	}
}

func TestViewSeesOneState(t *testing.T) {
	s := openTest(t, Options{})
	if err := emit(s, "1"); err != nil {
		t.Fatal(err)
	}
	err := s.View(t.Context(), func(tx *Tx) error {
		before, err := newestEvent(tx)
		if err != nil {
			return err
		}
		if err := emit(s, "2"); err != nil {
			return err
		}
		after, err := newestEvent(tx)
		if before != after {
			t.Errorf("a view saw %d and then %d", before, after)
		}
		if _, err := tx.Exec("DELETE FROM events"); err == nil {
			t.Error("a view could write")
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestCloseCommitsWhatIsQueued(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	release := block(t, s)
	const n = 3000 // more than one batch
	for i := range n {
		err := s.Enqueue(func(tx *Tx) error {
			tx.Emit(event.Event{Type: "test.done", Subject: fmt.Sprint(i)})
			return nil
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	release()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	if err := emit(s, "late"); !errors.Is(err, ErrClosed) {
		t.Errorf("an update of a closed store: %v", err)
	}
	if err := s.View(t.Context(), func(*Tx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("a view of a closed store: %v", err)
	}
	got := subjects(t, openIn(t, dir, Options{}))
	if len(got) != n {
		t.Fatalf("%d events recorded, want %d", len(got), n)
	}
	for i, subject := range got {
		if subject != fmt.Sprint(i) {
			t.Fatalf("event %d is %s: the order is wrong", i, subject)
		}
	}
}

// TestDiskFullAnswersAll uses SQLite's own limit in place of a full disk: the
// error is the same, and the store must go on when there is room again.
func TestDiskFullAnswersAll(t *testing.T) {
	s := openTest(t, Options{})
	limit := func(pages int) {
		if err := s.Update(t.Context(), func(tx *Tx) error {
			var got int
			return tx.QueryRow(fmt.Sprintf("PRAGMA max_page_count = %d", pages)).Scan(&got)
		}); err != nil {
			t.Fatal(err)
		}
	}
	limit(20)
	big := event.Event{Type: "test.done", Data: strings.Repeat("x", 100_000)}
	err := s.Update(t.Context(), func(tx *Tx) error { tx.Emit(big); return nil })
	if err == nil || !strings.Contains(strings.Join(fault.Hints(err), ""), "disk is full") {
		t.Errorf("error %v, hints %q", err, fault.Hints(err))
	}
	// One that ignores the error must not commit the rest of its work.
	err = s.Update(t.Context(), func(tx *Tx) error {
		_, _ = tx.Exec("INSERT INTO events (time, type, source, subject, data) VALUES (1, 'x', '', '', zeroblob(200000))")
		_, _ = tx.Exec("INSERT INTO events (time, type, source, subject) VALUES (1, 'x', '', 'half')")
		return nil
	})
	if err == nil {
		t.Error("an update with a failed statement was committed")
	}
	limit(100_000)
	if err := emit(s, "after"); err != nil {
		t.Error(err)
	}
	if got := subjects(t, s); !slices.Equal(got, []string{"after"}) {
		t.Errorf("recorded %q", got)
	}
}

// TestEnqueueNeverWaits: a writer that stands still costs the caller nothing.
func TestEnqueueNeverWaits(t *testing.T) {
	s := openTest(t, Options{})
	free, held := make(chan struct{}), make(chan struct{})
	if err := s.Enqueue(func(*Tx) error { close(held); <-free; return nil }, nil); err != nil {
		t.Fatal(err)
	}
	<-held
	nothing := func(*Tx) error { return nil }
	var err error
	for range queueLength + 1 {
		if err = s.Enqueue(nothing, nil); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrBehind) {
		t.Errorf("the queue is full, and Enqueue said %v", err)
	}
	close(free)
	if err := s.Update(t.Context(), nothing); err != nil {
		t.Errorf("after the stand-still: %v", err)
	}
	if err := s.Enqueue(nothing, nil); err != nil {
		t.Errorf("Enqueue after the stand-still: %v", err)
	}
}
