package proc

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestLimitsFromInside(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	for _, c := range []struct {
		name, option, want string
		limits             func(*uint64) Limits
		value              uint64
	}{
		{"memory", "-v", "262144", func(v *uint64) Limits { return Limits{Memory: v} }, 256 << 20},
		{"data", "-d", "131072", func(v *uint64) Limits { return Limits{Data: v} }, 128 << 20},
		{"stack", "-s", "4096", func(v *uint64) Limits { return Limits{Stack: v} }, 4 << 20},
		{"files", "-n", "77", func(v *uint64) Limits { return Limits{Files: v} }, 77},
		{"procs", "-u", "555", func(v *uint64) Limits { return Limits{Procs: v} }, 555},
		{"core", "-c", "0", func(v *uint64) Limits { return Limits{Core: v} }, 0},
	} {
		s := shSpec("ulimit -S " + c.option + "; ulimit -H " + c.option)
		if c.name == "procs" {
			s.Argv[0] = "/bin/bash" // dash does not have it
		}
		s.Limits = c.limits(&c.value)
		if out, stderr, _ := run(t, h, s); out != c.want+"\n"+c.want+"\n" {
			t.Errorf("%s: got %q (%s), want %s", c.name, out, stderr, c.want)
		}
	}
}

func TestMemoryLimitHolds(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	limit := uint64(64 << 20)
	s := Spec{Argv: []string{"perl", "-e", `my $x = "x" x (256 << 20); print "too much"`}, Limits: Limits{Memory: &limit}}
	out, stderr, exit := run(t, h, s)
	if out != "" || exit.Code == 0 || !strings.Contains(stderr, "memory") {
		t.Errorf("%q, %q, %+v", out, stderr, exit)
	}
}

func TestProcessorTimeLimitCanBeCaught(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	one := uint64(1)
	s := Spec{Argv: []string{"perl", "-e", `$| = 1; $SIG{XCPU} = sub { print "caught\n" }; 1 while 1`}, Limits: Limits{CPUTime: &one}}
	out, _, exit := run(t, h, s)
	if out != "caught\n" || exit.Signal != syscall.SIGKILL {
		t.Errorf("%q, %+v", out, exit)
	}
	if used := exit.UserTime + exit.SystemTime; used < 1500*time.Millisecond || used > 3*time.Second {
		t.Errorf("used %v of processor time", used)
	}
}

func TestUmaskAndNice(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	mask := Umask(0o027)
	s := shSpec("umask; nice")
	s.Umask, s.Nice = &mask, 7
	if out, _, _ := run(t, h, s); out != "0027\n7\n" {
		t.Errorf("got %q", out)
	}
	own := syscall.Umask(0)
	syscall.Umask(own)
	kernel, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0) // 20 less the priority, so that it is no error
	if err != nil {
		t.Fatal(err)
	}
	if out, _, _ := run(t, h, shSpec("umask; nice")); out != fmt.Sprintf("0%s\n%d\n", Umask(own).octal(), 20-kernel) {
		t.Errorf("unset: got %q", out)
	}
}

func (u Umask) octal() string {
	text, _ := u.MarshalText()
	return string(text)
}

// needsRoot reports whether the tests run as root. Otherwise it checks that s is
// refused.
func needsRoot(t *testing.T, h *Host, s Spec) bool {
	t.Helper()
	if os.Getuid() == 0 {
		return true
	}
	if _, err := h.Start(s); !errors.Is(err, syscall.EPERM) {
		t.Errorf("change of user without privileges: %v", err)
	}
	return false
}

// An ordinary user may name itself.
func TestOwnUser(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	groups, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	own := &User{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}
	for _, g := range groups {
		own.Groups = append(own.Groups, uint32(g))
	}
	if own.change() != nil {
		t.Errorf("%+v is taken for another user", own)
	}
	s := shSpec("id -u")
	s.User = own
	if out, _, _ := run(t, h, s); out != strconv.Itoa(os.Getuid())+"\n" {
		t.Errorf("runs as %q", out)
	}
	for _, other := range []User{
		{UID: own.UID + 1, GID: own.GID, Groups: own.Groups},
		{UID: own.UID, GID: own.GID + 1, Groups: own.Groups},
		{UID: own.UID, GID: own.GID, Groups: append([]uint32{4321}, own.Groups...)},
	} {
		if other.change() == nil {
			t.Errorf("%+v is taken for %+v", other, own)
		}
	}
}

func TestUserFromInside(t *testing.T) {
	h := newTestHost(t, HostOptions{Guard: true})
	nobody, err := LookupUser("nobody", "")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Groups = []uint32{nobody.GID, 1, 2}
	dir := t.TempDir() // of mode 0700 and root's
	s := shSpec(`id -u; id -g; id -G; echo $HOME $USER; grep -E '^(Cap(Prm|Eff)|Uid|Gid):' /proc/self/status | tr '\t' ' '; ls ` + dir)
	s.User = nobody
	s.Env = append(os.Environ(), nobody.Env()...)
	if !needsRoot(t, h, s) {
		return
	}
	out, stderr, _ := run(t, h, s)
	uid, gid := strconv.Itoa(int(nobody.UID)), strconv.Itoa(int(nobody.GID))
	four := func(id string) string { return strings.TrimSpace(strings.Repeat(" "+id, 4)) }
	want := uid + "\n" + gid + "\n" + gid + " 1 2\n" + nobody.Home + " nobody\n" +
		"Uid: " + four(uid) + "\nGid: " + four(gid) + "\nCapPrm: 0000000000000000\nCapEff: 0000000000000000\n"
	if out != want {
		t.Errorf("got %q, want %q", out, want)
	}
	if !strings.Contains(stderr, "ermission denied") {
		t.Errorf("root's directory can be read: %q", stderr)
	}

	s.Dir = dir
	if _, err := h.Start(s); !errors.Is(err, syscall.EACCES) {
		t.Errorf("start in root's directory: %v", err)
	}
}

func TestNoUserKeepsNoGroups(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	s := shSpec("id -G")
	s.User = &User{UID: 4321, GID: 4321}
	if !needsRoot(t, h, s) {
		return
	}
	if out, _, _ := run(t, h, s); out != "4321\n" {
		t.Errorf("groups %q", out)
	}
}

// A change of user takes the parent-death signal away: it must be set again.
func TestParentDeathSignalOfAnotherUser(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	s := Spec{Argv: []string{"perl", "-e", `my $PR_GET_PDEATHSIG = 2; syscall(157, $PR_GET_PDEATHSIG, my $x = pack("i", 0)); print unpack("i", $x)`}}
	s.User = &User{UID: 4321, GID: 4321}
	if !needsRoot(t, h, s) {
		return
	}
	if out, stderr, _ := run(t, h, s); out != "9" {
		t.Errorf("signal %q (%s)", out, stderr)
	}
}

func TestWithoutPrivileges(t *testing.T) {
	s := helperSpec(t, "unprivileged")
	h := newTestHost(t, HostOptions{})
	if os.Getuid() == 0 {
		s.User = &User{UID: 65534, GID: 65534}
	}
	s.Dir = "/"
	// The test binary lies in a directory of root's.
	file, err := os.Open(s.Argv[0])
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, file)
	s.ExtraFiles = []*os.File{file}
	s.Argv = []string{"/proc/self/fd/3"}
	out, stderr, exit := run(t, h, s)
	want := "cannot start \"true\": cannot set its supplementary groups: operation not permitted\n" +
		"cannot start \"true\": cannot set its priority: permission denied\n" +
		"cannot start \"true\": cannot set its limit of open files to 1000000000: operation not permitted\n"
	if out != want || exit.Code != 0 {
		t.Errorf("got %q (%s, exit %+v), want %q", out, stderr, exit, want)
	}
}

// helpUnprivileged tries what needs privileges and prints the errors.
func helpUnprivileged() error {
	h, err := NewHost(HostOptions{})
	if err != nil {
		return err
	}
	many := uint64(1000000000)
	for _, s := range []Spec{{User: &User{}}, {Nice: -5}, {Limits: Limits{Files: &many}}} {
		s.Argv = []string{"true"}
		_, err := h.Start(s)
		if _, err := os.Stdout.WriteString(text(err) + "\n"); err != nil {
			return err
		}
	}
	return h.Close()
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestLookupUser(t *testing.T) {
	root, err := LookupUser("root", "")
	if err != nil || root.UID != 0 || root.GID != 0 || root.Home != "/root" {
		t.Errorf("root: %+v, %v", root, err)
	}
	if byNumber, err := LookupUser("0", "daemon"); err != nil || byNumber.Name != "root" || byNumber.GID != 1 {
		t.Errorf("0: %+v, %v", byNumber, err)
	}
	if self, err := LookupUser("", "daemon"); err != nil || int(self.UID) != os.Getuid() || self.GID != 1 {
		t.Errorf("group only: %+v, %v", self, err)
	}
	if unknown, err := LookupUser("123456", "654321"); err != nil || unknown.UID != 123456 || unknown.GID != 654321 || len(unknown.Groups) != 1 {
		t.Errorf("123456: %+v, %v", unknown, err)
	}
	for _, c := range []struct{ user, group, want string }{
		{"no-such-user", "", `cannot run as user "no-such-user": there is no such user`},
		{"root", "no-such-group", `cannot run with group "no-such-group": there is no such group`},
		{"123456", "", `cannot run as user "123456": the number has no entry in the user database, so a group is needed too`},
		{"-1", "", `cannot run as user "-1": there is no such user`},
		{"4294967295", "0", `cannot run as user "4294967295": there is no such user`},
	} {
		if _, err := LookupUser(c.user, c.group); err == nil || err.Error() != c.want {
			t.Errorf("%q, %q: %v, want %s", c.user, c.group, err, c.want)
		}
	}
}
