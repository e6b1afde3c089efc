package procfile_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"procops/internal/config"
	"procops/internal/config/imports/procfile"
	"procops/internal/fault"
	"procops/internal/proc"
	"procops/internal/supervise"
)

func noEnv(string) (string, bool) { return "", false }

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// convert converts a Procfile and loads the result.
func convert(t *testing.T, text, env string, opt procfile.Options) map[string]supervise.ProcessConfig {
	t.Helper()
	dir := t.TempDir()
	if env != "" {
		opt.EnvFiles = append(opt.EnvFiles, write(t, filepath.Join(dir, ".env"), env))
	}
	result, err := procfile.Convert(write(t, filepath.Join(dir, "Procfile"), text), opt)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse(filepath.Join(dir, "procops.toml"), result.TOML, noEnv)
	if err != nil {
		t.Fatalf("%v\n%s", err, result.TOML)
	}
	return cfg.Supervise.Process
}

func TestConvert(t *testing.T) {
	got := convert(t, "# all\nweb:  bundle exec puma -p $PORT --tag '${x}'  \r\n\n  # more\nworker_2:a: b\nlog-3: tail -f \"x y\"", "", procfile.Options{Dir: "/srv"})
	for name, want := range map[string]struct{ command, port string }{
		"web":      {"bundle exec puma -p $PORT --tag '${x}'", "5000"},
		"worker_2": {"a: b", "5100"},
		"log-3":    {`tail -f "x y"`, "5200"},
	} {
		p, ok := got[name]
		if !ok {
			t.Errorf("there is no %q", name)
			continue
		}
		if want := (proc.Command{"/bin/sh", "-c", want.command}); !reflect.DeepEqual(p.Command, want) {
			t.Errorf("%s: command %q, want %q", name, p.Command, want)
		}
		if want := map[string]string{"PORT": want.port, "PS": name + ".1"}; !reflect.DeepEqual(p.Env, want) {
			t.Errorf("%s: environment %q, want %q", name, p.Env, want)
		}
		if p.Dir != "/srv" || p.Restart != supervise.RestartNever || len(p.OnFail) != 0 || len(p.OnPass) != 1 || !p.OnPass[0].Raise {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if len(got) != 3 {
		t.Errorf("%d processes", len(got))
	}
}

func TestEnv(t *testing.T) {
	got := convert(t, "a: x\nb: x\n", `# comment
PLAIN=a b # c
EMPTY=
SINGLE='it\n "is"'
DOUBLE="line\nline \"quoted\" back\\slash 'x'"
HALF="open
export EXPORTED=yes
_9=${HOME} $HOME
PLAIN=later
PORT=3000
PS=mine
`, procfile.Options{Port: "7000"})
	want := map[string]string{
		"PLAIN": "later", "EMPTY": "", "SINGLE": `it\n "is"`, "DOUBLE": "line\nline \"quoted\" back\\slash 'x'",
		"HALF": `"open`, "EXPORTED": "yes", "_9": "${HOME} $HOME", "PORT": "3100", "PS": "b.1",
	}
	if !reflect.DeepEqual(got["b"].Env, want) {
		t.Errorf("got  %q\nwant %q", got["b"].Env, want)
	}
}

func TestPort(t *testing.T) {
	got := convert(t, "a: x\nb: x\n", "", procfile.Options{Port: "7000"})
	if got["a"].Env["PORT"] != "7000" || got["b"].Env["PORT"] != "7100" {
		t.Errorf("got %v, %v", got["a"].Env, got["b"].Env)
	}
}

func TestFormation(t *testing.T) {
	for _, c := range []struct {
		formation map[string]int
		want      map[string]int
	}{
		{map[string]int{"web": 2}, map[string]int{"web": 2, "worker": 0}},
		{map[string]int{"web": 2, "all": 1}, map[string]int{"web": 2, "worker": 1}},
		{map[string]int{"all": 3, "worker": 0}, map[string]int{"web": 3, "worker": 0}},
	} {
		got := convert(t, "worker: x\nweb: y\n", "A=b\n", procfile.Options{Formation: c.formation})
		for name, n := range c.want {
			if p := got[name]; p.Instances == nil || *p.Instances != n {
				t.Errorf("%v: %s has %v instances, want %d", c.formation, name, p.Instances, n)
			}
		}
		cfg := supervise.Config{Process: got}
		if env := cfg.Expanded().Process["web-2"].Env; env["PORT"] != "5101" || env["PS"] != "web.2" || env["A"] != "b" {
			t.Errorf("%v: environment %q", c.formation, env)
		}
	}
	path := write(t, filepath.Join(t.TempDir(), "Procfile"), "web: x\n")
	_, err := procfile.Convert(path, procfile.Options{Formation: map[string]int{"wbe": 2, "web": 1001}})
	for _, want := range []string{
		path + `: there is no process "wbe", of which the formation wants 2; did you mean "web"?`,
		path + `: the formation wants 1001 of "web": want a number from 0 to 1000`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestLaterEnvFilesHold(t *testing.T) {
	dir := t.TempDir()
	first, second := write(t, filepath.Join(dir, "a"), "X=1\nY=1\n"), write(t, filepath.Join(dir, "b"), "Y=2\n")
	env := convert(t, "a: x\n", "", procfile.Options{EnvFiles: []string{first, second}})["a"].Env
	if env["X"] != "1" || env["Y"] != "2" {
		t.Errorf("got %v", env)
	}
}

func TestEveryProblemHasItsPlace(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "Procfile", "web ./serve\n-x: y\nweb: a\nweb: b\nnone:\n"+strings.Repeat("n", 65)+": x\n")
	write(t, ".env", "A=1\nB = 2\n\n=x\nPORT=http\n")
	_, err := procfile.Convert("Procfile", procfile.Options{EnvFiles: []string{".env"}})
	want := strings.Join([]string{
		`.env:2:1: want NAME=VALUE`,
		`.env:4:1: want NAME=VALUE`,
		`Procfile:1:1: want NAME: COMMAND, have "web ./serve"`,
		`Procfile:2:1: the name "-x" cannot begin with "-"`,
		`Procfile:4:1: there is a process "web" already, in line 3`,
		`Procfile:5:1: want NAME: COMMAND, have "none:"`,
		`Procfile:6:1: the name "nnnnnnnnnnnnnnnn..." is longer than 64 characters`,
		`.env:5:1: cannot give each process a port from PORT "http" on: want a number of at most 65435`,
	}, "\n")
	if err == nil || err.Error() != want || fault.ExitCode(err) != 2 {
		t.Errorf("exit code %d, got\n%v\nwant\n%s", fault.ExitCode(err), err, want)
	}
}

func TestFilesThatSayNothing(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "Procfile", "\n# nothing\n")
	for path, want := range map[string]string{
		"Procfile": `Procfile: there is no process in it; want lines such as "web: ./serve"`,
		"none":     `cannot read "none": no such file or directory`,
	} {
		if _, err := procfile.Convert(path, procfile.Options{}); err == nil || err.Error() != want || fault.ExitCode(err) != 2 {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// FuzzConvert checks that files are either refused, with the place of every
// problem, or become a configuration that can be loaded.
func FuzzConvert(f *testing.F) {
	f.Add("web: a\nworker: b ${x} $${y}\n", "A=1\nB=\"x\\n\\\\\"\nexport C='d'\nPORT=3000\n")
	f.Add("#\n\na:b:c\n", "PORT=65535")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, lines, env string) {
		file, variables := write(t, filepath.Join(dir, "Procfile"), lines), write(t, filepath.Join(dir, ".env"), env)
		result, err := procfile.Convert(file, procfile.Options{Dir: ".", EnvFiles: []string{variables}})
		if err != nil {
			if fault.ExitCode(err) != 2 && !strings.HasPrefix(err.Error(), dir) {
				t.Fatalf("exit code %d: %v", fault.ExitCode(err), err)
			}
			return
		}
		if _, err := config.Parse("procops.toml", result.TOML, noEnv); err != nil {
			t.Fatalf("%v\n%s", err, result.TOML)
		}
	})
}
