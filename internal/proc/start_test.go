package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func writeScript(tb testing.TB, dir, name, text string, mode os.FileMode) string {
	tb.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		tb.Fatal(err)
	}
	return path
}

func TestProgramIsSearchedInTheChildsPath(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	root := t.TempDir()
	first, second := filepath.Join(root, "first"), filepath.Join(root, "second")
	writeScript(t, first, "tool", "#!/bin/sh\necho not executable\n", 0o644)
	writeScript(t, second, "tool", "#!/bin/sh\necho second\n", 0o755)
	writeScript(t, filepath.Join(root, "rel", "sub"), "tool", "#!/bin/sh\necho relative to $PWD\n", 0o755)
	if err := os.Mkdir(filepath.Join(first, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", "/nowhere")

	for _, c := range []struct {
		name, dir string
		env       []string
		want      string
	}{
		{"tool", "", []string{"PATH=" + first + ":" + second}, "second\n"},
		{"tool", "", []string{"PATH=/nowhere", "PATH=" + second}, "second\n"},
		{"sub/tool", filepath.Join(root, "rel"), []string{}, "relative to " + filepath.Join(root, "rel") + "\n"},
		{"./tool", second, []string{}, "second\n"},
		{second + "/tool", "", nil, "second\n"},
	} {
		out, _, _ := run(t, h, Spec{Argv: []string{c.name}, Dir: c.dir, Env: c.env})
		if out != c.want {
			t.Errorf("%s in %q with %q: got %q, want %q", c.name, c.dir, c.env, out, c.want)
		}
	}
	if out, _, _ := run(t, h, Spec{Argv: []string{"echo", "default path"}, Env: []string{}}); out != "default path\n" {
		t.Errorf("without PATH: %q", out)
	}
}

func TestStartErrors(t *testing.T) {
	h := newTestHost(t, HostOptions{Guard: true})
	root := t.TempDir()
	plain := writeScript(t, root, "plain", "#!/bin/sh\n", 0o644)
	orphan := writeScript(t, root, "orphan", "#!/no/such/interpreter\n", 0o755)
	garbage := writeScript(t, root, "garbage", "\x01\x02\x03", 0o755)
	missing := func(err error) bool { return errors.Is(err, fs.ErrNotExist) && errors.Is(err, exec.ErrNotFound) }
	denied := func(err error) bool { return errors.Is(err, fs.ErrPermission) }
	other := func(error) bool { return true }

	for _, c := range []struct {
		spec Spec
		is   func(error) bool
		want string
	}{
		{Spec{Argv: []string{"no-such-program"}}, missing, `cannot start "no-such-program": not found in its PATH`},
		{Spec{Argv: []string{"plain"}, Dir: root, Env: []string{"PATH=.:"}}, missing, `cannot start "plain": not found in its PATH (relative directories in PATH are not searched)`},
		{Spec{Argv: []string{"plain"}, Env: []string{"PATH=" + root}}, denied, `cannot start "plain": permission denied: what its PATH has by that name is not executable`},
		{Spec{Argv: []string{root + "/no"}}, missing, `cannot start "` + root + `/no": no such file`},
		{Spec{Argv: []string{plain}}, denied, `cannot start "` + plain + `": permission denied: it is not executable`},
		{Spec{Argv: []string{root}}, denied, `cannot start "` + root + `": permission denied: it is a directory`},
		{Spec{Argv: []string{orphan}}, missing, `cannot start "` + orphan + `": its interpreter does not exist`},
		{Spec{Argv: []string{garbage}}, other, `cannot start "` + garbage + `": exec format error: not a program, nor a script that begins with "#!"`},
		{Spec{Argv: []string{"true"}, Dir: root + "/no"}, other, `cannot start "true": cannot change to directory "` + root + `/no": no such file or directory`},
		{Spec{}, other, `cannot start "": the command is empty`},
		{Spec{Argv: []string{"echo", "a\x00b"}}, other, `cannot start "echo": argument 2 of the command holds a NUL character`},
		{Spec{Argv: []string{"true"}, Env: []string{"SECRET=a\x00b"}}, other, `cannot start "true": the variable "SECRET" holds a NUL character`},
		{Spec{Argv: []string{"true"}, Nice: 20}, other, `cannot start "true": priority 20 is not between -20 and 19`},
	} {
		_, err := h.Start(c.spec)
		if err == nil || err.Error() != c.want || !c.is(err) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
	if n := len(h.guard.table.free); n != int(h.guard.table.used) {
		t.Errorf("%d of %d slots of the guard's table are free", n, h.guard.table.used)
	}
}

func TestTenThousandEndsAreSeen(t *testing.T) {
	// What earlier tests have left behind may come in as strays; what this one
	// has started must not.
	var strays, started sync.Map
	h := newTestHost(t, HostOptions{Guard: true, Subreaper: true, OnStray: func(pid int, _ Exit) { strays.Store(pid, true) }})
	const total, atOnce = 10000, 100
	null := h.null
	running := make(chan *Process, atOnce)
	begin := time.Now()
	go func() {
		defer close(running)
		for range total {
			p, err := h.Start(Spec{Argv: []string{"/bin/true"}, Stdout: null, Stderr: null, Env: []string{}})
			if err != nil {
				t.Error(err)
				return
			}
			started.Store(p.PID(), true)
			running <- p
		}
	}()
	seen := 0
	for p := range running {
		await(t, "end of true", p.Gone())
		if exit := p.Exit(); exit.Code != 0 || exit.Signal != 0 || p.Identity().Start == 0 {
			t.Fatalf("exit %+v of %+v", exit, p.Identity())
		}
		seen++
	}
	if seen != total {
		t.Errorf("saw %d ends of %d", seen, total)
	}
	strays.Range(func(pid, _ any) bool {
		if _, own := started.Load(pid); own {
			t.Errorf("process %d was taken for a stray", pid)
		}
		return true
	})
	t.Logf("%.0f starts and ends per second", float64(total)/time.Since(begin).Seconds())
}

func TestThreeHundredStarts(t *testing.T) {
	h := newTestHost(t, HostOptions{Guard: true, Subreaper: true})
	begin := time.Now()
	var started []*Process
	for range 300 {
		started = append(started, mustStart(t, h, Spec{Argv: []string{"sleep", "1000"}}))
	}
	t.Logf("300 starts took %v", time.Since(begin))
	for _, p := range started {
		if !p.Identity().Alive() {
			t.Errorf("%+v is not alive", p.Identity())
		}
	}
	begin = time.Now()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("300 ends took %v", time.Since(begin))
	for _, p := range started {
		if p.Identity().Alive() {
			t.Errorf("%+v is alive", p.Identity())
		}
	}
}

func TestOneHostAtATime(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	if other, err := NewHost(HostOptions{}); err == nil {
		t.Errorf("a second host is allowed: %v", other.Close())
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Start(Spec{Argv: []string{"true"}}); !errors.Is(err, ErrClosed) {
		t.Errorf("start after close: %v", err)
	}
	newTestHost(t, HostOptions{})
}

func TestRunTokens(t *testing.T) {
	for _, token := range []string{"a b", "a=b", "ä", strings.Repeat("x", 61), "a\x00"} {
		if h, err := NewHost(HostOptions{RunToken: token}); err == nil {
			t.Errorf("token %q is allowed: %v", token, h.Close())
		}
	}
	h := newTestHost(t, HostOptions{RunToken: strings.Repeat("x", 60)})
	out, _, _ := run(t, h, Spec{Argv: []string{"env"}, Env: []string{"PROCOPS_RUN=other", "A=1", "A=2"}})
	if want := "A=2\nPROCOPS_RUN=" + h.marker + "\n"; out != want {
		t.Errorf("environment %q, want %q", out, want)
	}
}

func TestGroupsAndSessions(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	for _, session := range []bool{false, true} {
		s := shSpec("ps -o pid=,pgid=,sid= $$")
		s.Session = session
		out, _, _ := run(t, h, s)
		ids := strings.Fields(out)
		if len(ids) != 3 || ids[0] != ids[1] || (ids[0] == ids[2]) != session {
			t.Errorf("session %v: pid, group and session are %q", session, ids)
		}
	}
}

func TestDescriptorsOfTheChild(t *testing.T) {
	h := newTestHost(t, HostOptions{Guard: true, Subreaper: true})
	mustStart(t, h, shSpec("sleep 1000"))
	// A file that is deliberately not closed on exec.
	leak, err := syscall.Dup(int(h.null.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, os.NewFile(uintptr(leak), "leak"))
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, read)
	closeLater(t, write)
	out, _, _ := run(t, h, Spec{Argv: []string{"/bin/ls", "/proc/self/fd"}})
	if out != "0\n1\n2\n3\n" { // 3 is the directory that ls reads
		t.Errorf("descriptors %q", out)
	}
	out, _, _ = run(t, h, Spec{Argv: []string{"/bin/ls", "/proc/self/fd"}, ExtraFiles: []*os.File{write, nil, write}, Progress: func(Line) {}})
	if out != "0\n1\n2\n3\n4\n5\n6\n" { // 3 progress, 4 and 6 write, 5 the directory
		t.Errorf("with extra files: descriptors %q", out)
	}
}

// The descriptors of the child may stand in each other's places.
func TestDescriptorsAreShuffled(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	dir := t.TempDir()
	var files []*os.File
	for i := range 20 {
		f, err := os.Create(filepath.Join(dir, strconv.Itoa(i)))
		if err != nil {
			t.Fatal(err)
		}
		closeLater(t, f)
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b *os.File) int { return int(b.Fd()) - int(a.Fd()) })
	script := ""
	for i := range files {
		script += "readlink /proc/$$/fd/" + strconv.Itoa(3+i) + ";"
	}
	s := Spec{Argv: []string{"/bin/bash", "-c", script}, ExtraFiles: files}
	out, stderr, _ := run(t, h, s)
	want := ""
	for _, f := range files {
		want += f.Name() + "\n"
	}
	if out != want {
		t.Errorf("got %q, want %q (%s)", out, want, stderr)
	}
}

func TestNoDescriptorIsLeaked(t *testing.T) {
	h := newTestHost(t, HostOptions{Guard: true})
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	run(t, h, shSpec("echo warm up"))
	before := count()
	for range 50 {
		run(t, h, shSpec("echo x; echo y >&2"))
		if _, err := h.Start(Spec{Argv: []string{"/no/such"}}); err == nil {
			t.Fatal("started /no/such")
		}
	}
	eventually(t, "the same number of descriptors", func() bool { return count() <= before })
}

func TestOpenFilesLimitIsThatOfTheStart(t *testing.T) {
	s := helperSpec(t, "open files")
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", `ulimit -Sn 200; exec "$0"`, s.Argv[0])
	cmd.Env = s.Env
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var own, child int
	if _, err := fmt.Sscan(string(out), &own, &child); err != nil || own <= 200 || child != 200 {
		t.Errorf("procops has %d, its child %d: want 200 in the child (%v)", own, child, err)
	}
}

// helpOpenFiles prints its own limit of open files, which the Go runtime has
// raised, and has a child print its.
func helpOpenFiles() error {
	var own syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &own); err != nil {
		return err
	}
	fmt.Println(own.Cur)
	h, err := NewHost(HostOptions{})
	if err != nil {
		return err
	}
	s := shSpec("ulimit -Sn")
	s.Stdout = os.Stdout
	p, err := h.Start(s)
	if err != nil {
		return err
	}
	<-p.Gone()
	return h.Close()
}

func TestStdinIsNull(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	if out, _, exit := run(t, h, Spec{Argv: []string{"cat"}}); out != "" || exit.Code != 0 {
		t.Errorf("cat without input: %q, %+v", out, exit)
	}
}

func TestIdentity(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	p := mustStart(t, h, Spec{Argv: []string{"sleep", "1000"}})
	id := p.Identity()
	if !id.Alive() {
		t.Error("not alive after the start")
	}
	usage, err := id.Usage()
	if err != nil || usage.RSS == 0 {
		t.Errorf("usage %+v, %v", usage, err)
	}
	for _, other := range []Identity{
		{id.PID, id.Start + 1, id.Boot},
		{id.PID, id.Start, "another boot"},
		{id.PID, 0, id.Boot},
		{0, 0, ""},
	} {
		if other.Alive() {
			t.Errorf("%+v is alive", other)
		}
		if killed, err := KillLeftover(t.Context(), other); killed || err != nil {
			t.Errorf("killed %+v: %v", other, err)
		}
	}
	if err := p.Signal(Signal(syscall.SIGKILL)); err != nil {
		t.Fatal(err)
	}
	await(t, "end", p.Gone())
	if id.Alive() {
		t.Error("alive after the end")
	}
	if _, err := id.Usage(); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("usage after the end: %v", err)
	}
	for _, send := range []func(Signal) error{p.Signal, p.SignalGroup} {
		if err := send(Signal(syscall.SIGKILL)); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("signal after the end: %v", err)
		}
	}
}

func TestKillLeftover(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "trap '' TERM; sleep 1000 & echo ready; wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdout.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	s, err := readStat(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	killed, err := KillLeftover(t.Context(), Identity{cmd.Process.Pid, s.start, boot})
	if !killed || err != nil {
		t.Errorf("got %v, %v", killed, err)
	}
	if n := groupMembers(cmd.Process.Pid); n > 0 {
		t.Errorf("%d processes of the group are left", n)
	}
	_ = cmd.Wait()
}

func TestSignalDeaths(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	for s := range signalNames {
		switch sig := syscall.Signal(s); sig {
		case 0, syscall.SIGCHLD, syscall.SIGCONT, syscall.SIGSTOP, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU,
			syscall.SIGURG, syscall.SIGWINCH: // these end nothing
		default:
			zero := uint64(0)
			p := mustStart(t, h, Spec{Argv: []string{"sleep", "1000"}, Limits: Limits{Core: &zero}})
			if err := p.Signal(Signal(sig)); err != nil {
				t.Fatal(err)
			}
			await(t, "end by "+Signal(sig).String(), p.Gone())
			if exit := p.Exit(); exit.Signal != sig || exit.ShellCode() != 128+s || exit.Core {
				t.Errorf("%s: %+v", Signal(sig), exit)
			}
		}
	}
}

// TestIncludes: the group, and who has left it but has a parent in it; nobody
// else, and nobody once it is gone.
func TestIncludes(t *testing.T) {
	h := newTestHost(t, HostOptions{Subreaper: true})
	out := newOutput()
	s := shSpec(`sleep 1000 & echo member $!; setsid sh -c 'echo session $$; sleep 1000 & echo below $!; wait' & wait`)
	s.Output = out.add
	p := mustStart(t, h, s)
	sibling := mustStart(t, h, Spec{Argv: []string{"sleep", "1000"}})
	in := []int{p.PID()}
	for _, word := range []string{"member", "session", "below"} {
		pid, err := strconv.Atoi(out.await(t, word+" "))
		if err != nil {
			t.Fatal(err)
		}
		in = append(in, pid)
	}
	for _, pid := range in {
		if !p.Includes(pid) {
			t.Errorf("pid %d of %v is not included", pid, in)
		}
	}
	for _, pid := range []int{sibling.PID(), os.Getpid(), os.Getppid(), 1, 0, -1, 1 << 30} {
		if p.Includes(pid) {
			t.Errorf("pid %d is included", pid)
		}
	}
	if err := p.Stop(t.Context(), Ladder{}); err != nil {
		t.Fatal(err)
	}
	if p.Includes(p.PID()) {
		t.Error("it is gone, and yet includes its own number")
	}
}

// TestPIDVariable: the child finds its own pid, whatever the variable held before, and
// the rest of its environment as it was.
func TestPIDVariable(t *testing.T) {
	h := newTestHost(t, HostOptions{RunToken: "pid-variable-test"})
	for range 20 {
		out, _, _ := run(t, h, Spec{
			Argv:        []string{"/bin/sh", "-c", `test "$ME" = $$ && env`},
			Env:         []string{"FIRST=1", "ME=someone else", "LAST=2"},
			PIDVariable: "ME",
		})
		for _, variable := range []string{"FIRST=1\n", "LAST=2\n", "PROCOPS_RUN=pid-variable-test:"} {
			if !strings.Contains("\n"+out, "\n"+variable) {
				t.Fatalf("without %s:\n%s", variable, out)
			}
		}
	}
	if _, err := h.Start(Spec{Argv: []string{"/bin/true"}, PIDVariable: "A=B"}); err == nil {
		t.Error("a variable with an equals sign in its name was taken")
	}
}
