//go:build bench

package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"procops/integration/harness"
)

// runs is how often each whole process is run.
const runs = 300

// wholeProcess is a command that is measured from fork to end.
type wholeProcess struct {
	name string
	argv []string
}

// alternate runs the commands in turn and returns the median of each, printed
// as a table.
func alternate(t *testing.T, s *harness.Sandbox, commands []wholeProcess) map[string]time.Duration {
	t.Helper()
	took := map[string][]time.Duration{}
	for range runs {
		for _, c := range commands {
			took[c.name] = append(took[c.name], once(t, s, c))
		}
	}
	medians := map[string]time.Duration{}
	heading(fmt.Sprintf("whole processes, medians of %d runs", runs))
	for _, c := range commands {
		medians[c.name] = median(took[c.name])
		fmt.Printf("%-28s %7.2f ms\n", c.name, millis(medians[c.name]))
	}
	return medians
}

func once(t *testing.T, s *harness.Sandbox, c wholeProcess) time.Duration {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), c.argv[0], c.argv[1:]...)
	cmd.Dir, cmd.Env = s.Dir, s.Env()
	started := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	return time.Since(started)
}

// TestStart measures how long it takes to say a version: started by a shell, as
// cron, CI and people start it, and directly. The target is for the former: next
// to a direct start of /bin/true an empty Go program that contains C is above
// it already (docs/adr/0005-static-binary.md).
func TestStart(t *testing.T) {
	s := harness.NewShipped(t)
	version := harness.Shipped(t) + " version"
	medians := alternate(t, s, []wholeProcess{
		{"sh -c 'procops version'", []string{"/bin/sh", "-c", version}},
		{"sh -c /bin/true", []string{"/bin/sh", "-c", "/bin/true"}},
		{"procops version", []string{harness.Shipped(t), "version"}},
		{"/bin/true", []string{"/bin/true"}},
	})
	fmt.Printf("started directly: procops version / true is %.1f times\n", ratio(medians["procops version"], medians["/bin/true"]))
	atMost(t, "procops version / true, by a shell", ratio(medians["sh -c 'procops version'"], medians["sh -c /bin/true"]), 3, "times")
}

// TestBeat measures a beat beside the sqlite3 shell that does the same upsert
// on a database in the same journal mode and with the same durability.
func TestBeat(t *testing.T) {
	s := harness.NewShipped(t)
	s.Want(0, "heartbeat", "attach", "backup")
	database, upsert := peerDatabase(t, s)
	medians := alternate(t, s, []wholeProcess{
		{"procops heartbeat beat", []string{harness.Shipped(t), "heartbeat", "beat", "backup", "--pid", fmt.Sprint(os.Getpid())}},
		{"sqlite3 upsert", []string{"sqlite3", database, upsert}},
	})
	atMost(t, "heartbeat beat / sqlite3", ratio(medians["procops heartbeat beat"], medians["sqlite3 upsert"]), 2, "times")
}

// peerDatabase makes a database for the sqlite3 shell in the same journal mode as
// procops' and returns the upsert of a beat with the same durability.
func peerDatabase(t *testing.T, s *harness.Sandbox) (path, upsert string) {
	t.Helper()
	path = filepath.Join(s.Dir, "peer.db")
	if r := s.Run("sqlite3", path, `PRAGMA journal_mode = WAL;
		CREATE TABLE beats (name TEXT PRIMARY KEY, number INTEGER NOT NULL, time INTEGER NOT NULL, uptime INTEGER, memory INTEGER) WITHOUT ROWID;`); r.Code != 0 {
		t.Fatal(r)
	}
	return path, `PRAGMA busy_timeout = 10000; PRAGMA synchronous = NORMAL;
		INSERT INTO beats VALUES ('backup', 1, strftime('%s', 'now') * 1000000, 12, 4096)
		ON CONFLICT (name) DO UPDATE SET number = number + 1, time = excluded.time, uptime = excluded.uptime, memory = excluded.memory;`
}

// TestPush measures the push of a task beside a beat: both open the state and
// write to it, and nothing else.
func TestPush(t *testing.T) {
	s := harness.NewShipped(t)
	s.Want(0, "heartbeat", "attach", "backup")
	medians := alternate(t, s, []wholeProcess{
		{"procops tasks push", []string{harness.Shipped(t), "tasks", "push", "mail.send", "--param", "to=ann"}},
		{"procops heartbeat beat", []string{harness.Shipped(t), "heartbeat", "beat", "backup", "--pid", fmt.Sprint(os.Getpid())}},
	})
	atMost(t, "tasks push / heartbeat beat", ratio(medians["procops tasks push"], medians["procops heartbeat beat"]), 1.5, "times")
}
