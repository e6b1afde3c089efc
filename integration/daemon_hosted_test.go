package integration

import (
	"encoding/json"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

// hostedTree has a process that needs a daemon, and a daemon of two instances.
const hostedTree = `
[supervise]
children = ["daemon.report", "daemon.twins", "web"]
[supervise.process.web]
command = "exec sleep 1000"
depends_on = ["daemon.report"]
[daemon.report]
command = "echo turn $PROCOPS_TURN; echo $PPID >parent.new; mv parent.new parent"
sleep = "50ms"
[daemon.twins]
command = "echo {{instance}} of {{instances}} >twin-{{instance}}; exec sleep 1000"
instances = 2
stop.grace = "5s"
`

// daemonsOf returns what `daemon status` says, by name and instance.
func daemonsOf(t *testing.T, s *harness.Sandbox) map[string]daemonStatus {
	t.Helper()
	var list []daemonStatus
	if err := json.Unmarshal([]byte(s.Procops("daemon", "status", "--json").Stdout), &list); err != nil {
		t.Fatal(err)
	}
	all := map[string]daemonStatus{}
	for _, d := range list {
		all[strings.TrimSuffix(d.Name+"-"+string(rune('0'+d.Instance)), "-0")] = d
	}
	return all
}

type daemonStatus struct {
	Name     string
	Instance int
	State    string
	PID      int
	Hosted   bool
	Turns    int
	Killed   bool
	Reason   string
}

// TestDaemonsInTheTree: daemons are children of a tree without a process between: their
// turns are the supervisor's own children.
func TestDaemonsInTheTree(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config(hostedTree)
	p := s.Start("supervise", "run")
	s.Want(0, "supervise", "wait", "--ready")
	p.WaitLine(`^daemon\.report +\| turn 3$`)
	s.WaitFile("twin-2")

	if parent := strings.TrimSpace(s.ReadFile("parent")); parent != strconv.Itoa(p.PID()) {
		t.Errorf("the parent of a turn is %s, want the supervisor, %s", parent, strconv.Itoa(p.PID()))
	}
	tree := statusOf(t, s)
	if one := tree["daemon.report"]; one.State != "running" || one.PID != 0 || !strings.Contains(one.StatusText, "turns") {
		t.Errorf("daemon.report is %+v", one)
	}
	if tree["web"].State != "running" {
		t.Errorf("web is %+v", tree["web"])
	}
	var now map[string]daemonStatus
	harness.Eventually(t, "three turns are recorded", func() bool { now = daemonsOf(t, s); return now["report"].Turns >= 3 })
	if !now["report"].Hosted {
		t.Errorf("report is %+v", now["report"])
	}
	if now["twins-1"].State != "running" || now["twins-2"].State != "running" {
		t.Errorf("the twins are %+v", now)
	}

	// It is the supervisor's, so nobody else starts or stops it.
	s.Want(4, "daemon", "start", "report")
	s.Want(4, "daemon", "stop", "report")
	s.Want(4, "daemon", "run", "report")
	s.Want(0, "supervise", "stop", "daemon.twins-1")
	harness.Eventually(t, "one twin is stopped", func() bool { return daemonsOf(t, s)["twins-1"].State == "stopped" })
	s.Want(0, "supervise", "start", "daemon.twins-1")

	s.Config(strings.ReplaceAll(hostedTree, "echo turn", "echo other"))
	s.Want(0, "supervise", "reload")
	p.WaitLine(`^daemon\.report +\| other 1$`)

	p.Signal(syscall.SIGTERM)
	p.WantExit(0)
	wantNothing(t, s)
	for name, one := range daemonsOf(t, s) {
		if one.State != "stopped" || one.Killed {
			t.Errorf("%s is %+v", name, one)
		}
	}
}

// TestUpgradeWithDaemons: they end when they lose nothing by it, and go on afterwards.
func TestUpgradeWithDaemons(t *testing.T) {
	t.Parallel()
	s := harness.NewShipped(t)
	s.Config(`
[supervise]
children = ["daemon.report", "web"]
[supervise.process.web]
command = "exec sleep 1000"
[daemon.report]
command = "echo begin >>turns; sleep 0.3; echo end >>turns"
sleep = "400ms"
`)
	p := s.Start("supervise", "run")
	s.Want(0, "supervise", "wait", "--ready")
	web := statusOf(t, s)["web"].PID
	for range 3 {
		s.Want(0, "supervise", "upgrade")
		s.Want(0, "supervise", "wait", "--ready")
	}
	if got := statusOf(t, s)["web"].PID; got != web {
		t.Errorf("web was %d and is %d", web, got)
	}
	p.Signal(syscall.SIGTERM)
	p.WantExit(0)
	wantNothing(t, s)
	begun, ended := strings.Count(s.ReadFile("turns"), "begin"), strings.Count(s.ReadFile("turns"), "end")
	if begun < 4 || ended < begun-1 { // the last may have been stopped with the tree
		t.Errorf("%d turns have begun and %d have ended", begun, ended)
	}
}

// TestKilledWithDaemons: when the supervisor is killed the turns are gone with it, and
// the next one runs them again.
func TestKilledWithDaemons(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config(hostedTree)
	for range 3 {
		p := s.Start("supervise", "run")
		s.Want(0, "supervise", "wait", "--ready")
		harness.Eventually(t, "it is recorded that the twins run", func() bool { return daemonsOf(t, s)["twins-1"].State == "running" })
		p.Signal(syscall.SIGKILL)
		p.WantExit(137)
		harness.Eventually(t, "nothing is left", func() bool { return len(s.Left()) == 0 })
	}
	if one := daemonsOf(t, s)["twins-1"]; !one.Killed || one.State != "stopped" {
		t.Errorf("a daemon whose supervisor was killed is %+v", one)
	}
}
