package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"procops/integration/harness"
)

// market is a tree with a group, beside it a process that does not start by
// itself.
const market = `
[supervise.group.back]
children = ["db", "cache"]
[supervise.process.db]
command = "echo db is up; echo db complains >&2; exec sleep 1000"
[supervise.process.cache]
command = "echo cache is up; exec sleep 1000"
[supervise.process.web]
command = "trap 'echo web heard USR1' USR1; echo web is up; while :; do sleep 0.05; done"
depends_on = ["back"]
[supervise.process.spare]
command = "exec sleep 1000"
autostart = false
`

// started starts the tree in the background. The caller calls stop at the end of
// the test: in a clean-up it would be too late to run anything.
func started(t *testing.T, config string) (s *harness.Sandbox, stop func()) {
	t.Helper()
	s = harness.New(t)
	s.Config(config)
	r := s.Want(0, "supervise", "start")
	if !regexp.MustCompile(`^the supervisor runs in the background \(pid \d+\); its log is .*/supervise.log\n$`).MatchString(r.Stdout) {
		t.Error(r)
	}
	s.Want(0, "supervise", "wait", "--ready", "--timeout", "20s")
	return s, func() { s.Want(0, "supervise", "stop") }
}

// statusOf returns the status as JSON has it, by name.
func statusOf(t *testing.T, s *harness.Sandbox) map[string]processStatus {
	t.Helper()
	r := s.Procops("supervise", "status", "--json")
	var status struct{ Processes []processStatus }
	if err := json.Unmarshal([]byte(r.Stdout), &status); err != nil {
		t.Fatalf("%v: %s", err, r)
	}
	byName := map[string]processStatus{}
	for _, p := range status.Processes {
		byName[p.Name] = p
	}
	return byName
}

type processStatus struct {
	Name, State string
	PID         int
	Wanted      bool
	Restarts    int
	Since       time.Time
	StatusText  string `json:"status_text"`
}

// webPID returns the process id of web.
func webPID(t *testing.T, s *harness.Sandbox) int {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(s.Want(0, "supervise", "pid", "web").Stdout))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// names returns the names in a table, in order.
func names(table string) []string {
	var list []string
	for line := range strings.Lines(table) {
		list = append(list, strings.Fields(line)[0])
	}
	return list[1:]
}

func TestStatusTable(t *testing.T) {
	s, stop := started(t, market)
	defer stop()
	r := s.Want(0, "supervise", "status")
	want := `(?m)^NAME +STATE +PID +UPTIME +RESTARTS +CPU +MEMORY +READY +LAST EXIT\n` +
		`db +running +\d+ +\d+s +0 +\d+\.\ds +\d+\.\d[KM] +yes +-\n`
	if !regexp.MustCompile(want).MatchString(r.Stdout) {
		t.Errorf("want %s: %s", want, r)
	}
	for _, c := range []struct {
		ask  []string
		want string
	}{
		{nil, "cache db spare web"},
		{[]string{"back"}, "cache db"},
		{[]string{"web", "db"}, "db web"},
	} {
		r := s.Want(0, append([]string{"supervise", "status"}, c.ask...)...)
		got := map[string]bool{}
		for _, n := range names(r.Stdout) {
			got[n] = true
		}
		if len(got) != len(strings.Fields(c.want)) {
			t.Errorf("status %v, want %s: %s", c.ask, c.want, r)
		}
		for n := range strings.FieldsSeq(c.want) {
			if !got[n] {
				t.Errorf("status %v lacks %s: %s", c.ask, n, r)
			}
		}
	}
	r = s.Want(3, "supervise", "status", "chache")
	if want := "procops: error: there is no process or group \"chache\"\nprocops: hint: did you mean \"cache\"?\n"; r.Stderr != want {
		t.Errorf("want %q: %s", want, r)
	}
}

func TestStatusTellsWhatIsNotAsWanted(t *testing.T) {
	s, stop := started(t, market+`
[supervise.process.late]
command = "until [ -e go ]; do sleep 0.02; done; exit 3"
restart = "always"
backoff = {initial = "1h", max = "1h"}
`)
	defer stop()
	s.WriteFile("go", "now")
	harness.Eventually(t, "late has failed", func() bool { return statusOf(t, s)["late"].State == "backoff" })
	r := s.Want(1, "supervise", "status")
	if !regexp.MustCompile(`(?m)^late +backoff +- +- +0 +- +- +- +3 `).MatchString(r.Stdout) {
		t.Error(r)
	}
	s.Want(0, "supervise", "status", "web")
	s.Want(0, "supervise", "stop", "late")
	s.Want(0, "supervise", "status")
}

func TestWatch(t *testing.T) {
	s, stop := started(t, market)
	defer stop()
	p := s.Start("supervise", "status", "--watch", "web")
	p.WaitLines(`^web +running`, 2)
	p.Signal(2)
	p.WantExit(130)
}

func TestStartStopRestartOfProcesses(t *testing.T) {
	s, stop := started(t, market)
	defer stop()
	before := webPID(t, s)

	r := s.Want(0, "supervise", "stop", "web")
	if r.Stdout != "web: stopped\n" {
		t.Error(r)
	}
	if p := statusOf(t, s)["web"]; p.State != "stopped" || p.Wanted || p.PID != 0 {
		t.Errorf("web is %+v", p)
	}
	r = s.Want(1, "supervise", "pid", "web")
	if r.Stderr != "procops: error: \"web\" does not run: it is stopped\n" {
		t.Error(r)
	}
	r = s.Want(0, "supervise", "start", "web", "--timeout", "20s")
	after := webPID(t, s)
	if r.Stdout != fmt.Sprintf("web: running (pid %d)\n", after) || after == before {
		t.Errorf("pid %d, before %d: %s", after, before, r)
	}

	r = s.Want(0, "supervise", "restart", "back", "--json")
	var results []struct {
		Name, State string
		OK          bool
	}
	if err := json.Unmarshal([]byte(r.Stdout), &results); err != nil || len(results) != 2 || !results[0].OK || results[0].State != "running" {
		t.Errorf("%v: %s", err, r)
	}
	if again := webPID(t, s); again == 0 {
		t.Error("web is gone")
	}

	s.Want(0, "supervise", "start", "spare")
	s.Want(0, "supervise", "stop", "--all")
	for name, p := range statusOf(t, s) {
		if p.State != "stopped" {
			t.Errorf("%s is %s", name, p.State)
		}
	}
	s.Want(0, "supervise", "status")
	s.Want(0, "supervise", "start", "--all", "--no-wait")
	s.Want(0, "supervise", "wait")
}

func TestActionsThatFail(t *testing.T) {
	s, stop := started(t, market+`
[supervise.process.failing]
command = "exit 3"
ready.log = "never"
autostart = false
restart = "always"
backoff = {initial = "1h", max = "1h"}
[supervise.process.slow]
command = "exec sleep 1000"
ready.log = "never"
autostart = false
`)
	defer stop()
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"stop", "wep"}, 3, "procops: error: there is no process or group \"wep\"\nprocops: hint: did you mean \"web\"?\n"},
		{[]string{"stop", "all"}, 3, "procops: error: there is no process or group \"all\"\nprocops: hint: --all means all\n"},
		{[]string{"restart"}, 2, "procops: error: procops supervise restart needs the NAME of a process or group, or --all\n"},
		{[]string{"restart", "web", "--all"}, 2, "procops: error: procops supervise restart takes either names or --all\n"},
		{[]string{"signal"}, 2, "procops: error: procops supervise signal needs a SIGNAL and the NAMEs of processes\n"},
		{[]string{"signal", "HUB", "web"}, 2, `invalid signal "HUB"`},
		{[]string{"signal", "HUP", "spare"}, 1, "procops: error: spare: it is stopped: it does not run\n"},
		{[]string{"stop", "web", "--now"}, 2, "procops: error: procops supervise stop: --now is for the whole supervisor\n"},
		{[]string{"stop", "web", "--timeout", "x"}, 2, `procops: error: procops supervise stop: --timeout: invalid duration "x"`},
		{[]string{"start", "failing"}, 1, "procops: error: failing: it is in backoff: 3 "},
		{[]string{"start", "slow", "--timeout", "200ms"}, 1, "procops: error: start has not come true after 200ms\nprocops: hint: it goes on; "},
		{[]string{"wait", "slow", "--timeout", "200ms"}, 1, "procops: error: not ready after 200ms: slow is starting\n"},
		{[]string{"pid", "back"}, 2, "procops: error: \"back\" is a group\n"},
	} {
		r := s.Want(c.code, append([]string{"supervise"}, c.args...)...)
		if !strings.Contains(r.Stderr, c.want) || r.Stdout != "" {
			t.Errorf("want %q: %s", c.want, r)
		}
	}
}

// TestStartTellsWhatStaysDown: nobody has to wonder why something does not run.
func TestStartTellsWhatStaysDown(t *testing.T) {
	s, stop := started(t, market)
	defer stop()
	s.Want(0, "supervise", "stop", "db")
	s.Want(0, "supervise", "stop")
	r := s.Want(0, "supervise", "start")
	if !strings.HasSuffix(r.Stdout, "\nstopped by hand and left so: db; `procops supervise start --all` starts them\n") {
		t.Error(r)
	}
	// The log is written beside the answer to start.
	harness.Eventually(t, "for the log to say what stays down", func() bool {
		log, err := os.ReadFile(filepath.Join(s.State, "supervise.log"))
		return err == nil && strings.Contains(string(log), "; stopped by hand and left so: db\n")
	})
	r = s.Want(1, "supervise", "status")
	for _, want := range []string{`(?m)^db +stopped .* stopped by hand$`, `(?m)^web +waiting .* waits for back to be ready, which is stopped$`} {
		if !regexp.MustCompile(want).MatchString(r.Stdout) {
			t.Errorf("want %s: %s", want, r)
		}
	}
}

func TestSignalReachesTheProcess(t *testing.T) {
	s, stop := started(t, market)
	defer stop()
	r := s.Want(0, "supervise", "signal", "usr1", "web")
	if r.Stdout != fmt.Sprintf("web: sent usr1 (pid %d)\n", webPID(t, s)) {
		t.Error(r)
	}
	harness.Eventually(t, "web has heard it", func() bool {
		return strings.Contains(s.Want(0, "supervise", "logs", "web").Stdout, "web heard USR1")
	})
}

// withoutConfig looks at the logs as one does who only knows the state directory.
func withoutConfig(t *testing.T, s *harness.Sandbox) {
	t.Helper()
	config := filepath.Join(s.Dir, "procops.toml")
	if err := os.Rename(config, config+".away"); err != nil {
		t.Fatal(err)
	}
	if r := s.Want(0, "supervise", "logs", "web"); !strings.Contains(r.Stdout, "web is up") {
		t.Errorf("the log file is not found: %s", r)
	}
	s.Want(3, "supervise", "logs", "wep")
	if r := s.Want(5, "supervise", "status"); !strings.Contains(r.Stderr, "; the log of the last one is ") {
		t.Errorf("status does not say where the log is: %s", r)
	}
	s.Want(5, "--state-dir", filepath.Join(s.Dir, "other"), "supervise", "logs")
	if err := os.Rename(config+".away", config); err != nil {
		t.Fatal(err)
	}
}

// TestWatchEndsWithItsReader: a reader that has enough ends a command without a
// word, as it ends every program.
func TestWatchEndsWithItsReader(t *testing.T) {
	s, stop := started(t, market)
	defer stop()
	p := s.StartProgram("sh", "-c", "{ procops supervise status --watch; echo \"code $?\" >&2; } | head -n 1")
	p.WaitLine(`^NAME `)
	p.WaitLine(`^code 141$`)
	p.WantExit(0)
	if out := p.Output(); strings.Contains(out, "error") {
		t.Error(out)
	}
}

func TestLogs(t *testing.T) {
	s, stop := started(t, market)
	defer stop()
	harness.Eventually(t, "all have spoken", func() bool {
		return strings.Count(s.Want(0, "supervise", "logs").Stdout, "\n") == 4
	})
	check := func(live bool) {
		for _, c := range []struct {
			args []string
			want []string // regular expressions, one a line, in any order
		}{
			{nil, []string{`db    \| db is up`, `db    ! db complains`, `cache \| cache is up`, `web   \| web is up`}},
			{[]string{"back", "-n", "1"}, []string{`db    ! db complains|db    \| db is up`, `cache \| cache is up`}},
			{[]string{"web", "--no-prefix"}, []string{`web is up`}},
			{[]string{"-t", "--utc", "web"}, []string{`\d{4}-\d\d-\d\dT[0-9:.]+Z web \| web is up`}},
			{[]string{"--json", "web"}, []string{`\{"time":"[^"]+","name":"web","stream":"stdout","text":"web is up"\}`}},
			{[]string{"-n", "0"}, nil},
			{[]string{"spare"}, nil},
		} {
			r := s.Want(0, append([]string{"supervise", "logs"}, c.args...)...)
			if strings.Count(r.Stdout, "\n") != len(c.want) {
				t.Errorf("live %v, %v: want %d lines: %s", live, c.args, len(c.want), r)
			}
			for _, want := range c.want {
				if !regexp.MustCompile(`(?m)^(` + want + `)$`).MatchString(r.Stdout) {
					t.Errorf("live %v, %v: want %s: %s", live, c.args, want, r)
				}
			}
		}
		s.Want(3, "supervise", "logs", "wep")
		s.Want(2, "supervise", "logs", "-n", "-1")
	}
	check(true)
	follower := s.Start("supervise", "logs", "-f", "-n", "1", "web")
	follower.WaitLine(`^web \| web is up$`)
	s.Want(0, "supervise", "signal", "USR1", "web")
	follower.WaitLine(`^web \| web heard USR1$`)
	s.Want(0, "supervise", "stop")
	follower.WantExit(0) // it ends with the supervisor
	if err := os.Remove(filepath.Join(s.State, "logs", "web.log")); err != nil {
		t.Fatal(err)
	}
	s.Want(0, "supervise", "start")
	s.Want(0, "supervise", "wait")
	harness.Eventually(t, "web has spoken", func() bool { return s.Want(0, "supervise", "logs", "web").Stdout != "" })
	s.Want(0, "supervise", "stop")
	for _, name := range []string{"db", "cache"} {
		shorten(t, filepath.Join(s.State, "logs", name+".log"))
	}
	check(false)
	s.Want(5, "supervise", "logs", "-f")
	withoutConfig(t, s)
	s.Want(0, "supervise", "start") // for the end of the test
}

// shorten keeps the lines of the first run of a log.
func shorten(t *testing.T, path string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, raw[:len(raw)/2], 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTree(t *testing.T) {
	s, stop := started(t, market)
	defer stop()
	r := s.Want(0, "supervise", "tree")
	for _, want := range []string{"├─ back  running\n", "│  ├─ db  running\n", "│  └─ cache  running\n", "spare  stopped\n", "└─ web  running\n"} {
		if !strings.Contains(r.Stdout, want) {
			t.Errorf("no %q: %s", want, r)
		}
	}
	var nodes []struct{ Name string }
	if r := s.Want(0, "supervise", "tree", "--json"); json.Unmarshal([]byte(r.Stdout), &nodes) != nil || len(nodes) != 3 {
		t.Error(r)
	}
}

func TestNoSupervisorRuns(t *testing.T) {
	s := harness.New(t)
	s.Config(market)
	want := fmt.Sprintf("procops: error: no supervisor runs on state directory %q\nprocops: hint: ", s.State)
	for _, args := range []string{"status", "stop", "stop web", "start web", "restart --all", "signal HUP web", "tree", "pid web", "logs -f", "wait --timeout 100ms"} {
		r := s.Want(5, append([]string{"supervise"}, strings.Fields(args)...)...)
		if !strings.HasPrefix(r.Stderr, want) || r.Stdout != "" {
			t.Errorf("want %q: %s", want, r)
		}
	}
	if harness.Exists(s.State) {
		t.Error("asking has made a state directory")
	}
}

func TestStartThatFails(t *testing.T) {
	s := harness.New(t)
	s.Config(`
[supervise.process.p]
command = ["./no-such-program"]
`)
	r := s.Procops("supervise", "start")
	if r.Code == 0 || !strings.Contains(r.Stderr, "procops: error: ") || !strings.Contains(r.Stderr, "no-such-program") {
		t.Error(r)
	}
	s.Config(`[supervise.process.p]` + "\n" + `comand = "x"`)
	r = s.Want(2, "supervise", "start")
	if !strings.Contains(r.Stderr, `unknown key "comand"`) {
		t.Error(r)
	}
}

func TestABrokenConfigDoesNotKeepFromStopping(t *testing.T) {
	s, stop := started(t, market)
	defer stop()
	s.Config("what is this?")
	s.Want(0, "supervise", "status") // the state directory is named by the environment
	s.Want(0, "supervise", "stop", "web")
	s.Config(market)
}

func TestBackgroundOutlivesItsStarter(t *testing.T) {
	s, stop := started(t, market)
	defer stop()
	text := s.ReadFile("state/supervise.log")
	if !regexp.MustCompile(`(?m)^\S+ procops \* supervising 4 processes, pid \d+$`).MatchString(text) {
		t.Errorf("the log is %q", text)
	}
	if strings.Contains(text, "web is up") {
		t.Error("the output of processes is in the supervisor's log as well")
	}
}

func TestStopThatTakesTooLong(t *testing.T) {
	s := harness.New(t)
	s.Config(stubborn)
	p := s.Start("supervise", "run")
	p.WaitLines(`is up$`, 2)
	s.Want(0, "supervise", "stop", "--no-wait")
	p.WaitLine(`soft    \* ended`)
	r := s.Want(4, "supervise", "start", "soft")
	if r.Stderr != "procops: error: cannot start: the supervisor is on its way down\n" {
		t.Error(r)
	}
	s.Want(0, "supervise", "stop", "--now")
	p.WaitLine(`hard    \* ended: 137`)
	p.WantExit(0)
}

func TestStopWithATimeout(t *testing.T) {
	s := harness.New(t)
	s.Config(stubborn)
	p := s.Start("supervise", "run")
	p.WaitLines(`is up$`, 2)
	r := s.Want(1, "supervise", "stop", "--timeout", "1s")
	if !regexp.MustCompile(`^procops: error: the supervisor still runs after 1s: it waits for hard \(pid \d+, \d+s\)\nprocops: hint: .*--now`).MatchString(r.Stderr) {
		t.Error(r)
	}
	s.Want(0, "supervise", "stop", "--now")
	p.WantExit(0)
}
