package config_test

import (
	"os"
	"strings"
	"testing"

	"procops/internal/config"
)

func TestCheckPrograms(t *testing.T) {
	inDir(t, map[string]string{
		"procops.toml": `
include = ["more.toml"]
[supervise.process.good]
command = "anything at all"
stop.command = ["kill", "{{pid}}"]
on_fail = [{exec = "anything"}]
[supervise.process.here]
command = ["./tool"]
dir = "sub"
[supervise.process.path]
command = ["tool"]
env.PATH = "/nowhere"
[supervise.process.a]
command = ["./tool"]
stop.command = ["no-such-stop"]
on_pass = [{log = "x"}, {exec = ["no-such-link"]}]
user = "no-such-user"
ready.exec = ["no-such-check"]
alive.exec = ["no-such-pulse"]
[supervise.process.given]
command = ["tool"]
env_file = ["-none.env", "sub/path.env"]
stdin = "sub/path.env"
cpus = "0-8191"
groups = ["daemon", "4321"]
[supervise.process.given-wrong]
command = "x"
env_file = ["-none.env", "sub/bad.env", "none.env"]
stdin = "sub"
cpus = "8190-8191"
groups = ["daemon", "no-such-group"]
group = "none-such"
`,
		"more.toml": `
[supervise.group.g]
children = ["good"]
on_fail = [{exec = ["no-such-group-link"]}]
`,
		"sub/tool":    "#!/bin/sh\n",
		"sub/bad.env": "# oops\noops\n",
	})
	if err := os.Chmod("sub/tool", 0o700); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("sub/path.env", []byte("PATH="+dir+"/sub\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	online, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load("procops.toml", env())
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		`procops.toml:11:11: "command" in [supervise.process.path]: cannot run "tool": not found in its PATH`,
		`procops.toml:14:11: "command" in [supervise.process.a]: cannot run "./tool": no such file`,
		`procops.toml:15:16: "command" in [supervise.process.a.stop]: cannot run "no-such-stop": not found in its PATH`,
		`procops.toml:16:33: "on_pass[1].exec" in [supervise.process.a]: cannot run "no-such-link": not found in its PATH`,
		`procops.toml:17:8: "user" in [supervise.process.a]: cannot run as user "no-such-user": there is no such user`,
		`procops.toml:18:14: "exec" in [supervise.process.a.ready]: cannot run "no-such-check": not found in its PATH`,
		`procops.toml:19:14: "exec" in [supervise.process.a.alive]: cannot run "no-such-pulse": not found in its PATH`,
		`procops.toml:28:12: "env_file" in [supervise.process.given-wrong]: cannot take its environment from a file: ` + dir + `/sub/bad.env:2: want NAME=VALUE`,
		`procops.toml:29:9: "stdin" in [supervise.process.given-wrong]: cannot open its standard input "` + dir + `/sub": is a directory`,
		`procops.toml:30:8: "cpus" in [supervise.process.given-wrong]: this machine has none of the CPUs 8190-8191: it runs with ` + strings.TrimSpace(string(online)),
		`procops.toml:31:21: "groups[1]" in [supervise.process.given-wrong]: cannot run with group "no-such-group": there is no such group`,
		`procops.toml:32:9: "group" in [supervise.process.given-wrong]: cannot run with group "none-such": there is no such group`,
		`more.toml:4:20: "on_fail[0].exec" in [supervise.group.g]: cannot run "no-such-group-link": not found in its PATH`,
	}, "\n")
	if err := cfg.CheckPrograms(); err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}
