package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"procops/internal/proc"
	"procops/internal/sdnotify"
	"procops/internal/unit"
)

// speaker is a process in Python that can call say("READY=1").
func speaker(script string) ProcessConfig {
	p := sh("")
	// Debian's: another one in PATH may be a wrapper that takes seconds to begin.
	p.Command = proc.Command{"/usr/bin/python3", "-c", `
import os, socket, sys, time, array
def connect():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.connect("\0" + os.environ["NOTIFY_SOCKET"][1:])
    return s
s = connect()
def say(text): s.send(text.encode())
` + script}
	p.Ready.Notify = true
	return p
}

// listed waits until the status of a process is as wanted; what it waits for has
// no event.
func (r *rig) listed(name, what string, wanted func(ProcessStatus) bool) ProcessStatus {
	r.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for {
		p := r.process(name)
		if wanted(p) {
			return p
		}
		select {
		case <-again.C:
		case <-deadline.C:
			r.t.Fatalf("%s is not %s: %+v; events:\n%s", name, what, p, r.history())
		}
	}
}

// failure returns the text of the first failure of the tree, which has ended.
func (r *rig) failure() string {
	r.t.Helper()
	rep := r.report()
	if len(rep.Failures) == 0 {
		r.t.Fatalf("nothing has failed; events:\n%s", r.history())
	}
	return rep.Failures[0].Text
}

// TestNotifyFromAChild: systemd-notify is a child of the process. It waits, by
// BARRIER=1, until what it has said has been dealt with.
func TestNotifyFromAChild(t *testing.T) {
	p := sh(`systemd-notify --ready --status='serves 3 clients' --pid=$$ && echo said; exec sleep 1000`)
	p.Ready.Notify = true
	r := newRig(t, processes(map[string]ProcessConfig{"p": p}))
	r.await("supervise.process.running", "p", 1)
	got := r.process("p")
	if !got.Ready || got.StatusText != "serves 3 clients" || got.MainPID != got.PID {
		t.Errorf("status %+v", got)
	}
	if err := r.s.Logs(t.Context(), LogRequest{Follow: true, Lines: 1}, func(l LogLine) error {
		if l.Text != "said" {
			return fmt.Errorf("it wrote %q", l.Text)
		}
		return errStop
	}); !errors.Is(err, errStop) {
		t.Error(err)
	}
}

// errStop ends the reading of logs.
const errStop = textError("enough")

type textError string

func (e textError) Error() string { return string(e) }

// TestBarrierIsAnswered: without procops' answer systemd-notify would fail after
// five seconds.
func TestBarrierIsAnswered(t *testing.T) {
	p := sh(`systemd-notify --status=one && systemd-notify --status=two && systemd-notify --ready; exec sleep 1000`)
	p.Ready.Notify = true
	r := newRig(t, processes(map[string]ProcessConfig{"p": p}))
	begin := time.Now()
	r.await("supervise.process.running", "p", 1)
	if got := r.process("p").StatusText; got != "two" || time.Since(begin) > 5*time.Second {
		t.Errorf("status %q after %s", got, time.Since(begin))
	}
}

// TestNotifyFromADescendantInItsOwnSession: it is not in the group, but below it.
func TestNotifyFromADescendantInItsOwnSession(t *testing.T) {
	p := sh(`(setsid --wait systemd-notify --ready; true); exec sleep 1000`)
	p.Ready.Notify = true
	r := newRig(t, processes(map[string]ProcessConfig{"p": p}))
	r.await("supervise.process.running", "p", 1)
}

// TestNotifyFromAStrangerIsIgnored: who knows the socket's name does not belong
// to the process yet. A sibling does not, either.
func TestNotifyFromAStrangerIsIgnored(t *testing.T) {
	dir := t.TempDir()
	socket, done := filepath.Join(dir, "socket"), filepath.Join(dir, "done")
	p := speaker(`
say("STATUS=mine")
open("` + socket + `.new", "w").write(os.environ["NOTIFY_SOCKET"])
os.rename("` + socket + `.new", "` + socket + `")
while not os.path.exists("` + done + `"): time.sleep(0.005)
say("READY=1")
time.sleep(1000)
`)
	sibling := sh(`while ! test -e ` + socket + `; do sleep 0.01; done
		NOTIFY_SOCKET=$(cat ` + socket + `) systemd-notify --ready --status=sibling`)
	r := newRig(t, processes(map[string]ProcessConfig{"p": p, "sibling": sibling}))
	r.await("supervise.process.completed", "sibling", 1)
	name, err := os.ReadFile(socket)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := net.Dial("unixgram", string(name)) //nolint:noctx // it does not wait
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stranger.Close() }()
	for range 10 {
		if _, err := stranger.Write([]byte("READY=1\nSTATUS=stranger")); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.process("p"); got.State != StateStarting || got.StatusText != "mine" {
		t.Errorf("status %+v", got)
	}
	if err := os.WriteFile(done, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// What the strangers sent comes before this in the queue.
	r.await("supervise.process.running", "p", 1)
	if got := r.process("p"); got.StatusText != "mine" {
		t.Errorf("status %+v", got)
	}
	if got := r.order("supervise.process.running"); !slices.Equal(got, []string{"sibling", "p"}) {
		t.Errorf("ready in order %v", got)
	}
}

func TestNotifySocketIsNotHandedOn(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "@of-the-manager-above")
	t.Setenv("WATCHDOG_USEC", "1")
	t.Setenv("WATCHDOG_PID", "1")
	r := newRig(t, processes(map[string]ProcessConfig{"p": sh(`test -z "$NOTIFY_SOCKET$WATCHDOG_USEC$WATCHDOG_PID"`)}))
	if rep := r.report(); rep.ExitCode() != 0 {
		t.Errorf("report %+v", rep)
	}
}

// TestNotReadyInTime: each process of one tree fails for a reason of its own,
// which the failure tells; but the one that has asked for more time.
func TestNotReadyInTime(t *testing.T) {
	const timeout = 3 * time.Second // time enough for an interpreter to begin on a busy machine
	quick := unit.Duration(10 * time.Millisecond)
	asked := func(r ReadyConfig) ProcessConfig {
		r.Interval, r.TryTimeout = quick, max(r.TryTimeout, 10*quick)
		return with(forever(), func(p *ProcessConfig) { p.Ready = r })
	}
	withFD := func(script string) ProcessConfig {
		return with(sh(script+"; exec sleep 1000"), func(p *ProcessConfig) { p.Ready.FD = 4 })
	}
	list := map[string]ProcessConfig{
		"tcp":       asked(ReadyConfig{TCP: "127.0.0.1:1"}),
		"http":      asked(ReadyConfig{HTTP: "http://127.0.0.1:1/"}),
		"exec":      asked(ReadyConfig{Exec: proc.Command{"/bin/sh", "-c", "echo one >&2; echo two >&2; exit 3"}, TryTimeout: unit.Duration(time.Minute)}),
		"missing":   asked(ReadyConfig{Exec: proc.Command{"/no/such"}}),
		"no-answer": asked(ReadyConfig{Exec: proc.Command{"sleep", "1000"}}),
		"log":       asked(ReadyConfig{Log: "x"}),
		"silent":    asked(ReadyConfig{Notify: true}),
		"loading":   speaker(`say("STATUS=loading"); time.sleep(1000)`),
		"longer":    speaker(`say("EXTEND_TIMEOUT_USEC=3500000"); time.sleep(1000)`),
		"longest":   speaker(`say("EXTEND_TIMEOUT_USEC=3600000000"); time.sleep(3.2); say("READY=1"); time.sleep(1000)`),
		"closed":    withFD(`printf x >&4; exec 4>&-`),
		"flooded":   withFD(`head -c 100000 /dev/zero >&4`),
	}
	for name, p := range list {
		p.Ready.Timeout = unit.Duration(timeout)
		p.OnFail = []LinkConfig{{Settle: true}}
		list[name] = p
	}
	r := newRig(t, processes(list))
	r.listed("closed", "seen", func(p ProcessStatus) bool {
		return p.State == StateStarting && p.Reason == "not ready yet: it closed descriptor 4 without a newline"
	})
	r.await("supervise.process.running", "longest", 1)
	got := map[string]string{}
	for name := range list {
		if name != "longest" {
			r.await("supervise.process.fatal", name, 1)
			got[name] = strings.TrimPrefix(r.process(name).Reason, "not ready after 3s")
		}
	}
	want := map[string]string{
		"tcp": ": connection refused", "http": ": connection refused",
		"exec":      ": the command ended with 3 Unknown error: two",
		"missing":   `: cannot start "/no/such": no such file`,
		"no-answer": ": no answer within 100ms",
		"log":       "", "silent": "",
		"loading": `; it said "loading"`,
		"longer":  "not ready in the time that it asked for",
		"closed":  ": it closed descriptor 4 without a newline",
		"flooded": ": it wrote 65536 bytes to descriptor 4 without a newline",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestProcessAsksForMoreTimeToStop: the stop ladder waits for it.
func TestProcessAsksForMoreTimeToStop(t *testing.T) {
	p := speaker(`
import signal
def stop(*_):
    say("STOPPING=1\nEXTEND_TIMEOUT_USEC=3600000000")
    time.sleep(2.3)
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
say("READY=1")
while True: signal.pause()
`)
	p.Stop.Grace = unit.Duration(2 * time.Second)
	r := newRig(t, processes(map[string]ProcessConfig{"p": p}))
	r.await("supervise.process.running", "p", 1)
	r.do(Request{Action: ActionStop, Names: []string{"p"}})
	if got := r.process("p").LastExit; got == nil || got.Code != 0 {
		t.Errorf("it ended with %+v", got)
	}
}

// TestStoppingHasToBeTrue: a process that says that it stops has the time of the
// stop ladder's first step to do so.
func TestStoppingHasToBeTrue(t *testing.T) {
	p := speaker(`say("READY=1"); say("STOPPING=1"); time.sleep(1000)`)
	p.Stop.Grace = unit.Duration(300 * time.Millisecond)
	r := newRig(t, processes(map[string]ProcessConfig{"p": p}))
	if got := r.failure(); got != "it said that it stops, and still runs 300ms later" {
		t.Errorf("failure %q", got)
	}
}

func TestReloadingAndErrno(t *testing.T) {
	dir := t.TempDir()
	next := filepath.Join(dir, "next")
	p := speaker(`
say("READY=1\nRELOADING=1")
while not os.path.exists("` + next + `"): time.sleep(0.005)
say("READY=1\nERRNO=2")
os._exit(5)
`)
	r := newRig(t, processes(map[string]ProcessConfig{"p": p}))
	r.listed("p", "reloading", func(p ProcessStatus) bool { return p.Reloading && p.State == StateRunning })
	if err := os.WriteFile(next, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := r.failure(); got != "5 Unknown error; it reported the error 2 (no such file or directory)" {
		t.Errorf("failure %q", got)
	}
}

// TestFloodOfMessages: a process that says READY=1, STATUS= and more without end,
// with descriptors, and longer than is allowed, keeps nobody else waiting and
// leaves no descriptor open.
func TestFloodOfMessages(t *testing.T) {
	flood := speaker(`
say("READY=1")
fds = array.array("i", [0] * 200)
n = 0
while True:
    n += 1
    s.send(b"X" * 100000)
    s.send(b"")
    s.sendmsg([b"STATUS=%d\nREADY=1\nRELOADING=1\nSTOPPING=0\n\xff\x00" % n], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
`)
	before := openFiles(t)
	r := newRig(t, processes(map[string]ProcessConfig{"flood": flood, "quiet": forever()}))
	r.await("supervise.process.running", "flood", 1)
	r.listed("flood", "read on", func(p ProcessStatus) bool {
		n, _ := strconv.Atoi(p.StatusText)
		return n > 2*sdnotify.MessagesPerSecond/3
	})
	begin := time.Now()
	for range 100 {
		r.do(Request{Action: ActionRestart, Names: []string{"quiet"}, NoWait: true})
		r.process("flood")
	}
	if took := time.Since(begin); took > patience/2 {
		t.Errorf("100 orders took %s", took)
	}
	if n := openFiles(t); n > before+50 {
		t.Errorf("%d descriptors are open, before %d", n, before)
	}
	r.do(Request{Action: ActionStop, Names: []string{"flood"}})
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestReadyByDescriptor(t *testing.T) {
	for name, c := range map[string]struct {
		fd     int
		script string
	}{
		"three":              {3, `printf '\n' >&3; exec sleep 1000`},
		"text before":        {3, `printf 'all is ' >&3; sleep 0.05; printf 'well\nx' >&3; exec sleep 1000`},
		"nine":               {9, `exec 8>&9; echo >&8; exec sleep 1000`},
		"closed by the rest": {5, `sleep 1000 5>&- & echo >&5; exec 5>&-; wait`},
	} {
		t.Run(name, func(t *testing.T) {
			p := sh(c.script)
			p.Ready.FD = c.fd
			r := newRig(t, processes(map[string]ProcessConfig{"p": p}))
			r.await("supervise.process.running", "p", 1)
		})
	}
}

// TestOnlyTheDescriptorIsHandedOver: those below it are closed.
func TestOnlyTheDescriptorIsHandedOver(t *testing.T) {
	p := sh(`test ! -e /proc/$$/fd/3 && test ! -e /proc/$$/fd/4 && test ! -e /proc/$$/fd/6 && echo >&5`)
	p.Ready.FD = 5
	r := newRig(t, processes(map[string]ProcessConfig{"p": p}))
	if rep := r.report(); rep.ExitCode() != 0 {
		t.Errorf("report %+v", rep)
	}
}

func TestReadyByHTTP(t *testing.T) {
	var status atomic.Int32
	status.Store(http.StatusServiceUnavailable)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(status.Load())) }))
	defer server.Close()
	p := with(forever(), func(p *ProcessConfig) { p.Ready.HTTP = server.URL })
	r := newRig(t, processes(map[string]ProcessConfig{"p": p}))
	r.listed("p", "refused", func(p ProcessStatus) bool {
		return p.State == StateStarting && p.Reason == "not ready yet: the answer is 503 Service Unavailable"
	})
	status.Store(http.StatusNoContent)
	r.await("supervise.process.running", "p", 1)
}

// TestReadyByCommand: it finds the process's environment, directory and pid, and
// an attempt that takes too long is given up.
func TestReadyByCommand(t *testing.T) {
	dir := t.TempDir()
	p := with(sh(`touch begun; exec sleep 1000`), func(p *ProcessConfig) {
		p.Dir = dir
		p.Env = map[string]string{"WORD": "open sesame"}
		p.Ready.TryTimeout = unit.Duration(time.Second)
		p.Ready.Exec = proc.Command{"/bin/sh", "-c", `
			echo try >>tries
			test -e begun && kill -0 "$PROCOPS_PID" && test "$WORD $PROCOPS_PROCESS" = "open sesame p" || exit 1
			test -e hung || { touch hung; exec sleep 1000; }
			test "$(wc -l <tries)" -ge 4 || { echo not yet >&2; exit 3; }`}
	})
	r := newRig(t, processes(map[string]ProcessConfig{"p": p}))
	r.await("supervise.process.running", "p", 1)
	if n := count(t, filepath.Join(dir, "tries")); n < 4 {
		t.Errorf("ready after %d attempts, want 4 or more", n)
	}
}

// TestEachRunHasItsOwnSocket: what a run has said does not make its successor
// ready.
func TestEachRunHasItsOwnSocket(t *testing.T) {
	dir := t.TempDir()
	p := with(speaker(`
open("`+dir+`/sockets", "a").write(os.environ["NOTIFY_SOCKET"] + "\n")
if not os.path.exists("`+dir+`/second"):
    open("`+dir+`/second", "w")
    say("READY=1\nSTATUS=first")
    os.kill(os.getpid(), 9)
time.sleep(1000)
`), func(p *ProcessConfig) { p.Restart = RestartAlways })
	r := newRig(t, processes(map[string]ProcessConfig{"p": p}))
	r.await("supervise.process.starting", "p", 2)
	r.listed("p", "up again", func(ProcessStatus) bool { return count(t, filepath.Join(dir, "sockets")) == 2 })
	raw, err := os.ReadFile(filepath.Join(dir, "sockets"))
	if err != nil {
		t.Fatal(err)
	}
	names := bytes.Fields(raw)
	if bytes.Equal(names[0], names[1]) {
		t.Errorf("both runs have the socket %s", names[0])
	}
	if _, err := net.Dial("unixgram", string(names[0])); err == nil { //nolint:noctx // it does not wait
		t.Error("the first run's socket is still there")
	}
	if got := r.process("p"); got.State != StateStarting || got.StatusText != "" {
		t.Errorf("status %+v", got)
	}
}

// TestStopWhileNotReady: neither kind of check holds up the end.
func TestStopWhileNotReady(t *testing.T) {
	list := map[string]ProcessConfig{
		"exec":   with(forever(), func(p *ProcessConfig) { p.Ready.Exec = proc.Command{"sleep", "1000"} }),
		"tcp":    with(forever(), func(p *ProcessConfig) { p.Ready.TCP = "127.0.0.1:1" }),
		"fd":     with(forever(), func(p *ProcessConfig) { p.Ready.FD = 3 }),
		"notify": with(forever(), func(p *ProcessConfig) { p.Ready.Notify = true }),
		"log":    with(forever(), func(p *ProcessConfig) { p.Ready.Log = "x" }),
	}
	r := newRig(t, processes(list))
	for name := range list {
		r.await("supervise.process.starting", name, 1)
	}
	r.cancel()
	if rep := r.report(); rep.ExitCode() != 0 {
		t.Errorf("report %+v", rep)
	}
}
