package proc

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// newTestCgroups makes the owner of a branch that no other test has.
func newTestCgroups(t *testing.T, name string) *Cgroups {
	t.Helper()
	c := NewCgroups(fmt.Sprintf("test-%s-%d", name, os.Getpid()), filepath.Join(t.TempDir(), "cgroup"))
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// fakeCgroups is the owner of a branch in a directory in which a test plays the
// kernel: all controllers are there, and a new cgroup gets its files.
func fakeCgroups(t *testing.T, controllers string) (*Cgroups, string) {
	t.Helper()
	own := t.TempDir()
	c := NewCgroups("fake", filepath.Join(t.TempDir(), "cgroup"))
	c.locate = func() (string, error) { return own, nil }
	fill := func(dir string) error {
		for _, file := range []string{"cgroup.subtree_control", "cgroup.procs", "memory.max", "memory.high", "cpu.max", "cpu.weight", "pids.max"} {
			if err := os.WriteFile(filepath.Join(dir, file), nil, 0o600); err != nil {
				return err
			}
		}
		return os.WriteFile(filepath.Join(dir, "cgroup.controllers"), []byte(controllers+"\n"), 0o600)
	}
	c.mkdir = func(dir string) error {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		return fill(dir)
	}
	if err := fill(own); err != nil {
		t.Fatal(err)
	}
	return c, own
}

func allCgroupLimits() CgroupLimits {
	return CgroupLimits{Memory: 256 << 20, MemoryHigh: 200 << 20, CPU: 0.5, CPUWeight: 50, Pids: 100}
}

func TestCgroupLimitsAreWritten(t *testing.T) {
	c, own := fakeCgroups(t, "cpuset cpu io memory pids")
	g, gaps, err := c.Make("web", allCgroupLimits())
	if err != nil || len(gaps) > 0 {
		t.Fatalf("gaps %v, %v", gaps, err)
	}
	if want := filepath.Join(own, "procops-fake", "process-web"); g.Path() != want {
		t.Errorf("it is %q, want %q", g.Path(), want)
	}
	for file, want := range map[string]string{
		"memory.max": "268435456", "memory.high": "209715200", "cpu.max": "50000 100000", "cpu.weight": "50", "pids.max": "100",
		"cgroup.procs": "", "../cgroup.subtree_control": "+pids", "../../cgroup.subtree_control": "+pids",
	} {
		if text, err := os.ReadFile(filepath.Join(g.Path(), file)); string(text) != want || err != nil {
			t.Errorf("%s has %q (%v), want %q", file, text, err, want)
		}
	}
	if text, err := os.ReadFile(c.record); string(text) != filepath.Join(own, "procops-fake")+"\n" || err != nil {
		t.Errorf("the record is %q (%v)", text, err)
	}
}

func TestCgroupWithoutLimits(t *testing.T) {
	c, own := fakeCgroups(t, "")
	g, gaps, err := c.Make("web", CgroupLimits{})
	if err != nil || len(gaps) > 0 {
		t.Fatalf("gaps %v, %v", gaps, err)
	}
	for _, file := range []string{g.Path() + "/memory.max", g.Path() + "/cpu.max", own + "/cgroup.subtree_control"} {
		if text, err := os.ReadFile(file); len(text) > 0 || err != nil {
			t.Errorf("%s has %q (%v)", file, text, err)
		}
	}
}

func TestCgroupGaps(t *testing.T) {
	c, own := fakeCgroups(t, "cpu")
	_, gaps, err := c.Make("web", allCgroupLimits())
	if err != nil {
		t.Fatal(err)
	}
	why := func(controller string) string {
		if isV1(controller) {
			return "the " + controller + " controller is in cgroup v1 on this machine, not in v2"
		}
		return fmt.Sprintf("cgroup %q has no %s controller", own, controller)
	}
	want := []string{"memory_high: " + why("memory"), "memory: " + why("memory"), "pids: " + why("pids")}
	if got := gapTexts(gaps); !slices.Equal(got, want) {
		t.Errorf("gaps\n%q, want\n%q", got, want)
	}

	c, own = fakeCgroups(t, "cpu memory pids")
	mkdir := c.mkdir
	c.mkdir = func(dir string) error {
		return errors.Join(mkdir(dir), os.RemoveAll(filepath.Join(dir, "memory.high")))
	}
	_, gaps, err = c.Make("web", allCgroupLimits())
	want = []string{`memory_high: cannot set memory.high to "209715200": no such file or directory`}
	if got := gapTexts(gaps); err != nil || !slices.Equal(got, want) {
		t.Errorf("gaps %q, %v, want %q", got, err, want)
	}

	if err := os.Chmod(own, 0o500); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(own, "cgroup.subtree_control")); err != nil && os.Getuid() == 0 {
		t.Fatal(err)
	}
	_, gaps, err = c.Make("db", CgroupLimits{Pids: 1})
	want = []string{fmt.Sprintf("pids: cannot enable the pids controller in cgroup %q: no such file or directory", own)}
	if got := gapTexts(gaps); os.Getuid() == 0 && (err != nil || !slices.Equal(got, want)) {
		t.Errorf("gaps %q, %v, want %q", got, err, want)
	}
	if got := (CgroupLimits{CPU: 1, Pids: 3}).Gaps(os.ErrPermission); fmt.Sprint(gapTexts(got)) != "[cpu: permission denied pids: permission denied]" {
		t.Errorf("all gaps: %q", gapTexts(got))
	}
}

// The kernel lets a cgroup with processes hand out some controllers, but nothing
// can run below it then.
func TestThreadedCgroupIsNone(t *testing.T) {
	c, own := fakeCgroups(t, "pids")
	mkdir := c.mkdir
	c.mkdir = func(dir string) error {
		return errors.Join(mkdir(dir), os.WriteFile(filepath.Join(dir, "cgroup.type"), []byte("domain invalid\n"), 0o600))
	}
	g, _, err := c.Make("web", CgroupLimits{Pids: 1})
	want := fmt.Sprintf("cgroup %q is threaded, so that none below it can have processes\n", own)
	if g != nil || err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v, %v, want %s", g, err, want)
	}
	if err := os.WriteFile(filepath.Join(own, "cgroup.type"), []byte("domain\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(own, "cgroup.procs"), []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err = c.enable("pids")
	want = fmt.Sprintf("cannot enable the pids controller in cgroup %q: others are in it as well, such as process 1\n", own)
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}

func gapTexts(gaps []CgroupGap) (list []string) {
	for _, gap := range gaps {
		text := gap.Err.Error()
		if gap.Err == os.ErrPermission { //nolint:errorlint // this very one
			text = "permission denied"
		}
		list = append(list, gap.Limit+": "+text)
	}
	return list
}

func TestNoCgroup(t *testing.T) {
	for _, c := range []struct{ mounts, own, want, err string }{
		{"30 22 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n40 30 0:37 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n", "1:cpu:/a\n0::/\n", "/sys/fs/cgroup/unified", ""},
		{"35 24 0:30 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw\n", "0::/user.slice/x.scope\n", "/sys/fs/cgroup/user.slice/x.scope", ""},
		{"35 24 0:30 /docker/a /sys/fs/my\\040cgroup ro - cgroup2 c rw\n", "0::/docker/a/b\n", "/sys/fs/my cgroup/b", ""},
		{"35 24 0:30 /docker/a /cg ro - cgroup2 c rw\n", "0::/docker/a\n", "/cg", ""},
		{"35 24 0:30 /docker/a /cg ro - cgroup2 c rw\n", "0::/docker/ab\n", "", `procops is in cgroup "/docker/ab", which no mount of cgroup v2 shows`},
		{"35 24 0:30 / /cg ro - cgroup2 c rw\n", "0::/../other\n", "", `procops is in cgroup "/../other", which no mount of cgroup v2 shows`},
		{"30 22 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n", "0::/\n", "", "cgroup v2 is not mounted"},
		{"", "4:memory:/\n", "", "this kernel has no cgroup v2"},
		{"\n - \n1 2 3 - cgroup2\n", "0::/\n", "", "cgroup v2 is not mounted"},
	} {
		dir, err := cgroupDir(c.mounts, c.own)
		if dir != c.want || text(err) != c.err {
			t.Errorf("%q in %q: %q, %v, want %q, %s", c.own, c.mounts, dir, err, c.want, c.err)
		}
	}
	c := newTestCgroups(t, "none")
	c.locate = func() (string, error) { return "/proc/self", nil }
	_, _, err := c.Make("web", allCgroupLimits())
	if want := `cannot make cgroup "/proc/self/` + c.branchName() + `": no such file or directory`; text(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
	c.own = ""
	var none *Cgroup
	if killed, err := none.End(); killed != nil || err != nil || none.Path() != "" || none.OOMKills() != 0 {
		t.Errorf("no cgroup: %v, %v", killed, err)
	}
}

func TestOOMKillsAreCounted(t *testing.T) {
	c, _ := fakeCgroups(t, "memory")
	g, _, err := c.Make("web", CgroupLimits{})
	if err != nil {
		t.Fatal(err)
	}
	if n := g.OOMKills(); n != 0 {
		t.Errorf("%d without a count", n)
	}
	events := "low 0\nhigh 7\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"
	if err := os.WriteFile(filepath.Join(g.Path(), "memory.events"), []byte(events), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := g.OOMKills(); n != 2 {
		t.Errorf("%d, want 2", n)
	}
}

// hider leaves its group and its session, hides its environment and has its parents
// end.
const hider = `(setsid env -i /bin/sh -c 'trap "" TERM; sleep 1000 & echo $$ > hidden; while :; do sleep 1000; done' &) ; `

// hide starts a hider in a cgroup and returns its pid when it hides. Where the kernel
// offers no cgroup it checks that this is said and returns 0.
func hide(t *testing.T, h *Host, c *Cgroups, script string) (*Process, *Cgroup, int) {
	t.Helper()
	g, _, err := c.Make("web", CgroupLimits{})
	if err != nil {
		if !strings.Contains(err.Error(), "cgroup") {
			t.Errorf("no cgroup: %v", err)
		}
		return nil, nil, 0
	}
	s := shSpec(hider + script)
	s.Dir, s.Cgroup = t.TempDir(), g
	p := mustStart(t, h, s)
	pid := 0
	eventually(t, "the hider", func() bool {
		text, _ := os.ReadFile(filepath.Join(s.Dir, "hidden"))
		_, err := fmt.Sscan(string(text), &pid)
		return err == nil && strings.HasSuffix(string(text), "\n")
	})
	if where, err := os.ReadFile(procFile(pid, "cgroup")); err != nil || !strings.Contains(string(where), "0::") || !strings.HasSuffix(string(where), c.branchName()+"/process-web\n") {
		t.Errorf("the hider is in %q (%v)", where, err)
	}
	return p, g, pid
}

func TestCgroupEndsWhatHides(t *testing.T) {
	h := newTestHost(t, HostOptions{Guard: true, RunToken: fmt.Sprintf("hide-%d", os.Getpid())})
	c := newTestCgroups(t, "hide")
	p, g, hidden := hide(t, h, c, "exec sleep 1000")
	if hidden == 0 {
		return
	}
	if err := p.Stop(t.Context(), Ladder{}); err != nil {
		t.Fatal(err)
	}
	if !Runs(hidden) {
		t.Fatal("the end of the group has ended the hider as well: the test shows nothing")
	}
	killed, err := g.End()
	if err != nil || !slices.Contains(killed, hidden) || Runs(hidden) {
		t.Errorf("killed %v, %v, want %d among them", killed, err, hidden)
	}
	if _, err := os.Stat(g.Path()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the cgroup is still there (%v)", err)
	}
	if killed, err := g.End(); len(killed) > 0 || err != nil {
		t.Errorf("again: %v, %v", killed, err)
	}
	s := shSpec("true")
	s.Cgroup = g
	if _, err := h.Start(s); text(err) != `cannot start "/bin/sh": cannot put it into its cgroup: no such file or directory` {
		t.Errorf("start in a cgroup that is gone: %v", err)
	}
}

// A cgroup that is still there is that of an earlier run: it is ended, not used.
func TestCgroupIsNeverSharedWithAnEarlierRun(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	c := newTestCgroups(t, "again")
	p, _, hidden := hide(t, h, c, "exec sleep 1000")
	if hidden == 0 {
		return
	}
	g, _, err := c.Make("web", CgroupLimits{})
	if err != nil || Runs(hidden) || len(cgroupMembers(g.Path())) > 0 {
		t.Errorf("%v, the hider runs: %t", err, Runs(hidden))
	}
	await(t, "end of the leader", p.Gone())
	if _, err := g.End(); err != nil {
		t.Error(err)
	}
}

// Without cgroup.kill, which kernels before 5.14 lack, the members are killed one by
// one.
func TestCgroupIsKilledOneByOne(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	c := newTestCgroups(t, "one")
	p, g, hidden := hide(t, h, c, "while :; do setsid sleep 1000 & sleep 0.01; done")
	if hidden == 0 {
		return
	}
	eventually(t, "end of all", func() bool {
		for _, pid := range cgroupMembersBelow(g.Path()) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		return len(cgroupMembersBelow(g.Path())) == 0
	})
	killCgroup(t.TempDir(), []int{0, 1, p.PID()}) // neither the own group nor init
	await(t, "end of the leader", p.Gone())
	if _, err := g.End(); err != nil {
		t.Error(err)
	}
}

func TestCgroupEndsCgroupsBelow(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	c := newTestCgroups(t, "below")
	g, _, err := c.Make("web", CgroupLimits{})
	if err != nil {
		return // what is said then, hide checks
	}
	s := shSpec(`mkdir -p a/b && echo $$ > a/b/cgroup.procs && echo in && exec sleep 1000`)
	s.Dir, s.Cgroup = g.Path(), g
	out := newOutput()
	s.Output = out.add
	p := mustStart(t, h, s)
	eventually(t, "a process in a cgroup below", func() bool { return len(cgroupMembers(filepath.Join(g.Path(), "a", "b"))) == 1 })
	killed, err := g.End()
	if err != nil || !slices.Equal(killed, []int{p.PID()}) {
		t.Errorf("killed %v, %v", killed, err)
	}
	await(t, "its end", p.Gone())
}

func TestCgroupSweep(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	former := newTestCgroups(t, "sweep")
	p, g, hidden := hide(t, h, former, "exec sleep 1000")
	if hidden == 0 {
		return
	}
	next := NewCgroups(former.token, former.record)
	if killed, err := next.Sweep("web"); len(killed) > 0 || err != nil || !Runs(hidden) {
		t.Errorf("killed %v, %v, although it is to be kept", killed, err)
	}
	// The next one starts in another cgroup: it finds the branch by the record.
	next.locate = func() (string, error) { return t.TempDir(), nil }
	killed, err := next.Sweep()
	if err != nil || !slices.Contains(killed, hidden) || !slices.Contains(killed, p.PID()) || Runs(hidden) {
		t.Errorf("killed %v, %v, want %d and %d among them", killed, err, p.PID(), hidden)
	}
	await(t, "end of the leader", p.Gone())
	for _, path := range []string{filepath.Dir(g.Path()), former.record} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there (%v)", path, err)
		}
	}
}

// A record that leads elsewhere, by mistake or malice, does no harm.
func TestCgroupSweepTrustsNoRecord(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	other := newTestCgroups(t, "victim")
	p, g, hidden := hide(t, h, other, "exec sleep 1000")
	if hidden == 0 {
		return
	}
	fake := filepath.Join(t.TempDir(), "procops-thief")
	if err := os.MkdirAll(filepath.Join(fake, "process-web"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(fake, "process-web", "cgroup.procs"), []byte(strconv.Itoa(hidden)), 0o600); err != nil {
		t.Fatal(err)
	}
	thief := NewCgroups("thief", filepath.Join(t.TempDir(), "cgroup"))
	for _, path := range []string{filepath.Dir(g.Path()), filepath.Dir(filepath.Dir(g.Path())), fake, "relative", "", "/", "\x00"} {
		if err := os.WriteFile(thief.record, []byte(path+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if killed, err := thief.Sweep(); len(killed) > 0 || err != nil || !Runs(hidden) {
			t.Errorf("%q: killed %v, %v", path, killed, err)
		}
	}
	if _, err := g.End(); err != nil {
		t.Error(err)
	}
	await(t, "end of the leader", p.Gone())
}

// helpAside is a procops in a cgroup of its own, below which it is to hand out a
// controller.
func helpAside() error {
	h, err := NewHost(HostOptions{Guard: true})
	if err != nil {
		return err
	}
	p, err := h.Start(Spec{Argv: []string{"sleep", "1000"}})
	if err != nil {
		return err
	}
	c := NewCgroups("aside", os.Getenv("ASIDE_RECORD"))
	g, _, err := c.Make("web", CgroupLimits{})
	if err != nil {
		return err
	}
	before := c.own
	if err := c.enable(os.Getenv("ASIDE_CONTROLLER")); err != nil {
		fmt.Println("refused:", strings.ReplaceAll(err.Error(), before, "OWN"))
	}
	s := shSpec("sed -n 's:^0.*/procops-outer-[0-9]*::p' /proc/self/cgroup")
	s.Cgroup, s.Stdout = g, os.Stdout
	q, err := h.Start(s)
	if err != nil {
		return err
	}
	<-q.Gone()
	again := NewCgroups("aside", os.Getenv("ASIDE_RECORD")) // as after a re-exec
	if _, _, err := again.Make("db", CgroupLimits{}); err != nil {
		return err
	}
	fmt.Println("same:", again.own == before)
	for _, pid := range []int{os.Getpid(), h.guard.current().PID(), p.PID()} {
		where, err := os.ReadFile(procFile(pid, "cgroup"))
		fmt.Println(filepath.Base(strings.TrimSpace(string(where))), err)
	}
	if err := errors.Join((&Cgroup{dir: filepath.Join(again.branch(), "process-db")}).removeEmpty(), g.removeEmpty(), again.Close()); err != nil {
		return err
	}
	left, err := os.ReadFile("/proc/self/cgroup")
	fmt.Println("back:", strings.HasSuffix(strings.TrimSpace(string(left)), filepath.Base(before)), err)
	return h.Close()
}

func (g *Cgroup) removeEmpty() error {
	_, err := g.End()
	return err
}

// TestProcopsMakesRoom has procops hand out a controller of the real kernel. Only a
// cgroup without processes may, so that procops has to move; unless others are in
// its cgroup as well.
func TestProcopsMakesRoom(t *testing.T) {
	outer, controller := outerCgroup(t)
	if controller == "" {
		return // nothing can be handed out here
	}
	for name, stranger := range map[string]bool{"alone": false, "with a stranger": true} {
		t.Run(name, func(t *testing.T) {
			s := helperSpec(t, "aside", "ASIDE_CONTROLLER="+controller, "ASIDE_RECORD="+filepath.Join(t.TempDir(), "cgroup"))
			prefix := "exec "
			if stranger {
				prefix = "" // the shell stays
			}
			cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", "echo 0 > "+outer+"/cgroup.procs; "+prefix+s.Argv[0]+"; exit $?")
			cmd.Env, cmd.Stderr = s.Env, os.Stderr
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var got []string
			for lines := bufio.NewScanner(stdout); lines.Scan(); {
				got = append(got, lines.Text())
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			const inside = "/procops-aside/process-web"
			want := []string{inside, "same: true", "supervisor <nil>", "supervisor <nil>", "supervisor <nil>", "back: true <nil>"}
			if stranger {
				refused := fmt.Sprintf("refused: cannot enable the %s controller in cgroup \"OWN\": others are in it as well, such as process %d", controller, cmd.Process.Pid)
				own := filepath.Base(outer) + " <nil>"
				want = []string{refused, inside, "same: true", own, own, own, "back: true <nil>"}
			}
			if !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if below := cgroupsBelow(outer); len(below) > 0 {
				t.Errorf("cgroups %v are left", below)
			}
		})
	}
}

// outerCgroup makes a cgroup that has a controller to hand out; the controller is
// empty where the kernel or the rights do not allow it.
func outerCgroup(t *testing.T) (dir, controller string) {
	t.Helper()
	own, err := ownCgroup("")
	if err != nil {
		return "", ""
	}
	dir = filepath.Join(own, fmt.Sprintf("procops-outer-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", ""
	}
	controllers, err := os.ReadFile(filepath.Join(own, "cgroup.controllers"))
	if err != nil {
		t.Fatal(err)
	}
	for word := range strings.FieldsSeq(string(controllers)) {
		had := hasWord(own, "cgroup.subtree_control", word)
		if !had && writeCgroup(own, "cgroup.subtree_control", "+"+word) != nil {
			continue
		}
		t.Cleanup(func() {
			if err := removeCgroup(dir); err != nil {
				t.Error(err)
			}
			if !had {
				_ = writeCgroup(own, "cgroup.subtree_control", "-"+word) // others may use it by now
			}
		})
		return dir, word
	}
	if err := removeCgroup(dir); err != nil {
		t.Error(err)
	}
	return "", ""
}
