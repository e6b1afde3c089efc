package proc

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// survivorScript counts aloud until it is told to end, and has a companion that
// has left its session.
const survivorScript = `trap "exit 7" TERM
setsid sleep 1000 &
i=0
while :; do i=$((i+1)); echo tick $i; sleep 0.01; done`

// helpSurvivor is a procops with one program that outlives it.
func helpSurvivor() error {
	h, err := NewHost(HostOptions{Guard: true, Subreaper: true, RunToken: os.Getenv("SURVIVOR_TOKEN")})
	if err != nil {
		return err
	}
	s := shSpec(survivorScript)
	s.Survive = "web"
	s.Env = []string{"HELLO=there"}
	heard := make(chan struct{})
	s.Output = func(l Line) {
		if string(l.Text) == "tick 3" {
			close(heard)
		}
	}
	p, err := h.Start(s)
	if err != nil {
		return err
	}
	if _, err := h.Start(shSpec("exec sleep 1001")); err != nil {
		return err
	}
	<-heard
	if err := json.NewEncoder(os.Stdout).Encode(p.Identity()); err != nil {
		return err
	}
	select {}
}

// killedWithSurvivor starts helpSurvivor outside of any Host, kills it and returns
// who has outlived it.
func killedWithSurvivor(tb testing.TB, token string) Identity {
	tb.Helper()
	s := helperSpec(tb, "survivor", "SURVIVOR_TOKEN="+token)
	cmd := exec.CommandContext(tb.Context(), s.Argv[0])
	cmd.Env, cmd.Stderr = s.Env, os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if _, err := SweepSurvivor(token, ""); err != nil {
			tb.Error(err)
		}
	})
	var id Identity
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &id)
	}
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		tb.Fatal(err)
	}
	_ = cmd.Wait()
	eventually(tb, "the others have ended", func() bool { return len(markedBy(tb, token+":")) == 0 })
	return id
}

// markedBy returns the pids whose marker begins with the text.
func markedBy(tb testing.TB, text string) (pids []int) {
	tb.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		tb.Fatal(err)
	}
	for _, file := range files {
		environ, _ := os.ReadFile(file)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if strings.Contains(string(environ), markerName+"="+text) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestSurvivorIsTakenBack(t *testing.T) {
	token := fmt.Sprintf("survivor-test-%d", os.Getpid())
	id := killedWithSurvivor(t, token)
	if !id.Alive() {
		t.Fatal("it has not outlived procops")
	}
	if got := id.Variable("HELLO"); got != "there" {
		t.Errorf("HELLO is %q in its environment", got)
	}
	found := Survivors(token)
	if len(found) != 1 || len(found["web"]) < 2 {
		t.Fatalf("found %v, want the shell, its companion and perhaps what it runs now", found)
	}

	h := newTestHost(t, HostOptions{Subreaper: true, Guard: true, RunToken: token})
	out := newOutput()
	other := id
	other.Start++
	if _, err := h.TakeBack(other, out.addAll); err == nil {
		t.Error("another process with its pid was taken back")
	}
	before := time.Now()
	p, err := h.TakeBack(id, out.addAll)
	if err != nil {
		t.Fatal(err)
	}
	if age := before.Sub(p.Started()); age < 0 || age > patience {
		t.Errorf("it started %v ago", age)
	}
	first, err := strconv.Atoi(out.await(t, "tick "))
	if err != nil {
		t.Fatal(err)
	}
	for want := first + 1; want < first+5; want++ {
		if got := out.await(t, "tick "); got != strconv.Itoa(want) {
			t.Errorf("after the first line came %s, want %d", got, want)
		}
	}
	if err := p.Stop(t.Context(), Ladder{Steps: []Step{{Signal: Signal(syscall.SIGTERM), Wait: patience}}}); err != nil {
		t.Fatal(err)
	}
	if got, want := p.Exit(), (Exit{Code: 7}); tellsExits(t) && got != want || !tellsExits(t) && !got.Unknown {
		t.Errorf("it ended with %+v, want %+v where the kernel tells it", got, want)
	}
	if err := p.Signal(Signal(syscall.SIGTERM)); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("a signal after its end: %v", err)
	}
	if killed, err := SweepSurvivor(token, "web"); err != nil || len(killed) != 1 {
		t.Errorf("swept %v, %v; want the companion", killed, err)
	}
	if left := markedBy(t, token+"."); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// tellsExits reports whether the kernel tells how a process has ended that is no
// child.
func tellsExits(tb testing.TB) bool {
	tb.Helper()
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		tb.Fatal(err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor); err != nil {
		tb.Fatal(err)
	}
	return major > 6 || major == 6 && minor >= 15
}

// TestSurvivorKilledBehindOurBack: the end of one that is no child is noticed.
func TestSurvivorKilledBehindOurBack(t *testing.T) {
	token := fmt.Sprintf("survivor-killed-%d", os.Getpid())
	id := killedWithSurvivor(t, token)
	h := newTestHost(t, HostOptions{RunToken: token})
	p, err := h.TakeBack(id, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(id.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "exited", p.Exited())
	if got := p.Exit(); tellsExits(t) && got.Signal != syscall.SIGKILL {
		t.Errorf("it ended with %+v", got)
	}
	if err := p.Stop(t.Context(), Ladder{}); err != nil { // its last sleep
		t.Error(err)
	}
	await(t, "gone", p.Gone())
	if _, err := h.TakeBack(id, nil); err == nil {
		t.Error("one that has ended was taken back")
	}
}

// TestCloseEndsWhoWasTakenBack: an end in order is the end of all.
func TestCloseEndsWhoWasTakenBack(t *testing.T) {
	token := fmt.Sprintf("survivor-close-%d", os.Getpid())
	id := killedWithSurvivor(t, token)
	h := newTestHost(t, HostOptions{RunToken: token})
	if _, err := h.TakeBack(id, nil); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if id.Alive() {
		t.Error("it outlives a Host that was closed")
	}
}

func TestSurviveNeedsANameAndAToken(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	s := shSpec("exit 0")
	s.Survive = "web"
	if _, err := h.Start(s); err == nil {
		t.Error("started without a run token")
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h = newTestHost(t, HostOptions{RunToken: "survive-names"})
	for _, name := range []string{"a.b", "a:b", "a b", strings.Repeat("x", maxSurvive+1)} {
		s.Survive = name
		if _, err := h.Start(s); err == nil {
			t.Errorf("started with the name %q", name)
		}
	}
}

// TestSweepAwaitsWhoIsEnding: a process that somebody else has killed is not gone while
// its memory is being freed, which takes a while for a large one: it holds its lock, and
// cannot be known by its marker any more.
func TestSweepAwaitsWhoIsEnding(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	const program = `import fcntl, sys, time
f = open(sys.argv[1], "w")
fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
m = bytearray(b"x") * (300 << 20)
print("up", flush=True)
time.sleep(1000)`
	const token = "ending"
	h := newTestHost(t, HostOptions{RunToken: token})
	for range 5 {
		up := make(chan struct{}, 1)
		p, err := h.Start(Spec{Argv: []string{"python3", "-c", program, path}, Output: func(l Line) {
			if string(l.Text) == "up" {
				up <- struct{}{}
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-up:
		case <-p.Exited():
			t.Fatalf("it has ended with %s", p.Exit().Text())
		}
		if err := syscall.Kill(p.PID(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if _, err := Sweep(token); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			t.Error("all is swept, and one still holds its lock")
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		<-p.Gone()
	}
}
