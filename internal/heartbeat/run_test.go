package heartbeat

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"procops/internal/fault"
	"procops/internal/proc"
	"procops/internal/store"
	"procops/internal/unit"
)

func TestRunPassesTheExitCodeOn(t *testing.T) {
	s := newStage(t)
	for _, test := range []struct {
		script  string
		code    int
		state   RunState
		status  Status
		message string
	}{
		{"exit 0", 0, RunSucceeded, OK, ""},
		{"exit 1", 1, RunFailed, Critical, "failed with exit code 1"},
		{"exit 255", 255, RunFailed, Critical, "failed with exit code 255"},
		{"kill -TERM $$", 143, RunFailed, Critical, "ended by signal TERM"},
		{"kill -KILL $$", 137, RunFailed, Critical, "ended by signal KILL"},
		{"exit 0", 0, RunSucceeded, OK, ""},
	} {
		if code := s.run(test.script); code != test.code {
			t.Errorf("%s: code %d", test.script, code)
		}
		r := s.lastRun()
		if r.State != test.state || r.Code != test.code || r.Message != test.message || r.Program != "/bin/sh" || r.Duration <= 0 || r.Ended.IsZero() {
			t.Errorf("%s: recorded %+v", test.script, r)
		}
		k := s.knockOne("job")
		if k.Status != test.status || !strings.HasPrefix(k.Message, test.message) {
			t.Errorf("%s: knock %s %q", test.script, k.Status, k.Message)
		}
		if last := k.Heartbeat.Last; last.Client.PID == 0 || last.Client.Memory == 0 {
			t.Errorf("%s: client %+v", test.script, last.Client)
		}
	}
	if n := s.knockOne("job").Heartbeat.Last.Number; n != 6 {
		t.Errorf("%d beats for 6 runs", n)
	}
	want := "heartbeat.attached job|heartbeat.state_changed job|heartbeat.run.started job|" +
		"heartbeat.state_changed job|heartbeat.run.succeeded job|heartbeat.status_changed job|" +
		"heartbeat.state_changed job|heartbeat.run.started job|heartbeat.state_changed job|heartbeat.alert job|heartbeat.run.failed job"
	if got := strings.Join(s.events(), "|"); !strings.HasPrefix(got, want) {
		t.Errorf("events %s", got)
	}
}

func TestRunPassesBytesOn(t *testing.T) {
	s := newStage(t)
	random := make([]byte, 3<<20)
	_, _ = rand.Read(random)
	done := s.start("/bin/cat")
	go func() {
		_, _ = s.stdin.Write(random)
		_ = s.stdin.Close()
	}()
	got := make(chan string, 1)
	if o := s.wait(done); o.code != 0 || o.err != nil {
		t.Fatalf("%+v", o)
	}
	go func() { got <- s.stdout.all() }()
	select {
	case out := <-got:
		if out != string(random) {
			t.Errorf("%d bytes came out, not those %d that went in", len(out), len(random))
		}
	case <-time.After(deadline):
		t.Fatal("the output does not end")
	}
	if r := s.lastRun(); !bytes.Equal(r.Output, random[len(random)-outputKept:]) {
		t.Errorf("%d bytes are kept, not the last %d", len(r.Output), outputKept)
	}
}

// TestRunPassesOutputOnAtOnce has the command wait for an answer to a prompt
// that does not end its line.
func TestRunPassesOutputOnAtOnce(t *testing.T) {
	s := newStage(t)
	done := s.start("/bin/sh", "-c", `printf 'name? '; read name; printf 'bye %s' "$name"; printf oops >&2`)
	s.stdout.until("name? ")
	if _, err := s.stdin.WriteString("sam\n"); err != nil {
		t.Fatal(err)
	}
	if o := s.wait(done); o.code != 0 {
		t.Errorf("%+v", o)
	}
	if out, errs := s.stdout.all(), s.stderr.all(); out != "name? bye sam" || errs != "oops" {
		t.Errorf("stdout %q, stderr %q", out, errs)
	}
}

// TestRunKeepsTheOrder gives both streams one file, as 2>&1 does.
func TestRunKeepsTheOrder(t *testing.T) {
	s := newStage(t)
	s.wrap.Stderr = s.wrap.Stdout
	var want strings.Builder
	for i := range 200 {
		fmt.Fprintf(&want, "out %d\nerr %d\n", i, i)
	}
	s.run(`i=0; while [ $i -lt 200 ]; do echo "out $i"; echo "err $i" >&2; i=$((i+1)); done`)
	if got := s.stdout.all(); got != want.String() {
		t.Error("the order of the two streams was lost")
	}
	if got := string(s.lastRun().Output); got != want.String() {
		t.Errorf("kept: %q", got)
	}
}

func TestRunThatCannotStart(t *testing.T) {
	s := newStage(t)
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		program string
		code    int
		is      error
	}{
		{"no-such-program", CodeNotFound, fs.ErrNotExist},
		{"/no/such/program", CodeNotFound, fs.ErrNotExist},
		{plain, CodeNotExecutable, fs.ErrPermission},
		{t.TempDir(), CodeNotExecutable, fs.ErrPermission},
	} {
		o := s.wait(s.start(test.program))
		if o.code != test.code || !errors.Is(o.err, test.is) {
			t.Errorf("%s: %+v", test.program, o)
		}
		if r := s.lastRun(); r.State != RunFailed || r.Code != test.code || r.Message != o.err.Error() {
			t.Errorf("%s: recorded %+v", test.program, r)
		}
	}
}

// grandchild starts a process in the background and prints its pid.
const grandchild = "sleep 1000 & echo pid $! end; "

func (s *stage) grandchildPID() int {
	s.t.Helper()
	fields := strings.Fields(s.stdout.until(" end"))
	pid, err := strconv.Atoi(fields[1])
	s.must(err)
	return pid
}

func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(stat, []byte(") Z "))
}

func TestMaxRuntimeEndsTheWholeGroup(t *testing.T) {
	s := newStage(t)
	s.wrap.MaxRuntime = time.Second
	begin := time.Now()
	done := s.start("/bin/sh", "-c", grandchild+"wait")
	pid := s.grandchildPID()
	o := s.wait(done)
	if o.code != CodeTimeout || o.err != nil {
		t.Errorf("%+v", o)
	}
	if running(pid) {
		t.Error("a process of the group still runs")
	}
	if took := time.Since(begin); took < s.wrap.MaxRuntime {
		t.Errorf("ended after %s", took)
	}
	if r := s.lastRun(); r.State != RunFailed || r.Message != "ended after --max-runtime 1s" {
		t.Errorf("recorded %+v", r)
	}
}

func TestMaxRuntimeKillsWhatIgnoresSIGTERM(t *testing.T) {
	s := newStage(t)
	s.wrap.MaxRuntime = time.Second
	done := s.start("/bin/sh", "-c", `trap "" TERM; `+grandchild+"while :; do wait; done")
	pid := s.grandchildPID()
	if o := s.wait(done); o.code != CodeTimeout {
		t.Errorf("%+v", o)
	}
	if running(pid) {
		t.Error("a process of the group still runs")
	}
}

func TestBackgroundProcessDoesNotHangRun(t *testing.T) {
	s := newStage(t)
	done := s.start("/bin/sh", "-c", grandchild+"exit 7")
	pid := s.grandchildPID()
	if o := s.wait(done); o.code != 7 {
		t.Errorf("%+v", o)
	}
	if !running(pid) {
		t.Error("the background process was ended")
	}
}

// TestLastWordsAreNotLost lets a command end beside a full pipe that a
// background process holds open, and reads it only then.
func TestLastWordsAreNotLost(t *testing.T) {
	s := newStage(t)
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	s.wrap.Stdout = out
	const size = 60_000 // fits into a pipe
	if code := s.run(fmt.Sprintf("sleep 1000 & head -c %d /dev/zero; printf end", size)); code != 0 {
		t.Errorf("code %d", code)
	}
	got, err := os.ReadFile(out.Name())
	if err != nil || len(got) != size+3 || !bytes.HasSuffix(got, []byte("end")) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestSignalsReachTheCommand(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2} {
		t.Run(proc.Signal(sig).String(), func(t *testing.T) {
			s := newStage(t)
			name := proc.Signal(sig).String()
			done := s.start("/bin/sh", "-c", fmt.Sprintf(`trap "echo got; exit 5" %s; echo ready; while :; do sleep 0.02; done`, name))
			s.stdout.until("ready")
			s.signals <- syscall.SIGPIPE // must not reach it
			s.signals <- sig
			if o := s.wait(done); o.code != 5 {
				t.Errorf("%+v", o)
			}
			// The shell may tell of the end of sleep as well.
			if r := s.lastRun(); r.State != RunFailed || r.Code != 5 || !strings.Contains(string(r.Output), "got\n") {
				t.Errorf("recorded %+v, output %q", r, r.Output)
			}
		})
	}
}

func TestSignalThatEndsTheCommandIsRecorded(t *testing.T) {
	s := newStage(t)
	done := s.start("/bin/sh", "-c", "echo ready; sleep 1000; echo never")
	s.stdout.until("ready")
	s.signals <- syscall.SIGTERM
	if o := s.wait(done); o.code != 128+15 {
		t.Errorf("%+v", o)
	}
	if k := s.knockOne("job"); k.Status != Critical || !strings.HasPrefix(k.Message, "ended by signal TERM") {
		t.Errorf("knock %s %q", k.Status, k.Message)
	}
}

func TestUserSignalsAreForTheCommandAlone(t *testing.T) {
	s := newStage(t)
	done := s.start("/bin/sh", "-c", `trap "echo got" USR1; `+grandchild+`wait; wait; echo over`)
	pid := s.grandchildPID()
	s.signals <- syscall.SIGUSR1
	s.stdout.until("got")
	if !running(pid) {
		t.Error("SIGUSR1 ended a process that the command has started")
	}
	s.signals <- syscall.SIGTERM
	if o := s.wait(done); o.code != 143 {
		t.Errorf("%+v", o)
	}
}

func TestReaderThatGoesAwayEndsTheCommand(t *testing.T) {
	s := newStage(t)
	r, w := pipe(t)
	s.wrap.Stdout = w
	done := s.start("/usr/bin/yes")
	if _, err := r.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	if o := s.wait(done); o.code != 128+int(syscall.SIGPIPE) {
		t.Errorf("%+v", o)
	}
}

func TestFullDiskOfTheOutputDoesNotEndTheCommand(t *testing.T) {
	s := newStage(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = full.Close() }()
	s.wrap.Stdout = full
	if code := s.run("echo one; echo two; head -c 200000 /dev/zero; echo done >&2"); code != 0 {
		t.Errorf("code %d", code)
	}
	if got := s.stderr.all(); got != "done\n" {
		t.Errorf("stderr %q", got)
	}
}

func TestRunWithoutState(t *testing.T) {
	s := newStage(t)
	s.wrap.Open = func(context.Context) (*List, func() error, error) {
		return nil, nil, errors.New("cannot open state: it is broken")
	}
	if code := s.run("echo hello; exit 3"); code != 3 {
		t.Errorf("code %d", code)
	}
	if got := s.stdout.all(); got != "hello\n" {
		t.Errorf("stdout %q", got)
	}
	for _, what := range []string{"start", "end"} {
		if err := <-s.warned; err.Error() != `cannot record the `+what+` of this run of "job": cannot open state: it is broken` {
			t.Error(err)
		}
	}
}

// TestStateThatHangs delays a command by about a second only.
func TestStateThatHangs(t *testing.T) {
	s := newStage(t)
	release := make(chan struct{})
	defer close(release)
	s.wrap.Open = func(context.Context) (*List, func() error, error) {
		<-release
		return nil, nil, errors.New("released")
	}
	begin := time.Now()
	done := s.start("/bin/sh", "-c", "echo started; exit 4")
	s.stdout.until("started")
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the command started after %s", took)
	}
	if o := s.wait(done); o.code != 4 {
		t.Errorf("%+v", o)
	}
	for range 2 {
		if err := <-s.warned; !errors.Is(err, errSlow) {
			t.Error(err)
		}
	}
}

// TestStateThatComesBack records a run as a whole when its start could not be.
func TestStateThatComesBack(t *testing.T) {
	s := newStage(t)
	broken := true
	open := s.wrap.Open
	s.wrap.Open = func(ctx context.Context) (*List, func() error, error) {
		if broken {
			broken = false
			return nil, nil, errors.New("not yet")
		}
		return open(ctx)
	}
	if code := s.run("echo out; exit 6"); code != 6 {
		t.Errorf("code %d", code)
	}
	if r := s.lastRun(); r.Code != 6 || r.State != RunFailed || string(r.Output) != "out\n" || r.Started.IsZero() {
		t.Errorf("recorded %+v", r)
	}
	if err := <-s.warned; !strings.Contains(err.Error(), "cannot record the start") {
		t.Error(err)
	}
}

func TestNoOverlap(t *testing.T) {
	s := newStage(t)
	s.wrap.NoOverlap = true
	first := s.start("/bin/sh", "-c", "echo ready; read line; exit 1")
	s.stdout.until("ready")

	o := s.wait(s.start("/bin/true"))
	wantFault(t, o.err, fault.Conflict, `cannot run "job": another run of it is under way`, "--wait")
	if runs, err := s.Runs(t.Context(), "job", KeptFilter{Limit: 10}); err != nil || len(runs) != 1 {
		t.Errorf("the refused run was recorded: %v, %v", runs, err)
	}

	if _, err := s.stdin.WriteString("go\n"); err != nil {
		t.Fatal(err)
	}
	if o := s.wait(first); o.code != 1 || o.err != nil {
		t.Errorf("the first run: %+v", o)
	}
	if o := s.wait(s.start("/bin/true")); o.code != 0 || o.err != nil {
		t.Errorf("a run after it: %+v", o)
	}
}

func TestWaitForTheOtherRun(t *testing.T) {
	s := newStage(t)
	s.wrap.NoOverlap = true
	first := s.start("/bin/sh", "-c", "echo ready; read line; echo first")
	s.stdout.until("ready")
	waiting := *s
	waiting.signals = make(chan os.Signal, 1)
	waiting.wrap.Signals = waiting.signals
	waiting.wrap.Wait = true
	second := waiting.start("/bin/sh", "-c", "echo second")
	third := waiting.wrap
	third.Argv = []string{"/bin/true"}
	gone := make(chan os.Signal, 1)
	third.Signals = gone
	third.Name = "job"
	interrupted := make(chan outcome, 1)
	go func() {
		code, err := third.Run(context.Background(), s.host)
		interrupted <- outcome{code, err}
	}()
	gone <- syscall.SIGINT
	if o := s.wait(interrupted); o.code != 130 || o.err != nil {
		t.Errorf("the interrupted wait: %+v", o)
	}
	if _, err := s.stdin.WriteString("go\n"); err != nil {
		t.Fatal(err)
	}
	if o := s.wait(first); o.code != 0 {
		t.Errorf("%+v", o)
	}
	if o := s.wait(second); o.code != 0 || o.err != nil {
		t.Errorf("%+v", o)
	}
	if got := s.stdout.all(); got != "ready\nfirst\nsecond\n" {
		t.Errorf("output %q", got)
	}
}

func TestNoOverlapNeedsItsLock(t *testing.T) {
	s := newStage(t)
	s.wrap.NoOverlap = true
	s.wrap.LockDir = "/dev/null/locks"
	o := s.wait(s.start("/bin/true"))
	wantFault(t, o.err, fault.Failure, "cannot make sure that no other run", "--no-overlap")
}

func TestRunRefusesBadNames(t *testing.T) {
	s := newStage(t)
	s.wrap.Name = "../x"
	s.wrap.NoOverlap = true
	o := s.wait(s.start("/bin/true"))
	wantFault(t, o.err, fault.Usage, "invalid name")
}

// TestLostRun records a run whose wrapper is no longer there.
func TestLostRun(t *testing.T) {
	w := newWorld(t, Config{})
	id, err := w.startRun(t.Context(), Run{Name: "job", Program: "x", Started: w.clock.now})
	w.must(err)
	if k := w.knockOne("job"); k.Status != Unknown || k.Run == nil || k.Run.State != RunRunning {
		t.Errorf("a run under way: %+v", k)
	}
	w.must(w.store.Update(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec("UPDATE heartbeat_runs SET pid_start = pid_start + 1 WHERE id = ?", id)
		return err
	}))
	if runs, err := w.Runs(t.Context(), "job", KeptFilter{Limit: 1}); err != nil || runs[0].State != RunLost {
		t.Errorf("the list of runs: %+v, %v", runs, err)
	}
	k := w.knockOne("job")
	if k.Status != Critical || !strings.Contains(k.Message, "cut off") || k.Run.State != RunLost {
		t.Errorf("a lost run: %+v", k)
	}
	if events := strings.Join(w.events(), "|"); !strings.Contains(events, "heartbeat.run.lost job") {
		t.Errorf("events %s", events)
	}
	// Later news are better news.
	w.clock.move(time.Second)
	w.beat("job")
	if k := w.knockOne("job"); k.Status != OK {
		t.Errorf("after a beat: %+v", k)
	}
}

// TestLostRunIsTold: the monitor tells that a run was cut off, once, and does not leave it
// at a bad status.
func TestLostRunIsTold(t *testing.T) {
	w := newWorld(t, Config{Heartbeats: map[string]Target{"job": {Period: unit.Duration(24 * time.Hour), Pulse: minutes(1)}}})
	w.pass(Deps{})
	_, err := w.startRun(t.Context(), Run{Name: "job", Program: "x", Started: w.clock.now})
	w.must(err)
	w.watchFor(2 * time.Minute)
	if got := w.alerts(); got != "" || w.state("job") != StateStarted {
		t.Errorf("alerts %q, it is %s", got, w.state("job"))
	}
	w.exec("UPDATE heartbeat_runs SET pid_start = pid_start + 1")
	w.watchFor(5 * time.Minute)
	if got := w.alerts(); got != "down job" || w.state("job") != StateDown {
		t.Errorf("alerts %q, it is %s", got, w.state("job"))
	}
	var message string
	w.must(w.store.View(t.Context(), func(tx *store.Tx) error {
		return tx.QueryRow("SELECT message FROM heartbeat_alerts").Scan(&message)
	}))
	if message != cutOffText {
		t.Errorf("the alert says %q", message)
	}
	w.beat("job")
	w.watchFor(time.Minute)
	if got := w.alerts(); got != "down job, recovered job" {
		t.Errorf("alerts %q", got)
	}
}

func TestRunsAreKeptByCount(t *testing.T) {
	w := newWorld(t, Config{HistoryKeep: 3})
	for i := range 6 {
		r := Run{Name: "job", Program: "x", State: RunSucceeded, Started: w.clock.now, Ended: w.clock.now}
		var err error
		r.ID, err = w.startRun(t.Context(), r)
		w.must(err)
		r.Message = fmt.Sprint(i)
		w.must(w.endRun(t.Context(), r, Client{}))
	}
	runs, err := w.Runs(t.Context(), "job", KeptFilter{Limit: 100})
	w.must(err)
	var kept []string
	for _, r := range runs {
		kept = append(kept, r.Message)
	}
	if got := strings.Join(kept, " "); got != "3 4 5" {
		t.Errorf("kept: %s", got)
	}
}

// TestTailKeepsTheEnd writes in pieces of many sizes.
func TestTailKeepsTheEnd(t *testing.T) {
	var (
		kept tail
		all  []byte
	)
	for size := range 700 {
		piece := bytes.Repeat([]byte{byte(size)}, size%97*7)
		kept.add(piece)
		all = append(all, piece...)
		if want := all[max(0, len(all)-outputKept):]; !bytes.Equal(kept.bytes(), want) {
			t.Fatalf("after %d bytes: %d are kept", len(all), len(kept.bytes()))
		}
	}
	if _, err := io.Copy(tailWriter{&kept}, bytes.NewReader(bytes.Repeat([]byte("x"), 5*outputKept))); err != nil {
		t.Fatal(err)
	}
	if got := kept.bytes(); len(got) != outputKept || bytes.Count(got, []byte("x")) != outputKept {
		t.Errorf("%d bytes are kept", len(got))
	}
}

type tailWriter struct{ *tail }

func (w tailWriter) Write(p []byte) (int, error) {
	w.add(p)
	return len(p), nil
}
