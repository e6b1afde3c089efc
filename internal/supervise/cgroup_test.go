package supervise

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rs/zerolog"

	"procops/internal/launch"
	"procops/internal/proc"
)

func TestLimitsThatTakeTheirPlace(t *testing.T) {
	cfg := &CgroupConfig{Memory: 256 << 20, MemoryHigh: 1, CPU: 1, CPUWeight: 1, Pids: 5}
	nobody := proc.Spec{User: &proc.User{UID: 65534}}
	for limit, want := range map[string]string{
		"memory":      "memory is limited to 256M of data in each single process (RLIMIT_DATA) instead of in all together",
		"memory_high": "memory_high is not limited (there is no resource limit for it)",
		"cpu":         "cpu is not limited (there is no resource limit for it)",
		"cpu_weight":  "cpu_weight is not limited (there is no resource limit for it)",
		"pids":        "pids is limited to 5 for all processes of its user together (RLIMIT_NPROC), whoever has started them",
	} {
		if got := cfg.replace(limit, &nobody); got != want {
			t.Errorf("%s: %q, want %q", limit, got, want)
		}
	}
	if l := nobody.Limits; *l.Data != 256<<20 || *l.Procs != 5 || l.Memory != nil {
		t.Errorf("limits %+v", l)
	}
	root := proc.Spec{User: &proc.User{}, Limits: proc.Limits{Data: new(uint64(1))}}
	if got := cfg.replace("pids", &root); got != "pids is not limited (RLIMIT_NPROC does not hold for root)" || root.Limits.Procs != nil {
		t.Errorf("root: %q, %+v", got, root.Limits)
	}
	if cfg.replace("memory", &root); *root.Limits.Data != 1 {
		t.Errorf("a stricter limit was lifted to %d", *root.Limits.Data)
	}
}

// TestFailureTellsOfWantOfMemory has the numbers of a kernel with the memory
// controller.
func TestFailureTellsOfWantOfMemory(t *testing.T) {
	child, err := host.Start(proc.Spec{Argv: []string{"sh", "-c", "kill -9 $$"}})
	if err != nil {
		t.Fatal(err)
	}
	<-child.Gone()
	p := &process{name: "p", cfg: with(forever(), func(p *ProcessConfig) { p.Cgroup = &CgroupConfig{Memory: 64 << 20} }), output: &output{}}
	p.output.tail.Store(proc.NewTail(1))
	const killed = "137 Kill (end at once)"
	for kills, want := range map[int]string{
		0: killed,
		1: killed + "; out of memory: the kernel has killed one of its processes, which may have 64M together",
		3: killed + "; out of memory: the kernel has killed 3 of its processes, which may have 64M together",
	} {
		f, failed := p.judge(&run{child: child, oomKills: kills})
		if !failed || f.Text != want || p.lastExit.Text != want {
			t.Errorf("%d: %q and %q, want %q", kills, f.Text, p.lastExit.Text, want)
		}
	}
	p.cfg.Cgroup.Memory = 0
	if f, _ := p.judge(&run{child: child, oomKills: 1}); !strings.HasSuffix(f.Text, "which may have what the cgroups above allow together") {
		t.Errorf("without a limit: %q", f.Text)
	}
	p.cfg.Restart, p.cfg.SuccessCodes = RestartNever, []int{0}
	good, err := host.Start(proc.Spec{Argv: []string{"true"}})
	if err != nil {
		t.Fatal(err)
	}
	<-good.Gone()
	if f, failed := p.judge(&run{child: good, oomKills: 1}); failed || f.Text != "0 OK" {
		t.Errorf("a good end: %q", f.Text)
	}
}

// TestGapsAreSaidOnce: a process that is started again and again says once what
// does not hold, and the status says it all the time.
func TestGapsAreSaidOnce(t *testing.T) {
	var log bytes.Buffer
	s := &Supervisor{deps: Deps{Log: zerolog.New(&log)}, cgroups: proc.NewCgroups("gaps", filepath.Join(t.TempDir(), "no", "such", "directory"))}
	p := &process{name: "p", cfg: with(forever(), func(p *ProcessConfig) { p.Cgroup = &CgroupConfig{CPU: 0.5} }), output: &output{}}
	var spec proc.Spec
	for range 3 {
		if err := s.confine(p, &spec); err != nil || spec.Cgroup != nil {
			t.Fatal(spec.Cgroup, err)
		}
	}
	gaps := p.status().Cgroup.Gaps
	if len(gaps) != 2 || !strings.HasPrefix(gaps[0], "no cgroup, so that what hides well enough survives a stop: cannot ") || gaps[1] != "cpu is not limited (there is no resource limit for it)" {
		t.Errorf("gaps %q", gaps)
	}
	if n := strings.Count(log.String(), "\n"); n != 2 || strings.Count(log.String(), `"level":"warn","process":"p"`) != 2 {
		t.Errorf("%d lines:\n%s", n, log.String())
	}
	p.cfg.Cgroup.CPU, p.cfg.Cgroup.CPUWeight = 0, 1
	if err := s.confine(p, &spec); err != nil || strings.Count(log.String(), "\n") != 4 {
		t.Errorf("%v, another limit is not told:\n%s", err, log.String())
	}
	p.cfg.Cgroup = nil
	if err := s.confine(p, &spec); err != nil || p.gaps != nil || p.status().Cgroup != nil {
		t.Errorf("%v, gaps %q without a cgroup", err, p.gaps)
	}
	_ = s.cgroups.Close() // the directory of its record is none
}

// TestReloadKnowsHowAProcessRuns: each of these keys means a restart.
func TestReloadKnowsHowAProcessRuns(t *testing.T) {
	for key, change := range map[string]func(*ProcessConfig){
		"groups":   func(p *ProcessConfig) { p.Groups = []string{"daemon"} },
		"none":     func(p *ProcessConfig) { p.Groups = []string{} },
		"cpus":     func(p *ProcessConfig) { p.CPUs = "0" },
		"env_file": func(p *ProcessConfig) { p.EnvFile = launch.Files{"/x"} },
		"stdin":    func(p *ProcessConfig) { p.Stdin = "/x" },
		"cgroup":   func(p *ProcessConfig) { p.Cgroup = &CgroupConfig{} },
		"limit":    func(p *ProcessConfig) { p.Cgroup = &CgroupConfig{Pids: 1} },
	} {
		before, after := forever(), with(forever(), change)
		if !before.runsOtherwise(after) || !after.runsOtherwise(before) || after.runsOtherwise(with(forever(), change)) {
			t.Errorf("%s: a change of it is not told from none", key)
		}
	}
	if with(forever(), func(p *ProcessConfig) { p.Cgroup = &CgroupConfig{Pids: 1} }).runsOtherwise(with(forever(), func(p *ProcessConfig) { p.Cgroup = &CgroupConfig{Pids: 1} })) {
		t.Error("the same limits are taken for others")
	}
}

// TestEnvFilesAreReadAtEachStart: a restart takes what has changed, and a file that
// has gone or is wrong by then is a failure that says so.
func TestEnvFilesAreReadAtEachStart(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.env")
	set := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set("A=one\nPROCOPS_PROCESS=mine\n")
	p := with(sh(`echo $A $B $PROCOPS_PROCESS >> `+dir+`/seen; exec sleep 1000`), func(p *ProcessConfig) {
		p.EnvFile = launch.Files{file, "-" + filepath.Join(dir, "none.env")}
		p.Env = map[string]string{"B": "own"}
		p.Ready.Exec = proc.Command{"sh", "-c", `grep "$A" ` + dir + `/seen`} // its output may come later
		p.OnFail = []LinkConfig{{Settle: true}}
	})
	r := newRig(t, processes(map[string]ProcessConfig{"p": p, "other": forever()})) // which keeps the tree up
	r.await("supervise.process.running", "p", 1)
	set("A=two\nB=file\n")
	r.do(Request{Action: ActionRestart, Names: []string{"p"}})
	seen, err := os.ReadFile(filepath.Join(dir, "seen"))
	if want := "one own mine\ntwo own p\n"; err != nil || string(seen) != want {
		t.Errorf("saw %q (%v), want %q", seen, err, want)
	}
	set("A=three\nwrong\n")
	r.do(Request{Action: ActionRestart, Names: []string{"p"}})
	if got, want := r.process("p"), "cannot take its environment from a file: "+file+":2: want NAME=VALUE"; got.State != StateFatal || got.Reason != want {
		t.Errorf("%s: %q, want %q", got.State, got.Reason, want)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	r.do(Request{Action: ActionStart, Names: []string{"p"}})
	if got, want := r.process("p"), `cannot take its environment from a file: cannot read "`+file+`": no such file or directory`; got.State != StateFatal || got.Reason != want || got.LastExit.Code != 127 {
		t.Errorf("%s: %q (code %d), want %q", got.State, got.Reason, got.LastExit.Code, want)
	}
}

func TestStdin(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "in")
	if err := os.WriteFile(path, []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	reads := func(path string) ProcessConfig {
		return with(sh("read line && echo got $line && exec cat"), func(p *ProcessConfig) {
			p.Stdin, p.Ready.Log = path, "^got hello$"
		})
	}
	r := newRig(t, processes(map[string]ProcessConfig{"file": reads(path), "pipe": reads(fifo)}))
	r.await("supervise.process.completed", "file", 1)
	w, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteString("hello\n"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	// The writer has gone and the process reads on.
	r.await("supervise.process.running", "pipe", 1)
	if got := r.process("pipe"); got.State != StateRunning {
		t.Errorf("%+v", got)
	}
	for path, want := range map[string]string{
		dir:           `cannot open its standard input "` + dir + `": is a directory`,
		dir + "/none": `cannot open its standard input "` + dir + `/none": no such file or directory`,
	} {
		if err := launch.CheckStdin(path); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := launch.CheckStdin(""); err != nil {
		t.Error(err)
	}
}

// TestCheckRunsAsItsProcess: what asks a process is tied and confined as it is.
func TestCheckRunsAsItsProcess(t *testing.T) {
	dir := t.TempDir()
	look := `grep -E '^(Groups|Cpus_allowed_list)' /proc/self/status; grep ^0:: /proc/self/cgroup; umask; ulimit -n; echo "$A"`
	p := with(sh("("+look+") > "+dir+"/new; mv "+dir+"/new "+dir+"/own; exec sleep 1000"), func(p *ProcessConfig) {
		p.CPUs, p.Env, p.Limits.Files, p.Cgroup = "0", map[string]string{"A": "x"}, 77, &CgroupConfig{}
		p.Ready.Exec = proc.Command{"sh", "-c", "test -e " + dir + "/own && (" + look + ") > " + dir + "/asked"}
		if os.Getuid() == 0 {
			p.Groups = []string{"1", "4321"}
		}
	})
	r := newRig(t, processes(map[string]ProcessConfig{"p": p}))
	r.await("supervise.process.running", "p", 1)
	own, err := os.ReadFile(dir + "/own")
	if err != nil {
		t.Fatal(err)
	}
	asked, err := os.ReadFile(dir + "/asked")
	if err != nil || !bytes.Equal(asked, own) || !strings.Contains(string(own), "Cpus_allowed_list:\t0\n") || !strings.HasSuffix(string(own), "\n77\nx\n") {
		t.Errorf("the check saw\n%s\nits process\n%s(%v)", asked, own, err)
	}
}
