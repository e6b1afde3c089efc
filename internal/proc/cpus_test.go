package proc

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestCPUs(t *testing.T) {
	for text, want := range map[string][]uint64{
		"0":       {1},
		"0-3,6":   {0b1001111},
		"1, 1 ,2": {0b110},
		"63-64":   {1 << 63, 1},
		"130":     {0, 0, 4},
	} {
		var c CPUs
		err := c.UnmarshalText([]byte(text))
		mask, bad := c.mask()
		if err != nil || bad != nil || !slices.Equal(mask, want) {
			t.Errorf("%q: %b, %v, %v, want %b", text, mask, err, bad, want)
		}
	}
	for text, want := range map[string]string{
		"":      `invalid list of CPUs "": want something like "0-3,6"`,
		"a":     `invalid list of CPUs "a": want something like "0-3,6"`,
		"1,":    `invalid list of CPUs "1,": want something like "0-3,6"`,
		"-1":    `invalid list of CPUs "-1": want something like "0-3,6"`,
		"3-1":   `invalid list of CPUs "3-1": the range 3-1 is empty`,
		"0-1-2": `invalid list of CPUs "0-1-2": want something like "0-3,6"`,
		"8192":  `invalid list of CPUs "8192": the highest number of a CPU is 8191`,
	} {
		var c CPUs
		if err := c.UnmarshalText([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestCPUsCheck(t *testing.T) {
	if err := CPUs("3-5").checkAgainst("0-3"); err != nil {
		t.Error(err)
	}
	err := CPUs("4,6-7").checkAgainst("0-3")
	if want := "this machine has none of the CPUs 4,6-7: it runs with 0-3"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if err := CPUs("").Check(); err != nil {
		t.Error(err)
	}
	if err := CPUs("8191").Check(); err == nil {
		t.Error("there are 8192 CPUs here")
	}
}

func TestCPUsFromInside(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	own := allowed(t, "/proc/self/status")
	last := own[strings.LastIndexAny(own, "-,")+1:]
	s := shSpec("grep Cpus_allowed_list /proc/self/status")
	s.CPUs = CPUs(last + ",8000")
	if out, stderr, _ := run(t, h, s); out != "Cpus_allowed_list:\t"+last+"\n" {
		t.Errorf("got %q (%s), want %s", out, stderr, last)
	}
	if now := allowed(t, "/proc/self/status"); now != own {
		t.Errorf("procops itself was moved from %s to %s", own, now)
	}
	s.CPUs = "8000"
	_, err := h.Start(s)
	if want := `cannot start "/bin/sh": cannot tie it to its CPUs: procops may use none of them (invalid argument)`; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	s.CPUs = "x"
	if _, err := h.Start(s); err == nil {
		t.Error("a list that is none was taken")
	}
}

// allowed returns the list of CPUs that a process may run on.
func allowed(t *testing.T, status string) string {
	t.Helper()
	text, err := os.ReadFile(status)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "Cpus_allowed_list:\t")
	list, _, _ := strings.Cut(rest, "\n")
	return list
}

func TestLookupGroups(t *testing.T) {
	root, err := LookupUser("root", "", "daemon", "4321")
	if err != nil || !slices.Equal(root.Groups, []uint32{1, 4321}) || root.GID != 0 {
		t.Errorf("root with two groups: %+v, %v", root, err)
	}
	none, err := LookupUser("nobody", "daemon", []string{}...)
	if err != nil || !slices.Equal(none.Groups, []uint32{1}) {
		t.Errorf("nobody without groups: %+v, %v", none, err)
	}
	own, err := LookupUser("", "", "4321")
	if err != nil || int(own.UID) != syscall.Getuid() || int(own.GID) != syscall.Getgid() || !slices.Equal(own.Groups, []uint32{4321}) {
		t.Errorf("groups only: %+v, %v", own, err)
	}
	if _, err := LookupUser("root", "", "no-such-group"); err == nil || err.Error() != `cannot run with group "no-such-group": there is no such group` {
		t.Errorf("unknown group: %v", err)
	}
}
