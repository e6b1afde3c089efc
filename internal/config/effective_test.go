package config_test

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"procops/internal/config"
)

const everything = `
state_dir = "/var/lib/x"
durability = "power"
[log]
level = "debug"
file = "/var/log/x"
max_age = "36h"
compress = true
[supervise]
children = ["all", "w.b"]
log_dir = "/var/log"
[supervise.process."w.b"]
command = "echo $${HOME} $HOME \"\\\\\" \u001b\t'é'\n# no comment"
dir = "/"
env = {"a.b c" = "", "" = "x", X = "$$${X}"}
restart = "on-failure"
success_codes = []
backoff = {initial = "1500ms", factor = 1.5, max = "1h30m", jitter = 0}
depends_on = ["db", {name = "all", condition = "completed"}]
ready = {log = "^up \\d+$", timeout = 0}
on_fail = [{retry = 3}, {exec = ["a", "b c"], settle = true}, {log = "{{name}}"}, {restart = "db"}, {stop = ["db"]}]
on_pass = [
  {webhook = "https://example.org"}, {task = "mail.send"}, {job = "f"},
  {webhook = {url = "http://example.org/", timeout = 1, retries = 0, headers = {A = "b"}}},
  {task = {type = "t", params = {a = 1, b = [1.5, "x", {c = true}], "d e" = {f = "g"}}, priority = 2, delay = "1m"}},
  {job = {function = "f", servers = ["a:1", "b:2"], workload = "w", unique = "{{name}}", priority = "high"}},
]
umask = "077"
nice = -5
limits = {memory = "1.5G", core = 0, cpu_time = "1m"}
stop = {command = ["kill", "{{pid}}"], signal = "3", then = ["HUP", "40"], grace = "1d"}
output = {file = "none", format = "json", max_size = 0}
env_file = ["a.env", "-b.env"]
stdin = "in"
groups = []
cpus = "0-3,6"
cgroup = {memory = "256M", memory_high = 1024, cpu = 0.5, cpu_weight = 10, pids = 100}
[supervise.process.db]
command = ["db"]
env_file = "/db.env"
groups = ["daemon", "7"]
cgroup = {}
[supervise.group.all]
children = ["db"]
on_pass = [{raise = true}]
[heartbeat.h]
[heartbeat.i]
period = "1w"
tags = ["a", "b"]
[worker]
servers = ["queue", "[::1]:5", "unix:/run/gearman.sock"]
answer_timeout = 1
[tasks]
lease = "90s"
retry = {initial = "1s"}
unknown_types = "accept"
[serve]
listen = "unix:/run/procops.sock"
create = "never"
public_badges = true
max_body = "1M"
[tasks.type."mail.send"]
command = "cat"
time_limit = 0
env = {A = "b"}
[tasks.type."mail.send".params]
to = {required = true}
n = {type = "int", default = 3}
ratio = {type = "float", default = 0.5}
html = {type = "bool", default = false}
tags = {type = "array", default = ["a", 1]}
text = {default = "say \"x\""}
short = "int"
[tasks.type.produced]
`

// TestEffectiveRoundTrip checks that what is shown loads to what was loaded.
func TestEffectiveRoundTrip(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":    "",
		"everything": strings.Replace(everything, `"" = "x", `, "", 1),
		"starter":    config.Starter(),
		"many":       manyProcesses(50),
	} {
		first := load(t, text)
		shown := first.Effective().TOML()
		again := load(t, shown)
		if !reflect.DeepEqual(values(first), values(again)) {
			t.Errorf("%s: loaded\n%+v\nshown\n%s\nloaded again\n%+v", name, values(first), shown, values(again))
		}
		if once := again.Effective().TOML(); once != shown {
			t.Errorf("%s: shown again it is\n%s\nnot\n%s", name, once, shown)
		}
	}
}

// values are the sections of a configuration without where they came from.
func values(cfg *config.Config) []any {
	return []any{cfg.StateDir, cfg.Durability, cfg.Log, cfg.Events, cfg.Supervise, cfg.Heartbeat, cfg.Daemon, cfg.Worker, cfg.Tasks, cfg.Serve}
}

func TestEffectiveTOML(t *testing.T) {
	cfg := load(t, "[supervise.process.web]\ncommand = ['x']\non_fail = [{retry = 3}]\nenv.A = 'b'\n[heartbeat.h]\nperiod = '90m'\n")
	want := `durability = "process"

[log]
level = "info"
format = "console"
max_size = "10M"
max_files = 5
max_age = "0s"
compress = false

[events]
keep = 100000

[supervise.process.web]
command = ["x"]
adopt = false
autostart = true
restart = "never"
success_codes = [0]
max_restarts = 0
healthy_after = "10s"
on_fail = [{retry = 3}]
session = false
nice = 0

[supervise.process.web.backoff]
initial = "1s"
factor = 2.0
max = "1m"
jitter = 0.1

[supervise.process.web.ready]
notify = false
interval = "100ms"
try_timeout = "5s"
timeout = "1m"

[supervise.process.web.stop]
signal = "TERM"
grace = "10s"

[supervise.process.web.output]
format = "text"
overflow = "drop"
max_size = "10M"
max_files = 5
max_age = "0s"
compress = false

[supervise.process.web.env]
A = "b"

[heartbeat]
default_period = "24h"
history_keep = 1000
history_max_age = "720h"

[heartbeat.h]
period = "1h30m"
alert_after = 1
on_fast = "coalesce"

[daemon]
context = "production"

[daemon.rotation]
max_size = "10M"
max_files = 5
max_age = "0s"
compress = false

[worker]
connect_timeout = "3s"
answer_timeout = "10s"
concurrency = 1
max_run_time = "0s"
memory_limit = "0"
stop_grace = "30s"

[worker.tls]
enabled = false

[worker.server]
listen = ["127.0.0.1:4730"]
durability = "process"
job_retries = 0
round_robin = false
worker_wakeup = 1
memory = "64M"
max_memory = "4G"
max_jobs = 0
max_packet = "256M"
max_connections = 20000
write_timeout = "1m"
keepalive = "1m"
stop_grace = "10s"

[worker.backoff]
initial = "1s"
factor = 2.0
max = "1m"
jitter = 0.1

[tasks]
selection = "weighted"
workers = 4
empty_queue_sleep = "500ms"
busy_sleep = "200ms"
time_limit = "10m"
max_attempts = 3
max_crashes = 3
lease = "30s"
stop_grace = "30s"
keep = "720h"
unknown_types = "refuse"

[tasks.retry]
policy = "exponential"
initial = "10s"
factor = 2.0
max = "1h"
jitter = 0.1

[serve]
listen = "127.0.0.1:8580"
create = "on-request"
create_limit = 1000
public_badges = false
max_connections = 4096
header_timeout = "5s"
request_timeout = "30s"
idle_timeout = "1m"
max_body = "16M"
`
	if got := cfg.Effective().TOML(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestEffectiveJSON(t *testing.T) {
	cfg := load(t, strings.Replace(everything, `"" = "x", `, "", 1))
	text, err := json.Marshal(cfg.Effective())
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Log struct {
			MaxAge string `json:"max_age"`
		} `json:"log"`
		Supervise struct {
			Process map[string]struct {
				Env    map[string]string `json:"env"`
				Limits map[string]string `json:"limits"`
				OnFail []map[string]any  `json:"on_fail"`
			} `json:"process"`
		} `json:"supervise"`
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	web := got.Supervise.Process["w.b"]
	if got.Log.MaxAge != "36h" || web.Env["X"] != "$${X}" || web.Limits["core"] != "0" || web.Limits["memory"] != "1536M" || len(web.OnFail) != 5 || web.OnFail[0]["retry"] != 3.0 {
		t.Errorf("it is %s", text)
	}
}

func TestEffectiveMasksSecrets(t *testing.T) {
	cfg := load(t, `
[supervise.process.web]
command = ["x", "--dsn=redis://me:s3cret@h/1", "https://u@h/a:b@c", "postgres://u:p@q@h,see http://a:b@c", "--token=${API_TOKEN}", "${PLAIN}", "${PIN}"]
[supervise.process.web.env]
DB_PASSWORD = "x"
my_passwd = "x"
SECRET_SAUCE = "x"
github_token = "x"
AWS_ACCESS_KEY_ID = "x"
CREDENTIALS = "x"
SENTRY_DSN = "x"
EMPTY_TOKEN = ""
HOME = "/home/x"
URL = "amqp://guest:guest@localhost:5672/"
COPY = "a${API_TOKEN}b"
`, "API_TOKEN=t0psecret", "PLAIN=plain", "PIN=12")
	shown := cfg.Effective().TOML()
	text, err := json.Marshal(cfg.Effective())
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"s3cret", "t0psecret", "p@q", "a:b@c\"]", "guest:guest"} {
		if strings.Contains(shown, secret) || strings.Contains(string(text), secret) {
			t.Errorf("%q is shown:\n%s\n%s", secret, shown, text)
		}
	}
	for _, want := range []string{
		`command = ["x", "--dsn=redis://me:********@h/1", "https://u@h/a:b@c", "postgres://u:********@h,see http://a:********@c", "--token=********", "plain", "12"]`,
		`DB_PASSWORD = "********"`, `my_passwd = "********"`, `SECRET_SAUCE = "********"`, `github_token = "********"`,
		`AWS_ACCESS_KEY_ID = "********"`, `CREDENTIALS = "********"`, `SENTRY_DSN = "********"`,
		`EMPTY_TOKEN = ""`, `HOME = "/home/x"`, `URL = "amqp://guest:********@localhost:5672/"`, `COPY = "a********b"`,
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("not shown: %s\nin\n%s", want, shown)
		}
	}
	load(t, shown)
}

func TestWriteStarter(t *testing.T) {
	inDir(t, nil)
	if err := config.WriteStarter("new.toml"); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load("new.toml", env())
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.CheckPrograms(); err != nil {
		t.Error(err)
	}
	if len(cfg.Supervise.Process) == 0 || len(cfg.Supervise.Group) == 0 || len(cfg.Heartbeat.Heartbeats) == 0 {
		t.Errorf("the starter configures only %+v", cfg)
	}
	if err := os.WriteFile("new.toml", []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err, want := config.WriteStarter("new.toml"), `cannot write "new.toml": it exists already`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if err, want := config.WriteStarter("no/new.toml"), `cannot write "no/new.toml": no such file or directory`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if text, err := os.ReadFile("new.toml"); string(text) != "mine" || err != nil {
		t.Errorf("the file is now %q, %v", text, err)
	}
}

// TestStarterComments checks that what the starter has as comments is right,
// too.
func TestStarterComments(t *testing.T) {
	var lines []string
	for line := range strings.Lines(config.Starter()) {
		if key, ok := strings.CutPrefix(line, "# "); ok && strings.Contains(key, " = ") {
			line = key
		}
		lines = append(lines, line)
	}
	cfg := load(t, strings.Join(lines, ""))
	p := cfg.Supervise.Process["sleeper"]
	if cfg.StateDir == "" || p.User == "" || p.Dir == "" || len(p.OnFail) != 3 || p.Limits.Files == 0 || p.Ready.TCP == "" || p.Env == nil {
		t.Errorf("not everything was a key: %+v", p)
	}
}

// TestLinkSecretsAreMasked: nor is the path of a webhook shown, which often is what
// gives the right to post.
func TestLinkSecretsAreMasked(t *testing.T) {
	shown := load(t, `
[supervise.process.p]
command = ["x"]
on_fail = [
  {webhook = "https://hooks.example.org/services/S3CRET1"},
  {webhook = {url = "https://u:S3CRET2@example.org/?x=S3CRET3", secret = "S3CRET4", headers = {Authorization = "Bearer S3CRET5", Cookie = "S3CRET6", X = "shown"}}},
  {task = {type = "t", params = {api_token = "S3CRET7", to = ["ops ${HOOK_SECRET}"]}}},
]
`, "HOOK_SECRET=S3CRET8").Effective().TOML()
	if strings.Contains(shown, "S3CRET") {
		t.Errorf("a secret is shown:\n%s", shown)
	}
	for _, want := range []string{"https://hooks.example.org/********", "https://example.org/********", `X = "shown"`, `to = ["ops ********"]`} {
		if !strings.Contains(shown, want) {
			t.Errorf("%s is not shown:\n%s", want, shown)
		}
	}
}
