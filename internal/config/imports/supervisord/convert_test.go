package supervisord

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"procops/internal/config"
	"procops/internal/fault"
)

// `go test -run Golden -update` writes the golden files.
var update = flag.Bool("update", false, "write what is generated")

// environment is that of the imports and of supervisord in these tests.
func environment() []string {
	return []string{
		"PATH=/usr/bin:/bin", "HOME=/home/me", "STAGE=test", "NGINX_WORKERS=4", "APP_USER=nobody", "COUNT=1", "WORD=x",
		"QUEUE_PROCESSES=2", "QUEUE_ENABLED=yes", "QUEUE_OPTIONS=--fast 'two words'",
	}
}

func environ(name string) (string, bool) {
	for _, v := range environment() {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value, true
		}
	}
	return "", false
}

func options() Options { return Options{Environ: environ, Hostname: "host"} }

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// exampleNames returns the directories of testdata with a supervisord.conf and
// a golden.toml.
func exampleNames(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("testdata/*/supervisord.conf")
	if err != nil || len(paths) < 6 {
		t.Fatalf("there are only the examples %q: %v", paths, err)
	}
	for i, path := range paths {
		paths[i] = filepath.Base(filepath.Dir(path))
	}
	return paths
}

func loadExample(t *testing.T, name string) *config.Config {
	t.Helper()
	result, err := Convert(filepath.Join("testdata", name, "supervisord.conf"), options())
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse("procops.toml", result.TOML, environ)
	if err != nil {
		t.Fatalf("%v\n%s", err, result.TOML)
	}
	return cfg
}

func TestGolden(t *testing.T) {
	here, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range exampleNames(t) {
		t.Run(name, func(t *testing.T) {
			result, err := Convert(filepath.Join("testdata", name, "supervisord.conf"), options())
			if err != nil {
				t.Fatal(err)
			}
			got := strings.ReplaceAll(result.TOML, here, "/here")
			for _, n := range result.Notes {
				got += "\n# " + n.String()
			}
			got += "\n"
			golden := filepath.Join("testdata", name, "golden.toml")
			if *update {
				write(t, golden, got)
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestEveryProblemHasItsPlace(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "s.conf", `[include]
files = d/*.conf
[program:web]
command = %(nothing)s
startsecs = soon
 later
exitcodes = 0,x
[program:no-command]
autostart = perhaps
[group:g]
programs = web,gone
`)
	write(t, "d/a.conf", "[program:a]\ncommand = 'open\nnumprocs = 3\nenvironment = A=1,B\njust text\n")
	write(t, "d/b.conf", "before = any section\n")
	write(t, "d/c.conf", "[program:c]\ncommand = \"\xff\"\n")
	_, err := Convert("s.conf", options())
	want := strings.Join([]string{
		`d/a.conf:5:1: want KEY = VALUE or [SECTION], have "just text"`,
		`d/b.conf:1:1: "before = any section" stands before the first [section]`,
		`d/c.conf:2:12: invalid UTF-8; a configuration must be UTF-8 text`,
		`s.conf:5:1: "startsecs" in [program:web]: invalid number "soon\nlater"`,
		`s.conf:7:1: "exitcodes" in [program:web]: invalid exit code "x": want numbers from 0 to 255, parted by commas`,
		`s.conf:4:1: "command" in [program:web]: there is nothing to fill in for "%(nothing)" here`,
		`s.conf:11:1: "programs" in [group:g]: there is no program "gone"`,
		`s.conf:8:1: [program:no-command] has no key "command"`,
		`s.conf:9:1: "autostart" in [program:no-command]: invalid value "perhaps": want true or false`,
		`d/a.conf:1:1: "process_name" in [program:a]: with numprocs above 1 it needs %(process_num)`,
	}, "\n")
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if fault.ExitCode(err) != 2 {
		t.Errorf("exit code %d", fault.ExitCode(err))
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		filepath.Join(dir, "none"): `cannot read "` + dir + `/none": no such file or directory`,
		dir:                        `cannot read "` + dir + `": it is a directory`,
	} {
		if _, err := Convert(path, options()); err == nil || err.Error() != want || fault.ExitCode(err) != 2 {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// FuzzConvert checks that a file is either refused, with the place of every
// problem, or becomes a configuration that can be loaded.
func FuzzConvert(f *testing.F) {
	paths, err := filepath.Glob("testdata/*/supervisord.conf")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("[program:a]\ncommand=$%(ENV_A)s \"$\"%(ENV_B)s \\${x} '$'{y}\nenvironment=A=%(ENV_A)s,\"=\"=${x}\nprocess_name=-%(ENV_STAGE)s\nuser=\n")
	f.Add("[group:a]\nprograms=a,a\npriority=-1\n[program:a]\ncommand=x\nnumprocs=2\nprocess_name=%(process_num)d\nstdout_logfile=~\n[group:b]\nprograms=a\n")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(dir, "s.conf")
		write(t, path, text)
		result, err := Convert(path, options())
		if err != nil {
			if fault.ExitCode(err) != 2 || !strings.HasPrefix(err.Error(), path+":") {
				t.Fatalf("exit code %d: %v", fault.ExitCode(err), err)
			}
			return
		}
		if _, err := config.Parse("procops.toml", result.TOML, func(string) (string, bool) { return "x", true }); err != nil {
			t.Fatalf("%v\n%s", err, result.TOML)
		}
	})
}
