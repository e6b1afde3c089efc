package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"procops/internal/config"
	"procops/internal/fault"
	"procops/internal/heartbeat"
	"procops/internal/launch"
	"procops/internal/proc"
	"procops/internal/store"
	"procops/internal/supervise"
	"procops/internal/unit"
)

// env is an environment for tests.
func env(variables ...string) config.Environ {
	return func(name string) (string, bool) {
		for _, v := range variables {
			if value, ok := strings.CutPrefix(v, name+"="); ok {
				return value, true
			}
		}
		return "", false
	}
}

// inDir makes a directory with files the working directory.
func inDir(t *testing.T, files map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for path, text := range files {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// load loads a configuration that must be good.
func load(t *testing.T, text string, variables ...string) *config.Config {
	t.Helper()
	inDir(t, map[string]string{"procops.toml": text})
	cfg, err := config.Load("procops.toml", env(variables...))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// wantErrors checks that loading procops.toml fails with exactly these lines.
func wantErrors(t *testing.T, want ...string) {
	t.Helper()
	cfg, err := config.Load("procops.toml", env("HOME=/home/me", "EMPTY="))
	if err == nil {
		t.Fatalf("no error, want\n%s", strings.Join(want, "\n"))
	}
	var all *config.Error
	if got := strings.Split(err.Error(), "\n"); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", err, strings.Join(want, "\n"))
	}
	if cfg != nil || !errors.As(err, &all) || len(all.Problems) != len(want) || fault.ExitCode(err) != 2 {
		t.Errorf("a configuration %v, an error of type %T, exit code %d", cfg, err, fault.ExitCode(err))
	}
}

func TestLoadNothing(t *testing.T) {
	for name, cfg := range map[string]*config.Config{
		"no file": func() *config.Config {
			cfg, err := config.Load("", env())
			if err != nil {
				t.Fatal(err)
			}
			return cfg
		}(),
		"an empty file": load(t, ""),
	} {
		if cfg.Durability != "process" || cfg.StateDir != "" || cfg.Events.Keep != 100_000 || cfg.Log.Level != "info" ||
			cfg.Log.MaxSize != 10<<20 || cfg.Heartbeat.DefaultPeriod.Std() != 24*time.Hour || cfg.Supervise.Process != nil {
			t.Errorf("%s: %+v", name, cfg)
		}
	}
}

func TestLoad(t *testing.T) {
	cfg := load(t, `
state_dir = "state"
durability = "power"
[log]
level = "debug"
max_age = "7d"
[supervise]
children = ["web", "g"]
[supervise.process.db]
command = "exec sleep 1"
success_codes = [0, 143]
backoff.initial = 0.5
[supervise.process.web]
command = ["sleep", "1"]
dir = "/srv"
restart = "always"
healthy_after = 3
depends_on = ["db", {name = "cache", condition = "started"}]
ready = {tcp = "localhost:80", timeout = "${WAIT:-5s}"}
umask = "027"
on_fail = [{retry = 3}, {exec = ["logger", "web"]}]
[supervise.process.web.env]
HOME = "${HOME}/web"
PRICE = "$5 $${HOME}"
[supervise.process.web.limits]
memory = 1073741824
core = 0
[[supervise.process.web.on_pass]]
log = "{{name}} is done"
[supervise.process.web.stop]
signal = "SIGINT"
then = ["TERM", "9"]
[supervise.process.cache]
command = "x"
[supervise.group.g]
children = ["db", "cache"]
[heartbeat]
history_keep = 5
[heartbeat.backup]
period = "1d"
tags = ["nightly"]
`, "HOME=/home/me")
	umask, core := proc.Umask(0o27), unit.Size(0)
	want := supervise.ProcessConfig{
		Settings: launch.Settings{
			Dir: "/srv", Env: map[string]string{"HOME": "/home/me/web", "PRICE": "$5 ${HOME}"},
			Umask: &umask, Limits: launch.Limits{Memory: 1 << 30, Core: &core},
		},
		Command:      proc.Command{"sleep", "1"},
		Autostart:    true,
		Restart:      supervise.RestartAlways,
		SuccessCodes: []int{0},
		Backoff:      launch.Backoff{Initial: seconds(1), Factor: 2, Max: seconds(60), Jitter: 0.1},
		HealthyAfter: seconds(3),
		DependsOn: []supervise.DependencyConfig{
			{Name: "db", Condition: supervise.ConditionReady},
			{Name: "cache", Condition: supervise.ConditionStarted},
		},
		Ready:  supervise.ReadyConfig{TCP: "localhost:80", Interval: seconds(0.1), TryTimeout: seconds(5), Timeout: seconds(5)},
		Stop:   supervise.StopConfig{Signal: proc.Signal(syscall.SIGINT), Grace: seconds(10), Then: []proc.Signal{15, 9}},
		OnFail: []supervise.LinkConfig{{Retry: 3}, {Exec: proc.Command{"logger", "web"}}},
		OnPass: []supervise.LinkConfig{{Log: "{{name}} is done"}},
		Output: supervise.OutputConfig{Format: "text", Overflow: supervise.OverflowDrop, MaxSize: 10 << 20, MaxFiles: 5},
	}
	if got := cfg.Supervise.Process["web"]; !reflect.DeepEqual(got, want) {
		t.Errorf("web:\n got %+v\nwant %+v", got, want)
	}
	db := cfg.Supervise.Process["db"]
	if !slices.Equal(db.Command, proc.Command{"/bin/sh", "-c", "exec sleep 1"}) || !slices.Equal(db.SuccessCodes, []int{0, 143}) ||
		db.Backoff.Initial != seconds(0.5) || db.Restart != supervise.RestartNever {
		t.Errorf("db: %+v", db)
	}
	if !slices.Equal(cfg.Supervise.Group["g"].Children, []string{"db", "cache"}) || !slices.Equal(cfg.Supervise.Children, []string{"web", "g"}) {
		t.Errorf("the tree is %+v", cfg.Supervise)
	}
	if b := cfg.Heartbeat.Heartbeats["backup"]; cfg.Heartbeat.HistoryKeep != 5 || b.Period.Std() != 24*time.Hour || !slices.Equal(b.Tags, []string{"nightly"}) || b.OnFast != heartbeat.Coalesce {
		t.Errorf("heartbeats are %+v", cfg.Heartbeat)
	}
	wd, _ := os.Getwd()
	if cfg.StateDir != filepath.Join(wd, "state") || cfg.Durability != store.Power || cfg.Log.Level != "debug" || cfg.Path() != "procops.toml" {
		t.Errorf("the top is %+v", cfg)
	}
}

func seconds(n float64) unit.Duration { return unit.Duration(n * float64(time.Second)) }

func TestPosition(t *testing.T) {
	cfg := load(t, "[supervise.process.web]\ncommand = [\"a\", \"b\"]\n")
	for path, want := range map[string]string{
		"supervise/process/web":             "procops.toml:1:20",
		"supervise/process/web/command":     "procops.toml:2:11",
		"supervise/process/web/command/1":   "procops.toml:2:17",
		"supervise/process/web/restart":     "",
		"supervise/process/none/command":    "",
		"supervise/process/web/command/zap": "",
	} {
		at, ok := cfg.Position(strings.Split(path, "/")...)
		if ok != (want != "") || ok && at.String() != want {
			t.Errorf("%s is at %v, %t, want %q", path, at, ok, want)
		}
	}
}

func TestLoadErrors(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want []string
	}{
		"unknown keys": {
			"comand = 1\nstate_dirr = 'x'\n[supervice]\n[[hooks]]\n[log]\nlevle = 'info'\n\"a b\" = 1\n",
			[]string{
				`procops.toml:1:1: unknown key "comand"`,
				`procops.toml:2:1: unknown key "state_dirr"; did you mean "state_dir"?`,
				`procops.toml:3:2: unknown key "supervice"; did you mean "supervise"?`,
				`procops.toml:4:3: unknown key "hooks"; did you mean "hook"?`,
				`procops.toml:6:1: unknown key "levle" in [log]; did you mean "level"?`,
				`procops.toml:7:1: unknown key "a b" in [log]`,
			},
		},
		"unknown keys of a process": {
			"[supervise.process.web]\ncommand = 'x'\ncomand = 'x'\nready.tpc = ':1'\ndepends_on = [{nmae = 'web'}]\non_fail = [{retry = 1, settel = true}]\n",
			[]string{
				`procops.toml:3:1: unknown key "comand" in [supervise.process.web]; did you mean "command"?`,
				`procops.toml:4:7: unknown key "tpc" in [supervise.process.web.ready]; did you mean "tcp"?`,
				`procops.toml:5:15: missing key "depends_on[0].name" in [supervise.process.web]`,
				`procops.toml:5:16: unknown key "depends_on[0].nmae" in [supervise.process.web]; did you mean "name"?`,
				`procops.toml:6:24: unknown key "on_fail[0].settel" in [supervise.process.web]; did you mean "settle"?`,
			},
		},
		"wrong types": {
			"state_dir = 5\ninclude = 'x'\nlog = 'debug'\nsupervise.children = [1, 'a', [2]]\nheartbeat.history_keep = 1.5\n" +
				"[supervise.process.a]\ncommand = 5\nautostart = 'yes'\nmax_restarts = '5'\nsuccess_codes = 0\nhealthy_after = true\n" +
				"env = {A = 5, B = 1979-05-27}\nready = []\nbackoff.factor = 'x'\ndepends_on = ['a.b', 5]\nlimits.memory = []\nuser = {}\non_fail = {retry = 1}\n[[supervise.group]]\n",
			[]string{
				`procops.toml:1:13: "state_dir": want a string, have an integer`,
				`procops.toml:2:11: "include": want a list, have a string`,
				`procops.toml:3:7: "log": want a table, have a string`,
				`procops.toml:4:23: "children[0]" in [supervise]: want a string, have an integer`,
				`procops.toml:4:31: "children[2]" in [supervise]: want a string, have a list`,
				`procops.toml:5:26: "history_keep" in [heartbeat]: want an integer, have a number with a fraction`,
				`procops.toml:7:11: "command" in [supervise.process.a]: a command is a list of strings, or a string for /bin/sh -c`,
				`procops.toml:8:13: "autostart" in [supervise.process.a]: want true or false, have a string`,
				`procops.toml:9:16: "max_restarts" in [supervise.process.a]: want an integer, have a string`,
				`procops.toml:10:17: "success_codes" in [supervise.process.a]: want a list, have an integer`,
				`procops.toml:11:17: "healthy_after" in [supervise.process.a]: want a duration such as "10s", have a boolean`,
				`procops.toml:12:12: "A" in [supervise.process.a.env]: want a string, have an integer`,
				`procops.toml:12:19: "B" in [supervise.process.a.env]: want a string, have a date or time`,
				`procops.toml:13:9: "ready" in [supervise.process.a]: want a table, have a list`,
				`procops.toml:14:18: "factor" in [supervise.process.a.backoff]: want a number, have a string`,
				`procops.toml:15:15: "depends_on[0]" in [supervise.process.a]: there is no process or group "a.b"`,
				`procops.toml:15:22: "depends_on[1]" in [supervise.process.a]: want a string or a table, have an integer`,
				`procops.toml:16:17: "memory" in [supervise.process.a.limits]: want a size such as "256M", have a list`,
				`procops.toml:17:8: "user" in [supervise.process.a]: want a string, have a table`,
				`procops.toml:18:11: "on_fail" in [supervise.process.a]: want a list, have a table`,
				`procops.toml:19:13: "group" in [supervise]: want a table, have a list of tables`,
			},
		},
		"bad values": {
			"durability = 'powr'\n[log]\nlevel = 'verbose'\nmax_files = -1\n[events]\nkeep = 0\n" +
				"[supervise.process.a]\ncommand = ['']\nrestart = 'allways'\nnice = 20\nsuccess_codes = [0, 256, -1]\nhealthy_after = '10 apples'\n" +
				"backoff = {factor = 0.5, jitter = nan, initial = -1}\nlimits = {memory = '1X', files = -1}\numask = '9'\nready.interval = 0\n" +
				"stop = {signal = 'TERMM', then = ['HUP', 'HUPP']}\noutput.format = 'xml'\non_fail = [{retry = 0, settle = true}]\ndepends_on = [{name = 'b', condition = 'redy'}]\n" +
				"[supervise.process.b]\ncommand = \"a\\u0000\"\n[heartbeat.h]\non_fast = 'x'\n",
			[]string{
				`procops.toml:1:14: "durability": invalid value "powr": want "process" or "power"; did you mean "power"?`,
				`procops.toml:3:9: "level" in [log]: invalid value "verbose": want "debug", "info", "warn" or "error"`,
				`procops.toml:4:13: "max_files" in [log]: must be at least 0`,
				`procops.toml:6:8: "keep" in [events]: must be at least 1`,
				`procops.toml:8:11: "command" in [supervise.process.a]: the command is empty`,
				`procops.toml:9:11: "restart" in [supervise.process.a]: invalid value "allways": want "never", "on-failure" or "always"; did you mean "always"?`,
				`procops.toml:10:8: "nice" in [supervise.process.a]: must be from -20 to 19`,
				`procops.toml:11:21: "success_codes[1]" in [supervise.process.a]: must be from 0 to 255`,
				`procops.toml:11:26: "success_codes[2]" in [supervise.process.a]: must be from 0 to 255`,
				`procops.toml:12:17: "healthy_after" in [supervise.process.a]: invalid duration "10 apples": want something like "1.5s", "10m", "2h30m" or "7d"`,
				`procops.toml:13:21: "factor" in [supervise.process.a.backoff]: must be from 1 to 1000`,
				`procops.toml:13:35: "jitter" in [supervise.process.a.backoff]: must be from 0 to 1`,
				`procops.toml:13:50: "initial" in [supervise.process.a.backoff]: invalid duration "-1": want something like "1.5s", "10m", "2h30m" or "7d"`,
				`procops.toml:14:20: "memory" in [supervise.process.a.limits]: invalid size "1X": want something like "512K", "256M" or "1.5G"`,
				`procops.toml:14:34: "files" in [supervise.process.a.limits]: must be at least 0`,
				`procops.toml:15:9: "umask" in [supervise.process.a]: invalid umask "9": want an octal number such as "027"`,
				`procops.toml:16:18: "interval" in [supervise.process.a.ready]: must be at least 1ms`,
				`procops.toml:17:18: "signal" in [supervise.process.a.stop]: invalid signal "TERMM": did you mean "TERM"?`,
				`procops.toml:17:42: "then[1]" in [supervise.process.a.stop]: invalid signal "HUPP": did you mean "HUP"?`,
				`procops.toml:18:17: "format" in [supervise.process.a.output]: invalid value "xml": want "text" or "json"`,
				`procops.toml:19:21: "on_fail[0].retry" in [supervise.process.a]: must be at least 1`,
				`procops.toml:20:40: "depends_on[0].condition" in [supervise.process.a]: invalid value "redy": want "started", "ready", "healthy" or "completed"; did you mean "ready"?`,
				`procops.toml:22:11: "command" in [supervise.process.b]: argument 3 of the command holds a NUL character`,
				`procops.toml:24:11: "on_fast" in [heartbeat.h]: invalid value "x": want "coalesce" or "refuse"`,
			},
		},
		"missing keys": {
			"[supervise.process.web]\nrestart = 'always'\n[supervise.group.g]\n[supervise.process.db]\n",
			[]string{
				`procops.toml:1:20: missing key "command" in [supervise.process.web]`,
				`procops.toml:3:18: missing key "children" in [supervise.group.g]`,
				`procops.toml:4:20: missing key "command" in [supervise.process.db]`,
			},
		},
		"bad names": {
			"[supervise.process.'a/b']\ncommand = 'x'\n[supervise.process.a.env]\n'B=C' = ''\n'' = ''\n[supervise.process.a]\ncommand = 'x'\n[heartbeat.-x]\n[heartbeat.'..']\n",
			[]string{
				`procops.toml:1:20: "a/b" in [supervise.process]: the name "a/b" may only have letters, digits, ".", "_" and "-"`,
				`procops.toml:4:1: "B=C" in [supervise.process.a.env]: the name "B=C" cannot be empty or have "=" or NUL in it`,
				`procops.toml:5:1: "" in [supervise.process.a.env]: the name "" cannot be empty or have "=" or NUL in it`,
				`procops.toml:8:12: "-x" in [heartbeat]: the name "-x" cannot begin with "-"`,
				`procops.toml:9:12: ".." in [heartbeat]: the name ".." cannot begin with "."`,
			},
		},
		"references and cycles": {
			"[supervise.process.web]\ncommand = 'x'\ndepends_on = ['redsi', 'all', '', {name = ''}]\n[supervise.process.redis]\ncommand = 'x'\n[supervise.group.all]\nchildren = [\n  'web',\n  'reddis',\n]\n[supervise.group.redis]\nchildren = []\n",
			[]string{
				`procops.toml:3:15: "depends_on[0]" in [supervise.process.web]: there is no process or group "redsi"; did you mean "redis"?`,
				`procops.toml:3:24: "depends_on[1]" in [supervise.process.web]: the dependencies are a cycle: web -> all -> web`,
				`procops.toml:3:31: "depends_on[2]" in [supervise.process.web]: it is empty`,
				`procops.toml:3:43: "depends_on[3].name" in [supervise.process.web]: it is empty`,
				`procops.toml:9:3: "children[1]" in [supervise.group.all]: there is no process or group "reddis"; did you mean "redis"?`,
				`procops.toml:11:18: "redis" in [supervise.group]: there is a process of the same name`,
			},
		},
		"a section's own check": {
			"[heartbeat.h]\nwarn_after = '3h'\ncritical_after = '1h'\n",
			[]string{`procops.toml:2:14: "warn_after" in [heartbeat.h]: warn_after (3h) is later than critical_after (1h)`},
		},
		"variables": {
			"state_dir = '${NOPE}/x'\n[log]\nfile = '${EMPTY:-}${HOME-x}'\nlevel = '${EMPTY:-wran}'\nformat = 'a${'\n[supervise.process.a]\ncommand = ['sh', '-c', 'echo ${1}']\n",
			[]string{
				`procops.toml:1:13: cannot fill in "${NOPE}": the environment has no variable "NOPE"`,
				`procops.toml:3:8: cannot fill in "${HOME-x}": want ${NAME} or ${NAME:-default}`,
				`procops.toml:4:9: "level" in [log]: invalid value "wran": want "debug", "info", "warn" or "error"; did you mean "warn"?`,
				`procops.toml:5:10: there is a "${" without a "}"`,
				`procops.toml:7:24: cannot fill in "${1}": want ${NAME} or ${NAME:-default}`,
			},
		},
		"syntax":                {"a = 1\nb = \n", []string{`procops.toml:2:5: expected value but found '\n' instead`}},
		"a key twice":           {"[log]\nlevel = 'info'\nlevel = 'warn'\n", []string{`procops.toml:3:1: key "level" is set already at procops.toml:2:1`}},
		"characters, not bytes": {"[supervise.process.web]\ncommand = ['grüße', '日本']\nenv = {'ключ' = 5}\n", []string{`procops.toml:3:17: "ключ" in [supervise.process.web.env]: want a string, have an integer`}},
	} {
		t.Run(name, func(t *testing.T) {
			inDir(t, map[string]string{"procops.toml": test.text})
			wantErrors(t, test.want...)
		})
	}
}

func TestLoadErrorHints(t *testing.T) {
	inDir(t, map[string]string{"procops.toml": "state_dir = '${A}${B}'\n[log]\nfile = '${C}'\n"})
	_, err := config.Load("procops.toml", env())
	want := []string{"write $${...} for what a shell shall expand, and ${NAME:-default} for a variable that may be absent"}
	if got := fault.Hints(err); !slices.Equal(got, want) {
		t.Errorf("hints are %q", got)
	}
}

func TestLoadManyErrors(t *testing.T) {
	inDir(t, map[string]string{"procops.toml": strings.Repeat("[log]\n", 1) + manyKeys(5000)})
	_, err := config.Load("procops.toml", env())
	var all *config.Error
	if !errors.As(err, &all) || len(all.Problems) != 5000 {
		t.Fatalf("error %T", err)
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 101 || lines[100] != "and 4900 more" || lines[99] != `procops.toml:101:1: unknown key "k99" in [log]` {
		t.Errorf("%d lines, the last two: %q", len(lines), lines[len(lines)-2:])
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d = 1\n", i)
	}
	return b.String()
}

// TestExamples checks the examples that come with procops.
func TestExamples(t *testing.T) {
	examples, err := filepath.Glob("../../examples/*/procops.toml")
	if err != nil || len(examples) == 0 {
		t.Fatalf("examples are %q, %v", examples, err)
	}
	for _, example := range examples {
		if _, err := config.Load(example, os.LookupEnv); err != nil {
			t.Error(err)
		}
	}
}

// manyProcesses is a good configuration of n processes, each with some keys.
func manyProcesses(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "[supervise.process.p%d]\ncommand = [\"sleep\", \"%d\"]\nrestart = \"always\"\nbackoff = { initial = \"0s\" }\nenv.N = \"%d\"\nready.tcp = \"localhost:80\"\n", i, i, i)
		if i > 0 {
			fmt.Fprintf(&b, "depends_on = [\"p%d\"]\n", i-1)
		}
	}
	return b.String()
}

func BenchmarkLoadSmall(b *testing.B) {
	benchmarkLoad(b, "state_dir = 'x'\n[heartbeat.backup]\nperiod = '1d'\n[supervise.process.web]\ncommand = 'x'\nrestart = 'always'\n")
}

func BenchmarkLoad300(b *testing.B) { benchmarkLoad(b, manyProcesses(300)) }

func benchmarkLoad(b *testing.B, text string) {
	b.Chdir(b.TempDir())
	if err := os.WriteFile("procops.toml", []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := config.Load("procops.toml", env()); err != nil {
			b.Fatal(err)
		}
	}
}

// TestLinkErrors: each mistake in a link has its place.
func TestLinkErrors(t *testing.T) {
	inDir(t, map[string]string{"procops.toml": `[supervise.process.p]
command = ["x"]
on_fail = [
  {webhook = "example.org"},
  {webhook = {url = "http://a", secret = "${EMPTY}", retries = 11, headers = {Host = "x"}}},
  {webhook = {secret = "x"}},
  {task = {params = 1}},
  {task = {type = "t", params = {a = nan}}},
  {job = {function = "f", servers = ["a:b"], priority = "hgh"}},
  {restart = ["q", "p"]},
  {start = []},
  {stop = 1},
  {job = 1},
  {task = ""},
  {webhook = "", settle = true},
  {webhok = "x"},
]
[supervise.process.qq]
command = ["x"]
`})
	wantErrors(t,
		`procops.toml:4:14: "on_fail[0].webhook.url" in [supervise.process.p]: invalid URL: want something like "https://example.org/hook"`,
		`procops.toml:5:42: "on_fail[1].webhook.secret" in [supervise.process.p]: it is empty`,
		`procops.toml:5:64: "on_fail[1].webhook.retries" in [supervise.process.p]: must be from 0 to 10`,
		`procops.toml:5:86: "on_fail[1].webhook.headers.Host" in [supervise.process.p]: procops sets this header itself`,
		`procops.toml:6:14: missing key "on_fail[2].webhook.url" in [supervise.process.p]`,
		`procops.toml:7:11: missing key "on_fail[3].task.type" in [supervise.process.p]`,
		`procops.toml:7:21: "on_fail[3].task.params" in [supervise.process.p]: want a table`,
		`procops.toml:8:33: "on_fail[4].task.params" in [supervise.process.p]: nan and inf have no place in JSON`,
		`procops.toml:9:38: "on_fail[5].job.servers[0]" in [supervise.process.p]: invalid server "a:b": want "HOST", "HOST:PORT", "[IPv6]:PORT" or the absolute path of a unix socket`,
		`procops.toml:9:57: "on_fail[5].job.priority" in [supervise.process.p]: invalid value "hgh": want "low", "normal" or "high"; did you mean "high"?`,
		`procops.toml:10:15: "on_fail[6].restart[0]" in [supervise.process.p]: there is no process or group "q"; did you mean "qq"?`,
		"procops.toml:10:20: \"on_fail[6].restart[1]\" in [supervise.process.p]: \"p\" cannot restart itself; `retry` starts it again",
		`procops.toml:11:12: "on_fail[7].start" in [supervise.process.p]: the list is empty`,
		`procops.toml:12:11: "on_fail[8].stop" in [supervise.process.p]: want a name or a list of names`,
		`procops.toml:13:10: "on_fail[9].job" in [supervise.process.p]: want a string or a table, have an integer`,
		`procops.toml:14:11: "on_fail[10].task" in [supervise.process.p]: it is empty`,
		`procops.toml:15:14: "on_fail[11].webhook" in [supervise.process.p]: it is empty`,
		`procops.toml:16:3: "on_fail[12]" in [supervise.process.p]: a link needs one of retry, exec, webhook, task, job, start, stop, restart, log, raise and settle`,
		`procops.toml:16:4: unknown key "on_fail[12].webhok" in [supervise.process.p]; did you mean "webhook"?`,
	)
}
