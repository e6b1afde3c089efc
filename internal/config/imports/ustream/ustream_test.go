package ustream_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"procops/internal/config"
	"procops/internal/config/imports/ustream"
	"procops/internal/fault"
)

var update = flag.Bool("update", false, "write the files of testdata anew")

func environ(name string) (string, bool) { return "/home/acme", name == "HOME" }

// convert converts files and loads the result.
func convert(t *testing.T, path string, opt ustream.Options) (text string, cfg *config.Config, notes []string) {
	t.Helper()
	result, err := ustream.Convert(path, opt)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err = config.Parse("procops.toml", result.TOML, environ)
	if err != nil {
		t.Fatalf("%v\n%s", err, result.TOML)
	}
	for _, note := range result.Notes {
		notes = append(notes, note.String())
	}
	return result.TOML, cfg, notes
}

// TestConvertTestdata compares the results for the directories of testdata with the
// files beside them.
func TestConvertTestdata(t *testing.T) {
	for dir, opt := range map[string]ustream.Options{
		"plain": {Bootstrap: "/srv/it's/bootstrap.php", Context: "production", RunDir: "/srv/run"},
		"odd":   {},
	} {
		got, _, _ := convert(t, filepath.Join("testdata", dir), opt)
		golden := filepath.Join("testdata", dir+".toml")
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o640); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: got\n%s", dir, got)
		}
	}
}

func TestConvertCarriesOver(t *testing.T) {
	_, cfg, notes := convert(t, "testdata/plain", ustream.Options{Bootstrap: "/b.php", Context: "staging", RunDir: "/srv/run"})
	d := cfg.Daemon
	if d.Context != "staging" || d.RunDir != "/srv/run" || d.LogDir != "/var/log/acme" || d.CommonLog != "/var/log/acme/daemon_util.log" {
		t.Errorf("[daemon] is %+v", d)
	}
	for name, want := range map[string]struct {
		factory         string
		sleep, minSleep time.Duration
		memory          int64
		threshold       float64
	}{
		"metrics":    {`Acme\Metrics\LogProcessor::create()`, 0, 0, 256 << 20, 70},
		"mail-queue": {`\Acme\Mail\Queue::createTask()`, 100 * time.Millisecond, 0, 0, 70},
		"cleaner":    {"make_cleaner()", time.Hour, 1500 * time.Millisecond, 0, 12.5},
	} {
		s, ok := d.Daemons[name]
		if !ok {
			t.Errorf("there is no %q", name)
			continue
		}
		if s.Sleep == nil || s.Sleep.Std() != want.sleep || s.MinSleep.Std() != want.minSleep {
			t.Errorf("%s: sleep %v, min_sleep %v", name, s.Sleep, s.MinSleep)
		}
		if s.MemoryLimit.Bytes() != want.memory || s.MemoryThreshold != want.threshold {
			t.Errorf("%s: memory limit %v, threshold %v", name, s.MemoryLimit, s.MemoryThreshold)
		}
		if code := s.Command[len(s.Command)-1]; !strings.Contains(code, want.factory) || !strings.HasPrefix(code, "require '/b.php';") {
			t.Errorf("%s: the command is %q", name, s.Command)
		}
	}
	for _, note := range notes {
		if strings.Contains(note, "left out") || strings.Contains(note, "fill in") {
			t.Errorf("told of %s", note)
		}
	}
}

func TestConvertOneFile(t *testing.T) {
	_, cfg, notes := convert(t, "testdata/plain/mail-queue.ini", ustream.Options{})
	if len(cfg.Daemon.Daemons) != 1 || len(notes) != 1 || !strings.HasPrefix(notes[0], "testdata/plain/mail-queue.ini:1:1: factory: fill in") {
		t.Errorf("%d daemons, told of %q", len(cfg.Daemon.Daemons), notes)
	}
}

// TestValues reads one file as PHP does.
func TestValues(t *testing.T) {
	for line, want := range map[string]string{
		`log-dir = /var/log/a b ; c`:            "/var/log/a b",
		`log-dir="/var/log/x;y" ; c`:            "/var/log/x;y",
		`log-dir = '/a\b/$${HOME}' ; c`:         `/a\b/$${HOME}`,
		`log-dir = "/a\\b/\"c\""`:               `/a\b/"c"`,
		`log-dir = ${HOME}/"log"`:               "/home/acme/log",
		"log-dir=/one\nlog-dir=/two":            "/two",
		"#log-dir=/no\n[x]\nlog-dir\t=\t/yes\t": "/yes",
		"\ufefflog-dir=/mark":                   "/mark",
	} {
		file := filepath.Join(t.TempDir(), "x.ini")
		if err := os.WriteFile(file, []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, cfg, _ := convert(t, file, ustream.Options{}); cfg.Daemon.LogDir != want {
			t.Errorf("%s: got %q, want %q", line, cfg.Daemon.LogDir, want)
		}
	}
}

func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	write := func(file, text string) {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a.ini", "factory\nsleep = 1|2\nlog-dir = \"/open\nlog-dir=${a.b}\nsleep=5\n=x\nlog-dir=/x=y")
	write("b c.ini", "factory=f")
	write("b_c.ini", "factory=f\nsleep=\xff")
	_, err := ustream.Convert(dir, ustream.Options{})
	if !fault.Is(err, fault.Usage) {
		t.Fatalf("got %v", err)
	}
	got := strings.ReplaceAll(err.Error(), dir+"/", "")
	for _, want := range []string{
		`a.ini:1:1: want KEY = VALUE, have "factory"`,
		`a.ini:2:1: "|" has a meaning of its own for PHP here; put the value into quotes`,
		"a.ini:3:1: the quote does not end in its line",
		`a.ini:4:1: "${a.b}" is not a variable of the environment`,
		`a.ini:6:1: want KEY = VALUE, have "=x"`,
		`a.ini:7:1: "=" has a meaning`,
		"b_c.ini:2:7: ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("not told of %s in\n%s", want, got)
		}
	}
	write("b_c.ini", "factory=f")
	write("a.ini", "")
	if _, err = ustream.Convert(dir, ustream.Options{}); err == nil || !strings.Contains(err.Error(), `would both be called "b_c"`) {
		t.Errorf("got %v", err)
	}
	for path, want := range map[string]string{
		t.TempDir():                     "there is no file *.ini in",
		filepath.Join(dir, "none"):      "no such file or directory",
		filepath.Join(dir, "none", "x"): "no such file or directory",
	} {
		if _, err := ustream.Convert(path, ustream.Options{}); !fault.Is(err, fault.Usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

func FuzzConvert(f *testing.F) {
	f.Add("factory=A\\B::c\nsleep=0.5\nmemory-limit=1G\nlog-dir=\"${HOME}/x\"")
	f.Add("a='\nb=\"\\\"\" ; c\n[x]\n${=}")
	f.Fuzz(func(t *testing.T, text string) {
		file := filepath.Join(t.TempDir(), "x.ini")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		result, err := ustream.Convert(file, ustream.Options{})
		if err != nil {
			return
		}
		if _, err := config.Parse("procops.toml", result.TOML, func(string) (string, bool) { return "x", true }); err != nil {
			t.Errorf("%v\n%s", err, result.TOML)
		}
	})
}
