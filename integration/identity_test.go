package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

// kernelView is what the kernel says of a running process.
type kernelView struct {
	t   *testing.T
	pid int
}

// read returns a file of /proc/PID.
func (k kernelView) read(name string) string {
	k.t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(k.pid), name))
	if err != nil {
		k.t.Fatal(err)
	}
	return string(text)
}

// status returns a line of /proc/PID/status, with single blanks.
func (k kernelView) status(key string) string {
	k.t.Helper()
	_, rest, _ := strings.Cut("\n"+k.read("status"), "\n"+key+":")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.Join(strings.Fields(line), " ")
}

// limit returns the soft and hard limit from /proc/PID/limits.
func (k kernelView) limit(name string) string {
	k.t.Helper()
	_, rest, _ := strings.Cut("\n"+k.read("limits"), "\n"+name+" ")
	line, _, _ := strings.Cut(rest, "\n")
	fields := append(strings.Fields(line), "", "")
	return fields[0] + " " + fields[1]
}

// variable returns a variable of the environment that the process was started with.
func (k kernelView) variable(name string) string {
	k.t.Helper()
	_, rest, found := strings.Cut("\x00"+k.read("environ"), "\x00"+name+"=")
	value, _, _ := strings.Cut(rest, "\x00")
	if !found {
		return "(not set)"
	}
	return value
}

// nice returns the priority: field 19 of /proc/PID/stat.
func (k kernelView) nice() string {
	k.t.Helper()
	stat := k.read("stat")
	return strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])[19-3]
}

func (k kernelView) link(name string) string {
	k.t.Helper()
	target, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(k.pid), name))
	if err != nil {
		k.t.Fatal(err)
	}
	return target
}

// TestProcessRunsAsConfigured looks at a process from outside, through the eyes of
// the kernel.
func TestProcessRunsAsConfigured(t *testing.T) {
	t.Parallel()
	who, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	identity, groups := "", "" // without privileges nobody becomes another
	if os.Getuid() == 0 {
		if who, err = user.Lookup("nobody"); err != nil {
			t.Fatal(err)
		}
		identity, groups = "user = \"nobody\"\ngroup = \"daemon\"\ngroups = [\"4321\", \"bin\"]\n", "2 4321"
		who.Gid = "1"
	}
	s := harness.New(t)
	s.WriteFile("conf/a.env", "# first\nexport A='from a'\nB=a\nC=a\nHOME=/a\nPROCOPS_PROCESS=a\n")
	s.WriteFile("conf/b.env", "B=b\nC=b\n")
	input := s.WriteFile("conf/in", "x\n")
	if err := os.MkdirAll(filepath.Join(s.Dir, "conf"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.Setenv("C", "outside")
	s.Setenv("D", "outside")
	s.Config("include = [\"conf/*.toml\"]\n")
	s.WriteFile("conf/p.toml", "[supervise.process.p]\ncommand = [\"sleep\", \"1000\"]\n"+identity+`
session  = true
umask    = "027"
nice     = 7
cpus     = "0,4000-4001"
env_file = ["a.env", "-missing.env", "b.env"]
env      = { C = "own" }
stdin    = "in"
limits   = { files = 77, core = 0, cpu_time = "1m", procs = 5555, memory = "512M" }
[supervise.process.plain]
command = ["sleep", "1000"]
dir     = "/usr"
`)
	p := s.Start("supervise", "run")
	s.Want(0, "supervise", "wait", "--ready", "--timeout", "20s")
	procops := kernelView{t, p.PID()}
	status := statusOf(t, s)
	k, plain := kernelView{t, status["p"].PID}, kernelView{t, status["plain"].PID}
	four := func(id string) string { return strings.TrimSpace(strings.Repeat(" "+id, 4)) }
	if groups == "" {
		groups = procops.status("Groups")
	}
	for what, pair := range map[string][2]string{
		"user":           {k.status("Uid"), four(who.Uid)},
		"group":          {k.status("Gid"), four(who.Gid)},
		"groups":         {k.status("Groups"), groups},
		"umask":          {k.status("Umask"), "0027"},
		"CPUs":           {k.status("Cpus_allowed_list"), "0"},
		"nice":           {k.nice(), "7"},
		"open files":     {k.limit("Max open files"), "77 77"},
		"core":           {k.limit("Max core file size"), "0 0"},
		"processor time": {k.limit("Max cpu time"), "60 61"},
		"processes":      {k.limit("Max processes"), "5555 5555"},
		"addresses":      {k.limit("Max address space"), "536870912 536870912"},
		"stdin":          {k.link("fd/0"), input},
		"A":              {k.variable("A"), "from a"},
		"B":              {k.variable("B"), "b"},
		"C":              {k.variable("C"), "own"},
		"D":              {k.variable("D"), "outside"},
		"HOME":           {k.variable("HOME"), "/a"},
		"name":           {k.variable("PROCOPS_PROCESS"), "a"},

		"plain: user":   {plain.status("Uid"), procops.status("Uid")},
		"plain: groups": {plain.status("Groups"), procops.status("Groups")},
		"plain: umask":  {plain.status("Umask"), procops.status("Umask")},
		"plain: CPUs":   {plain.status("Cpus_allowed_list"), procops.status("Cpus_allowed_list")},
		"plain: nice":   {plain.nice(), procops.nice()},
		"plain: stdin":  {plain.link("fd/0"), "/dev/null"},
		"plain: dir":    {plain.link("cwd"), "/usr"},
		"plain: cgroup": {plain.read("cgroup"), procops.read("cgroup")},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %q, want %q", what, pair[0], pair[1])
		}
	}
	if os.Getuid() == 0 {
		if user, name := k.variable("USER"), k.variable("LOGNAME"); user != "nobody" || name != "nobody" {
			t.Errorf("USER is %q and LOGNAME %q", user, name)
		}
		if caps := k.status("CapEff") + k.status("CapPrm"); strings.Trim(caps, "0") != "" {
			t.Errorf("it has the capabilities %s", caps)
		}
	}
	p.Signal(syscall.SIGTERM)
	p.WantExit(0)
}

// TestRunRefusesWhatTheMachineLacks: nothing is started when one of the processes
// could not be.
func TestRunRefusesWhatTheMachineLacks(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.WriteFile("bad.env", "A=1\n\nB : 2\n")
	s.Config(`[supervise.process.good]
command = "touch started; exec sleep 1000"
[supervise.process.bad]
command = "x"
env_file = "bad.env"
stdin = "none"
cpus = "8000"
groups = ["no-such-group"]
`)
	for _, args := range [][]string{{"supervise", "run"}, {"config", "check"}} {
		r := s.Want(2, args...)
		for _, want := range []string{
			`procops.toml:5:12: "env_file" in [supervise.process.bad]: cannot take its environment from a file: ` + s.Dir + `/bad.env:3: want NAME=VALUE`,
			`procops.toml:6:9: "stdin" in [supervise.process.bad]: cannot open its standard input "` + s.Dir + `/none": no such file or directory`,
			`procops.toml:7:8: "cpus" in [supervise.process.bad]: this machine has none of the CPUs 8000: it runs with `,
			`procops.toml:8:11: "groups[0]" in [supervise.process.bad]: cannot run with group "no-such-group": there is no such group`,
		} {
			if !strings.Contains(r.Stderr, want) {
				t.Errorf("%s is not told: %s", want, r)
			}
		}
	}
	if harness.Exists(filepath.Join(s.Dir, "started")) {
		t.Error("the good process was started")
	}
}

// hermit leaves its process group and its session, hides its environment and its
// directory and has its parents end: neither group nor marker nor parent leads to
// it. It adds its pid to a file.
const hermit = `(setsid env -i /bin/sh -c 'trap "" TERM INT HUP; echo $$ >> hermits; cd /; while :; do sleep 1000; done' &) ; `

// cgroupOf returns where the cgroup of a process is, and what does not hold of its
// limits.
func cgroupOf(t *testing.T, s *harness.Sandbox, name string) (path string, gaps []string) {
	t.Helper()
	var status struct {
		Processes []struct {
			Name   string
			Cgroup struct {
				Path string
				Gaps []string
			}
		}
	}
	r := s.Procops("supervise", "status", "--json", name)
	if err := json.Unmarshal([]byte(r.Stdout), &status); err != nil || len(status.Processes) != 1 {
		t.Fatalf("%v: %s", err, r)
	}
	return status.Processes[0].Cgroup.Path, status.Processes[0].Cgroup.Gaps
}

// hermits returns the pids of those that have come up. Where the kernel offers no
// cgroup the test ends them itself.
func hermits(t *testing.T, s *harness.Sandbox, n int) (pids []int) {
	t.Helper()
	harness.Eventually(t, fmt.Sprintf("%d hermits", n), func() bool { return strings.Count(s.ReadFile("hermits"), "\n") == n })
	for field := range strings.FieldsSeq(s.ReadFile("hermits")) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
		t.Cleanup(func() {
			if !harness.Gone(pid) {
				t.Errorf("the hermit %d has survived the test", pid)
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		})
	}
	return pids
}

// TestNothingEscapesACgroup follows hermits through the ends that a process can
// have: stopped, restarted, ended by itself, left behind by a procops that was
// killed.
func TestNothingEscapesACgroup(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	const config = `[supervise.process.p]
command = '''` + hermit + `until test -e end; do sleep 0.05; done'''
cgroup  = {}
[supervise.process.other]
command = "exec sleep 1000"
`
	s.Config(config)
	p := s.Start("supervise", "run")
	s.Want(0, "supervise", "wait", "--ready", "--timeout", "20s")
	path, gaps := cgroupOf(t, s, "p")
	if len(gaps) > 0 { // no cgroup here: then it has to be said
		if path != "" || !strings.HasPrefix(gaps[0], "no cgroup, so that what hides well enough survives a stop: ") {
			t.Errorf("path %q, gaps %q", path, gaps)
		}
		for _, pid := range hermits(t, s, 1) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		p.Signal(syscall.SIGTERM)
		p.WantExit(0)
		return
	}
	if where, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(statusOf(t, s)["p"].PID), "cgroup")); err != nil || !strings.HasSuffix(strings.TrimSpace(string(where)), strings.TrimPrefix(path, filepath.Dir(filepath.Dir(path)))) {
		t.Errorf("it is in %q (%v), want %q", where, err, path)
	}
	gone := func(when string, pid int) {
		t.Helper()
		if !harness.Gone(pid) {
			t.Errorf("hermit %d still runs after the %s", pid, when)
		}
	}

	first := hermits(t, s, 1)[0]
	s.Want(0, "supervise", "stop", "p")
	gone("stop", first)
	if harness.Exists(path) {
		t.Errorf("cgroup %q is still there", path)
	}
	s.Want(0, "supervise", "start", "p")
	second := hermits(t, s, 2)[1]
	s.Want(0, "supervise", "restart", "p")
	gone("restart", second)
	third := hermits(t, s, 3)[2]
	s.WriteFile("end", "")
	p.WaitLine(`^p +\* ended: 0 OK`)
	gone("end of its process", third)

	if err := os.Remove(filepath.Join(s.Dir, "end")); err != nil {
		t.Fatal(err)
	}
	s.Want(0, "supervise", "start", "p")
	fourth := hermits(t, s, 4)[3]
	p.Signal(syscall.SIGKILL)
	p.WantExit(137)
	harness.Eventually(t, "all that can be found has ended", func() bool { return len(s.Left()) == 0 })
	if harness.Gone(fourth) {
		t.Fatal("the hermit was found: the test shows nothing")
	}
	s.Config("[supervise.process.next]\ncommand = \"echo next is up; exec sleep 1000\"\n")
	next := s.Start("supervise", "run")
	next.WaitLine(`next is up`)
	gone("next run has begun", fourth)
	if harness.Exists(filepath.Dir(path)) || harness.Exists(filepath.Join(s.State, "cgroup")) {
		t.Errorf("cgroup %q or its record is left", filepath.Dir(path))
	}
	next.Signal(syscall.SIGTERM)
	next.WantExit(0)
}

// TestCgroupLimitsHoldOrAreMissed: what the kernel offers is set, and what it does
// not is told, once, with what holds instead.
func TestCgroupLimitsHoldOrAreMissed(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	identity := ""
	if os.Getuid() == 0 {
		identity = "user = \"nobody\"\n"
	}
	s.Config("[supervise.process.p]\ncommand = [\"sleep\", \"1000\"]\n" + identity +
		"cgroup = { memory = \"256M\", memory_high = \"200M\", cpu = 0.5, cpu_weight = 50, pids = 4444 }\n")
	p := s.Start("supervise", "run")
	s.Want(0, "supervise", "wait", "--ready", "--timeout", "20s")
	path, gaps := cgroupOf(t, s, "p")
	k := kernelView{t, statusOf(t, s)["p"].PID}
	for _, c := range []struct{ key, file, value, said, limit, replaced string }{
		{"memory", "memory.max", "268435456", `memory is limited to 256M of data in each single process \(RLIMIT_DATA\)`, "Max data size", "268435456 268435456"},
		{"memory_high", "memory.high", "209715200", `memory_high is not limited`, "", ""},
		{"cpu", "cpu.max", "50000 100000", `cpu is not limited`, "", ""},
		{"cpu_weight", "cpu.weight", "50", `cpu_weight is not limited`, "", ""},
		{"pids", "pids.max", "4444", `pids is limited to 4444 for all processes of its user together \(RLIMIT_NPROC\)`, "Max processes", "4444 4444"},
	} {
		gap := regexp.MustCompile("^" + c.said)
		told := 0
		for _, text := range gaps {
			if gap.MatchString(text) {
				told++
			}
		}
		text, err := os.ReadFile(filepath.Join(path, c.file))
		switch {
		case told == 0 && (err != nil || strings.TrimSpace(string(text)) != c.value):
			t.Errorf("%s is %q (%v), want %q, and nobody says so", c.file, text, err, c.value)
		case told == 1 && c.limit != "" && k.limit(c.limit) != c.replaced:
			t.Errorf("%s is %q, want %q instead of %s", c.limit, k.limit(c.limit), c.replaced, c.key)
		case told > 1:
			t.Errorf("%s is told %d times: %q", c.key, told, gaps)
		}
	}
	s.Want(0, "supervise", "restart", "p")
	p.Signal(syscall.SIGTERM)
	p.WantExit(0)
	if warned := strings.Count(p.Output(), "WRN cgroup: "); warned != len(gaps) {
		t.Errorf("%d warnings of %d gaps:\n%s", warned, len(gaps), p.Output())
	}
}
