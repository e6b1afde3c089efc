package install

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"procops/internal/fault"
)

// odd has what quoting has to withstand.
func odd() Service {
	return Service{
		Name: "odd", Description: "an odd one, 100 %", Program: "/opt/pro cops/bin/$HOME",
		Base: []string{"--config", `/etc/it's "50%".toml`, "--state-dir", `/var/lib/a\b`},
		Run:  []string{"supervise", "run"}, Start: []string{"supervise", "start"}, Stop: []string{"supervise", "stop"},
		Reload: []string{"supervise", "reload"}, Status: []string{"supervise", "status"}, Running: []int{1, 2},
	}
}

func TestUnit(t *testing.T) {
	unit := string(odd().Unit())
	for _, want := range []string{
		"\nDescription=an odd one, 100 %%\n",
		"\n" + `ExecStart="/opt/pro cops/bin/$$HOME" --config "/etc/it's \"50%%\".toml" --state-dir "/var/lib/a\\b" supervise run` + "\n",
		"\nWantedBy=multi-user.target\n",
	} {
		if !strings.Contains(unit, want) {
			t.Errorf("%q is missing in\n%s", want, unit)
		}
	}
	mine := odd()
	mine.ForUser, mine.User = true, ""
	if unit := string(mine.Unit()); strings.Contains(unit, "User=") || !strings.Contains(unit, "WantedBy=default.target") {
		t.Errorf("a user's unit:\n%s", unit)
	}
}

// TestUnitIsVerified: systemd finds nothing wrong with it.
func TestUnitIsVerified(t *testing.T) {
	s := odd()
	s.Name, s.Program, s.User = "procops", "/bin/true", "www-data"
	path := filepath.Join(t.TempDir(), "procops.service")
	if err := os.WriteFile(path, s.Unit(), 0o600); err != nil {
		t.Fatal(err)
	}
	said, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify", "--recursive-errors=no", path).CombinedOutput()
	if err != nil || strings.Contains(string(said), path) {
		t.Errorf("%v: %s\n%s", err, said, s.Unit())
	}
}

// TestWithoutReload: what cannot read its config again is restarted in place of that.
func TestWithoutReload(t *testing.T) {
	s := odd()
	s.Name, s.Program, s.User, s.Reload, s.Always = "procops", "/bin/true", "www-data", nil, true
	unit := string(s.Unit())
	if strings.Contains(unit, "ExecReload") || !strings.Contains(unit, "Restart=always\n") || !strings.Contains(unit, "TimeoutStartSec=infinity\n") {
		t.Errorf("the unit:\n%s", unit)
	}
	dir := t.TempDir()
	path, script := filepath.Join(dir, "procops.service"), filepath.Join(dir, "script")
	for file, content := range map[string][]byte{path: s.Unit(), script: s.Script()} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	said, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify", "--recursive-errors=no", path).CombinedOutput()
	if err != nil || strings.Contains(string(said), path) {
		t.Errorf("%v: %s\n%s", err, said, unit)
	}
	if said, err := exec.CommandContext(t.Context(), "sh", "-n", script).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, said)
	}
	if !strings.Contains(string(s.Script()), "force-reload|reload)\n\t\"$0\" stop && \"$0\" start || exit 7\n") {
		t.Errorf("the script:\n%s", s.Script())
	}
}

// TestScript runs the script with a procops that says what it was called with.
func TestScript(t *testing.T) {
	dir := t.TempDir()
	s := odd()
	s.Program = filepath.Join(dir, "pro'cops")
	const program = "#!/bin/sh\nfor word; do echo \"<$word>\"; done\n[ -e \"$0.code\" ] && exit $(cat \"$0.code\")\nexit 0\n"
	write := func(path, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write(s.Program, program, 0o755)
	script := filepath.Join(dir, "script")
	write(script, string(s.Script()), 0o755)
	for _, c := range []struct {
		verb, procops string // and the exit code of procops
		says          string
		code          int
	}{
		{"start", "0", "<supervise>\n<start>", 0},
		{"start", "4", "<supervise>\n<start>", 0},
		{"start", "1", "<supervise>\n<start>", 1},
		{"stop", "0", "<supervise>\n<stop>", 0},
		{"stop", "5", "<supervise>\n<stop>", 0},
		{"restart", "0", "<supervise>\n<stop>", 0},
		{"reload", "0", "<supervise>\n<reload>", 0},
		{"reload", "5", "<supervise>\n<reload>", 7},
		{"status", "0", "<supervise>\n<status>", 0},
		{"status", "2", "<supervise>\n<status>", 0},
		{"status", "5", "<supervise>\n<status>", 3},
		{"nonsense", "0", "usage: ", 2},
	} {
		write(s.Program+".code", c.procops, 0o600)
		cmd := exec.CommandContext(t.Context(), script, c.verb)
		said, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(said), c.says) {
			t.Errorf("%s, where procops ends with %s: code %d, want %d: %s", c.verb, c.procops, code, c.code, said)
		}
		if c.code != 2 && !strings.Contains(string(said), `</etc/it's "50%".toml>`) {
			t.Errorf("%s: the config is not named: %s", c.verb, said)
		}
	}
}

func TestWriteAndRemove(t *testing.T) {
	path := filepath.Join(t.TempDir(), "etc", "unit")
	if err := Remove(path, false); !fault.Is(err, fault.NotFound) {
		t.Errorf("nothing is there: %v", err)
	}
	for range 2 {
		if err := Write(path, odd().Unit(), 0o644, false); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", info, err)
	}
	if err := Remove(path, false); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte("[Unit]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, odd().Unit(), 0o644, false); !fault.Is(err, fault.Conflict) {
		t.Errorf("somebody else's was overwritten: %v", err)
	}
	if err := Remove(path, false); !fault.Is(err, fault.Conflict) {
		t.Errorf("somebody else's was removed: %v", err)
	}
	if err := Write(path, odd().Unit(), 0o644, true); err != nil {
		t.Errorf("it was forced: %v", err)
	}
	if err := os.Mkdir(path+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, odd().Unit(), 0o644, false); err == nil || !strings.HasPrefix(err.Error(), "cannot install: ") {
		t.Errorf("it cannot be written: %v", err)
	}
}
