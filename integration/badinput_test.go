package integration

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

// good is a process that would leave a trace if it were started.
const good = `[supervise.process.good]
command = "echo $$ > started; exec sleep 1000"
`

// refusal is something that `supervise run` must refuse without having begun
// anything.
type refusal struct {
	name   string
	config string
	spoil  func(t *testing.T, s *harness.Sandbox) // before the start; may be nil
	user   bool                                   // run as an ordinary user who owns nothing
	code   int
	want   []string // in what it says on standard error
}

// badConfigs are mistakes in procops.toml: each is told with its place, and not
// even the state directory is made.
func badConfigs() []refusal {
	return []refusal{
		{
			name: "unknown key", config: good + `comand = "x"`, code: 2,
			want: []string{`procops.toml:3:1: unknown key "comand" in [supervise.process.good]; did you mean "command"?`},
		},
		{
			name: "unknown section", config: good + `[supervice]`, code: 2,
			want: []string{`procops.toml:3:2: unknown`, `did you mean "supervise"?`},
		},
		{
			name: "wrong type", config: good + `restart = 3`, code: 2,
			want: []string{`procops.toml:3:11: "restart" in [supervise.process.good]: want a string, have an integer`},
		},
		{name: "not TOML", config: good + `= =`, code: 2, want: []string{`procops.toml:3:1: `}},
		{
			name: "duplicate name", config: good + good, code: 2,
			want: []string{`procops.toml:3:2: `, `supervise.process.good`, `already`},
		},
		{
			name: "duplicate name of process and group", config: good + "[supervise.group.good]\nchildren = ['good']", code: 2,
			want: []string{`procops.toml:3:18: "good" in [supervise.group]: there is a process of the same name`},
		},
		{
			name: "cycle of dependencies", code: 2,
			config: good + "depends_on = ['z']\n[supervise.process.z]\ncommand = 'true'\ndepends_on = ['good']",
			want:   []string{`procops.toml:3:15: "depends_on[0]" in [supervise.process.good]: the dependencies are a cycle: good -> z -> good`},
		},
		{
			name: "cycle of groups", code: 2,
			config: good + "[supervise.group.a]\nchildren = ['b']\n[supervise.group.b]\nchildren = ['a']",
			want:   []string{`procops.toml:4:13: "children[0]" in [supervise.group.a]: the groups contain each other: a -> b -> a`},
		},
		{
			name: "missing command", config: good + "[supervise.process.b]\nrestart = 'always'", code: 2,
			want: []string{`procops.toml:3:20: missing key "command" in [supervise.process.b]`},
		},
		{
			name: "missing program", config: good + "[supervise.process.b]\ncommand = ['./none']", code: 2,
			want: []string{`procops.toml:4:11: "command" in [supervise.process.b]: cannot run "./none": no such file`},
		},
		{
			name: "program not in PATH", config: good + "[supervise.process.b]\ncommand = ['no-such-program']", code: 2,
			want: []string{`procops.toml:4:11: "command" in [supervise.process.b]: cannot run "no-such-program": not found in its PATH`},
		},
		{
			name: "program that is not executable", config: good + "[supervise.process.b]\ncommand = ['./procops.toml']", code: 2,
			want: []string{`procops.toml:4:11: "command" in [supervise.process.b]: cannot run "./procops.toml": permission denied`},
		},
		{
			name: "nothing to supervise", config: "[heartbeat.x]", code: 2,
			want: []string{`there is nothing to supervise: `, `procops: hint: `},
		},
		{
			name: "config that may not be read", config: good, user: true, code: 2,
			spoil: func(t *testing.T, s *harness.Sandbox) {
				t.Helper()
				check(t, os.Chmod(filepath.Join(s.Dir, "procops.toml"), 0))
			},
			want: []string{`cannot read configuration "procops.toml": permission denied`},
		},
	}
}

func TestBadConfig(t *testing.T) {
	t.Parallel()
	for _, c := range badConfigs() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := c.refused(t)
			if harness.Exists(s.State) {
				t.Error("it has made a state directory")
			}
		})
	}
}

// badStates are state directories that cannot be used.
func badStates() []refusal {
	return []refusal{
		{
			name: "directory that may not be written", user: true, code: 1,
			spoil: func(t *testing.T, s *harness.Sandbox) { t.Helper(); readOnly(t, s, s.State) },
			want:  []string{`cannot lock state directory "%s": `, `: permission denied`, `procops: hint: make it writable for this user, or choose another one with --state-dir`},
		},
		{
			name: "directory that cannot be made", user: true, code: 1,
			spoil: func(t *testing.T, s *harness.Sandbox) { t.Helper(); readOnly(t, s, s.Dir) },
			want:  []string{`cannot make state directory "%s": `, `: permission denied`, `procops: hint: choose another one with --state-dir`},
		},
		{
			name: "file in its place", code: 1,
			spoil: func(t *testing.T, s *harness.Sandbox) { t.Helper(); s.WriteFile("state", "mine") },
			want:  []string{`cannot make state directory "%s": `, `: not a directory`, `procops: hint: `},
		},
		{
			name: "damaged database", code: 1,
			spoil: func(t *testing.T, s *harness.Sandbox) {
				t.Helper()
				s.Want(0, "heartbeat", "attach", "x")
				sqlite("PRAGMA wal_checkpoint(TRUNCATE)")(t, s) // else its content is in the log
				whole := s.ReadFile("state/procops.db")
				s.WriteFile("state/procops.db", whole[:100]+strings.Repeat("\xff", len(whole)-100))
			},
			want: []string{`cannot open state "%s/procops.db": `, `procops: hint: the file is damaged: `, `.recover`},
		},
		{
			name: "letter for a database", code: 1,
			spoil: func(t *testing.T, s *harness.Sandbox) {
				t.Helper()
				s.WriteFile("state/procops.db", strings.Repeat("Dear database, ", 100))
			},
			want: []string{`cannot open state "%s/procops.db": file is not a database`, `procops: hint: the file is damaged: `},
		},
		{
			name: "another program's database", code: 1, spoil: sqlite("CREATE TABLE theirs (x)"),
			want: []string{`cannot open state "%s/procops.db": it is the database of another program`, `procops: hint: move it away`},
		},
		{
			name: "newer schema", code: 1, spoil: sqlite("PRAGMA user_version = 99"),
			want: []string{`cannot open state "%s/procops.db": it was written by a newer procops (schema 99; `, `procops: hint: upgrade this procops`},
		},
		{
			name: "file for the log directory", code: 1,
			spoil: func(t *testing.T, s *harness.Sandbox) { t.Helper(); s.WriteFile("state/logs", "mine") },
			want:  []string{`cannot open log file "%s/logs/good.log": not a directory`},
		},
		{
			name: "log directory that may not be written", user: true, code: 1,
			spoil: func(t *testing.T, s *harness.Sandbox) {
				t.Helper()
				readOnly(t, s, filepath.Join(s.State, "logs"))
				check(t, os.Chmod(s.State, 0o777))
			},
			want: []string{`cannot open log file "%s/logs/good.log": permission denied`},
		},
		{
			name: "log directory elsewhere", config: "[supervise]\nlog_dir = '/proc/none'\n" + good, code: 1,
			want: []string{`cannot open log file "/proc/none/good.log": no such file or directory`},
		},
		{
			name: "file in place of the socket", code: 1,
			spoil: func(t *testing.T, s *harness.Sandbox) { t.Helper(); s.WriteFile("state/supervise.sock", "mine") },
			want:  []string{`cannot listen on socket "%s/supervise.sock": it exists and is not a socket`},
		},
		{
			name: "socket of somebody else", code: 4,
			spoil: func(t *testing.T, s *harness.Sandbox) {
				t.Helper()
				check(t, os.MkdirAll(s.State, 0o700))
				l, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(s.State, "supervise.sock"))
				check(t, err)
				t.Cleanup(func() { _ = l.Close() })
			},
			want: []string{`a supervisor is already running on socket "%s/supervise.sock"`},
		},
	}
}

func TestBadState(t *testing.T) {
	t.Parallel()
	for _, c := range badStates() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.config == "" {
				c.config = good
			}
			c.refused(t)
		})
	}
}

// refused spoils a sandbox, starts the tree in it and checks that procops
// refuses that and leaves no trace: nothing is started and no file is changed.
func (c refusal) refused(t *testing.T) *harness.Sandbox {
	t.Helper()
	s := harness.New(t)
	s.Config(c.config)
	run := []string{harness.Binary(t), "supervise", "run"}
	if c.user {
		run = append(asUser(t, s), run[1:]...)
	}
	if c.spoil != nil {
		c.spoil(t, s)
	}
	before := filesBelow(t, s.Dir)
	r := s.Run(run[0], run[1:]...)
	if r.Code != c.code || r.Stdout != "" {
		t.Errorf("want code %d and no output: %s", c.code, r)
	}
	for _, want := range c.want {
		if want = strings.ReplaceAll(want, "%s", s.State); !strings.Contains(r.Stderr, want) {
			t.Errorf("no %q: %s", want, r)
		}
	}
	for line := range strings.Lines(r.Stderr) {
		if !strings.HasPrefix(line, "procops: error: ") && !strings.HasPrefix(line, "procops: hint: ") {
			t.Errorf("line %q: %s", line, r)
		}
	}
	after := filesBelow(t, s.Dir)
	for path, content := range before {
		if after[path] != content {
			t.Errorf("%s was changed", path)
		}
	}
	for path, content := range after {
		// What is there now is no more than an empty state.
		allowed := []string{"supervise.lock", "procops.db", "procops.db-lock", "procops.db-wal", "procops.db-shm"}
		if path == filepath.Join(s.State, "logs", "good.log") && content == "" {
			continue
		}
		if _, was := before[path]; !was && (filepath.Dir(path) != s.State || !slices.Contains(allowed, filepath.Base(path))) {
			t.Errorf("%s was made", path)
		}
	}
	wantNothing(t, s)
	return s
}

// filesBelow returns the content of each regular file below dir.
func filesBelow(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	check(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		files[path] = string(content)
		return err
	}))
	return files
}

// asUser returns a command that runs a copy of procops as a user who owns
// nothing of the sandbox. Whoever runs the tests without being root is such a
// user already, once it has taken its own rights away.
func asUser(t *testing.T, s *harness.Sandbox) []string {
	t.Helper()
	if os.Geteuid() != 0 {
		return []string{harness.Binary(t)}
	}
	binary, err := os.ReadFile(harness.Binary(t))
	check(t, err)
	s.WriteFile("bin/procops", string(binary))
	path := filepath.Join(s.Dir, "bin", "procops")
	check(t, os.Chmod(path, 0o755))
	check(t, os.Chmod(filepath.Dir(s.Dir), 0o755))
	return []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", path}
}

// readOnly makes a directory in which only root can write until the test ends.
func readOnly(t *testing.T, s *harness.Sandbox, dir string) {
	t.Helper()
	check(t, os.MkdirAll(dir, 0o755))
	for path := dir; path != filepath.Dir(s.Dir); path = filepath.Dir(path) {
		check(t, os.Chmod(path, 0o555))
		t.Cleanup(func() { _ = os.Chmod(path, 0o755) })
	}
}

// sqlite returns what makes a database in place of procops'.
func sqlite(statement string) func(t *testing.T, s *harness.Sandbox) {
	return func(t *testing.T, s *harness.Sandbox) {
		t.Helper()
		check(t, os.MkdirAll(s.State, 0o700))
		if r := s.Run("sqlite3", filepath.Join(s.State, "procops.db"), statement); r.Code != 0 {
			t.Fatal(r)
		}
	}
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// TestSecondRun has a second supervisor refused while the first goes on unharmed.
func TestSecondRun(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config(good)
	p := s.Start("supervise", "run")
	started := s.WaitFile("started")
	for range 3 {
		r := s.Want(4, "supervise", "run")
		want := fmt.Sprintf("procops: error: a supervisor already runs on state directory %q (pid %d)\nprocops: hint: ", s.State, p.PID())
		if !strings.HasPrefix(r.Stderr, want) {
			t.Errorf("want %q: %s", want, r)
		}
	}
	if now := statusOf(t, s)["good"]; now.State != "running" || fmt.Sprintln(now.PID) != started || s.ReadFile("started") != started {
		t.Errorf("the first one's process is %+v, was started as %s", now, started)
	}
	p.Signal(syscall.SIGTERM)
	p.WantExit(0)
}

// TestStaleSocket has the socket of a supervisor that was killed replaced.
func TestStaleSocket(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config(good)
	p := s.Start("supervise", "run")
	s.WaitFile("started")
	p.Signal(syscall.SIGKILL)
	p.WantExit(137)
	if !harness.Exists(filepath.Join(s.State, "supervise.sock")) {
		t.Fatal("there is no stale socket: the test shows nothing")
	}
	s.Want(5, "supervise", "status")
	p = s.Start("supervise", "run")
	s.Want(0, "supervise", "wait")
	p.Signal(syscall.SIGTERM)
	p.WantExit(0)
	if harness.Exists(filepath.Join(s.State, "supervise.sock")) {
		t.Error("it has left its socket")
	}
}
