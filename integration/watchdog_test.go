package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"procops/integration/harness"
)

// beater says WATCHDOG=1 twice in the time that it has, for the first time before
// READY=1, until it is told to fall silent or to give the alarm.
const beater = `
import os, socket, sys, time

def say(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        try: s.sendto(text.encode(), "\0" + os.environ["NOTIFY_SOCKET"][1:])
        except ConnectionRefusedError: pass # nobody supervises at present

def told(what):
    try: os.remove(sys.argv[1] + "." + what)
    except FileNotFoundError: return False
    return True

if int(os.environ["WATCHDOG_PID"]) != os.getpid(): sys.exit(9)
half = int(os.environ["WATCHDOG_USEC"]) / 2e6
say("WATCHDOG=1")
say("READY=1")
n = 0
while not told("quiet"):
    n += 1
    say("WATCHDOG=%s\nSTATUS=beat %d" % ("trigger" if told("alarm") else "1", n))
    open(sys.argv[1] + ".count", "w").write(str(n))
    time.sleep(half)
while True: time.sleep(1000)
`

// beating is a section for a beater.
func beating(name, more string) string {
	return fmt.Sprintf(`
[supervise.process.%s]
command  = ["/usr/bin/python3", "beater.py", %q]
watchdog = "2s"
restart  = "on-failure"
backoff  = { initial = "0s", max = "0s" }
%s
`, name, name, more)
}

// pulse is what the status shows of a process with a watchdog.
type pulse struct {
	Name       string
	State      string
	PID        int
	Restarts   int
	StatusText string `json:"status_text"`
	Reason     string
	Watchdog   struct {
		Seconds float64
		Last    time.Time
	}
}

func pulseOf(t *testing.T, s *harness.Sandbox, name string) pulse {
	t.Helper()
	var status struct{ Processes []pulse }
	r := s.Procops("supervise", "status", "--json") // which may find it on its way
	if err := json.Unmarshal([]byte(r.Stdout), &status); err != nil {
		t.Fatalf("%v: %s", err, r)
	}
	for _, p := range status.Processes {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("no %s: %s", name, r)
	return pulse{}
}

// beats returns how often a beater has said that it lives.
func (p pulse) beats() int {
	n, _ := strconv.Atoi(strings.TrimPrefix(p.StatusText, "beat "))
	return n
}

// wantBeats waits until a beater has lived on for twice its time.
func wantBeats(t *testing.T, s *harness.Sandbox, name string) pulse {
	t.Helper()
	before := pulseOf(t, s, name)
	now := before
	harness.Eventually(t, name+" beats on", func() bool {
		now = pulseOf(t, s, name)
		return now.beats() >= before.beats()+5
	})
	if now.Restarts != before.Restarts || now.PID != before.PID || now.Watchdog.Seconds != 2 || now.Watchdog.Last.IsZero() {
		t.Errorf("%s was %+v and is %+v", name, before, now)
	}
	return now
}

// TestWatchdogRestarts: a program that lives on half its time is left alone. One that
// falls silent, is stopped, or gives the alarm itself, is restarted.
func TestWatchdogRestarts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		hang func(s *harness.Sandbox, pid int) error
		why  string
	}{
		"silent":  {func(s *harness.Sandbox, _ int) error { s.WriteFile("b.quiet", ""); return nil }, "no WATCHDOG=1 for 2s"},
		"stopped": {func(_ *harness.Sandbox, pid int) error { return syscall.Kill(pid, syscall.SIGSTOP) }, "no WATCHDOG=1 for 2s"},
		"alarm":   {func(s *harness.Sandbox, _ int) error { s.WriteFile("b.alarm", ""); return nil }, "it said WATCHDOG=trigger"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := harness.New(t)
			s.WriteFile("beater.py", beater)
			s.Config(beating("b", "ready.notify = true"))
			p := s.Start("supervise", "run")
			s.Want(0, "supervise", "wait", "--ready")
			before := wantBeats(t, s, "b")
			if err := c.hang(s, before.PID); err != nil {
				t.Fatal(err)
			}
			p.WaitLine(`^b +\* failed: ` + c.why + `$`)
			p.WaitLines(`^b +\* ready$`, 2)
			harness.Eventually(t, "it beats again", func() bool { return pulseOf(t, s, "b").beats() > 0 })
			if now := pulseOf(t, s, "b"); now.Restarts != 1 || now.PID == before.PID || now.State != "running" {
				t.Errorf("before %+v, after %+v", before, now)
			}
			if events := s.Want(0, "events").Stdout; !strings.Contains(events, c.why) {
				t.Errorf("the reason is in no event:\n%s", events)
			}
			p.Signal(syscall.SIGINT)
			p.WantExit(0)
			wantNothing(t, s)
		})
	}
}

// TestWatchdogOutlivesAnUpgrade: the next program hears on, on the sockets that the
// processes know, and has not forgotten what one has said of its time.
func TestWatchdogOutlivesAnUpgrade(t *testing.T) {
	t.Parallel()
	const own = `
[supervise.process.own]
command  = "systemd-notify WATCHDOG_USEC=3600000000; exec sleep 1000"
watchdog = "2s"
`
	names := []string{"notify", "aside"}
	u := newUpgradingWith(t, func(s *harness.Sandbox) {
		s.WriteFile("beater.py", beater)
		s.Config(beating("notify", "ready.notify = true") + beating("aside", `ready = { tcp = "127.0.0.1:1", timeout = "0s" }`) + own)
	})
	harness.Eventually(t, "own has its time", func() bool { return pulseOf(t, u.s, "own").Watchdog.Seconds == 3600 })
	before := map[string]pulse{}
	for _, name := range names {
		before[name] = wantBeats(t, u.s, name)
	}
	u.upgrade()
	u.upgrade()
	for _, name := range names {
		if now := wantBeats(t, u.s, name); now.PID != before[name].PID || now.State != before[name].State {
			t.Errorf("%s was %+v and is %+v", name, before[name], now)
		}
	}
	if now := pulseOf(t, u.s, "own"); now.Restarts != 0 || now.Watchdog.Seconds != 3600 {
		t.Errorf("own is %+v", now)
	}
	for _, name := range names {
		u.s.WriteFile(name+".quiet", "")
		u.p.WaitLine(`"type":"supervise.process.ending".*"subject":"` + name + `".*"reason":"no WATCHDOG=1 for 2s"`)
		harness.Eventually(t, name+" beats again", func() bool { now := pulseOf(t, u.s, name); return now.Restarts == 1 && now.beats() > 0 })
	}
	u.p.Signal(syscall.SIGTERM)
	u.p.WantExit(0)
	wantNothing(t, u.s)
}

// TestWatchdogIsTakenBack: a process that outlives its supervisor, and speaks to
// nobody meanwhile, has all its time with the next one.
func TestWatchdogIsTakenBack(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.WriteFile("beater.py", beater)
	names := []string{"notify", "aside"}
	s.Config(beating("notify", "ready.notify = true\nadopt = true") + beating("aside", "adopt = true"))
	p := s.Start("supervise", "run", "--quiet")
	s.Want(0, "supervise", "wait", "--ready")
	before := map[string]pulse{}
	for _, name := range names {
		before[name] = wantBeats(t, s, name)
	}
	p.Signal(syscall.SIGKILL)
	p.WantExit(137)
	for _, name := range names {
		wantCount(t, s, name, 5)
	}
	p = s.Start("supervise", "run")
	s.Want(0, "supervise", "wait", "--ready")
	for _, name := range names {
		if now := wantBeats(t, s, name); now.PID != before[name].PID {
			t.Errorf("%s was %+v and is %+v", name, before[name], now)
		}
		s.WriteFile(name+".quiet", "")
		p.WaitLine(`^` + name + ` +\* failed: no WATCHDOG=1 for 2s$`)
		harness.Eventually(t, name+" beats again", func() bool { now := pulseOf(t, s, name); return now.PID != before[name].PID && now.beats() > 0 })
	}
	p.Signal(syscall.SIGINT)
	p.WantExit(0)
	wantNothing(t, s)
}

// wantCount waits until a beater has lived on for so many times, whoever hears it.
func wantCount(t *testing.T, s *harness.Sandbox, name string, more int) {
	t.Helper()
	count := func() int {
		raw, err := os.ReadFile(filepath.Join(s.Dir, name+".count"))
		if err != nil {
			t.Fatal(err)
		}
		n, _ := strconv.Atoi(string(raw)) // it may be being written
		return n
	}
	before := count()
	harness.Eventually(t, name+" counts on", func() bool { return count() >= before+more })
}

// TestSupervisorThatWasHeldUp: when it is procops that has stood still, what processes
// have said meanwhile is still to be read, and none is blamed.
func TestSupervisorThatWasHeldUp(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.WriteFile("beater.py", beater)
	s.Config(beating("notify", "ready.notify = true") + beating("aside", ""))
	p := s.Start("supervise", "run")
	s.Want(0, "supervise", "wait", "--ready")
	for _, name := range []string{"notify", "aside"} {
		wantBeats(t, s, name)
	}
	p.Signal(syscall.SIGSTOP)
	wantCount(t, s, "notify", 5)
	p.Signal(syscall.SIGCONT)
	for _, name := range []string{"notify", "aside"} {
		if now := wantBeats(t, s, name); now.Restarts != 0 {
			t.Errorf("%s is %+v", name, now)
		}
	}
	p.Signal(syscall.SIGINT)
	p.WantExit(0)
	wantNothing(t, s)
}

// radiusConfig is the least with which freeradius runs: it answers how it is.
const radiusConfig = `
prefix = /usr
libdir = /usr/lib/freeradius
logdir = ${confdir}
run_dir = ${confdir}
log {
  destination = stdout
}
thread pool {
  start_servers = 1
  max_servers = 4
}
server default {
  listen {
    type = status
    ipaddr = 127.0.0.1
    port = %d
    clients = known
  }
  authorize {
  }
}
clients known {
  client localhost {
    ipaddr = 127.0.0.1
    secret = secret
  }
}
modules {
}
`

// TestFreeradiusWithWatchdog: a real server that knows the watchdog of systemd finds
// what it needs, lives by it, and is restarted when it hangs.
func TestFreeradiusWithWatchdog(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.WriteFile("raddb/radiusd.conf", fmt.Sprintf(radiusConfig, harness.FreePort(t)))
	s.WriteFile("raddb/dictionary", "\n")
	s.Config(`
[supervise.process.radius]
command  = ["freeradius", "-f", "-l", "stdout", "-d", "raddb"]
ready    = { notify = true }
watchdog = "2s"
restart  = "on-failure"
backoff  = { initial = "0s", max = "0s" }
`)
	p := s.Start("supervise", "run")
	s.Want(0, "supervise", "wait", "--ready")
	p.WaitLine(`^radius +\| .*systemd watchdog interval is 1.00 secs`)
	first := pulseOf(t, s, "radius")
	before := first
	harness.Eventually(t, "it lives on for twice its time", func() bool {
		before = pulseOf(t, s, "radius")
		return before.Watchdog.Last.Sub(first.Watchdog.Last) > 4*time.Second
	})
	if before.Restarts != 0 || before.PID != first.PID || before.StatusText != "Processing requests" {
		t.Errorf("first %+v, now %+v", first, before)
	}
	if err := syscall.Kill(before.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	p.WaitLine(`^radius +\* failed: no WATCHDOG=1 for 2s$`)
	p.WaitLines(`^radius +\* ready$`, 2)
	if now := pulseOf(t, s, "radius"); now.Restarts != 1 || now.PID == before.PID {
		t.Errorf("before %+v, now %+v", before, now)
	}
	p.Signal(syscall.SIGINT)
	p.WantExit(0)
	wantNothing(t, s)
}
