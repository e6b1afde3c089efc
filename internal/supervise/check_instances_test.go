package supervise_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"procops/internal/proc"
	"procops/internal/supervise"
)

// several is a process with instances.
func several(n int, change ...func(*supervise.ProcessConfig)) supervise.ProcessConfig {
	p := supervise.ProcessConfig{Command: proc.Command{"true"}, Instances: &n}
	for _, c := range change {
		c(&p)
	}
	return p
}

func plain(change ...func(*supervise.ProcessConfig)) supervise.ProcessConfig {
	p := several(0, change...)
	p.Instances = nil
	return p
}

func dependsOn(names ...string) func(*supervise.ProcessConfig) {
	return func(p *supervise.ProcessConfig) {
		for _, n := range names {
			p.DependsOn = append(p.DependsOn, supervise.DependencyConfig{Name: n})
		}
	}
}

func TestCheckInstances(t *testing.T) {
	long := strings.Repeat("x", 63)
	for name, test := range map[string]struct {
		process map[string]supervise.ProcessConfig
		group   map[string]supervise.GroupConfig
		want    []string
	}{
		"good": {
			process: map[string]supervise.ProcessConfig{
				"db": several(3), "none": several(0),
				"web": several(3, dependsOn("db", "none"), func(p *supervise.ProcessConfig) {
					p.Ready.TCP = "127.0.0.1:{{instance+8000}}"
					p.Output.File = "web/{{ index }}.log"
					p.Env = map[string]string{"A": "{{index - 1}} {{.Names}} {{pid}} {{"}
				}),
				"pair":  several(2, dependsOn("db-{{instance}}"), func(p *supervise.ProcessConfig) { p.Output.File = "/dev/null" }),
				"plain": plain(dependsOn("web", "web-2"), func(p *supervise.ProcessConfig) { p.Command = proc.Command{"echo", "{{name}} {{index}}"} }),
			},
			group: groups("g:web,db"),
		},
		"names": {
			process: map[string]supervise.ProcessConfig{
				"web": several(3), "web-2": plain(), "api": several(2), "api-1": several(1), long: several(1),
			},
			group: groups("web-3:"),
			want: []string{
				`process/` + long + `/instances: the names of its instances are too long: the name "xxxxxxxxxxxxxxxx..." is longer than 64 characters`,
				`process/api-1: an instance of the process "api" has this name`,
				`process/web-2: an instance of the process "web" has this name`,
				`group/web-3: an instance of the process "web" has this name`,
				`group/web-3/children/0: there is no process or group ""`,
			},
		},
		"a group of the same name": {
			process: map[string]supervise.ProcessConfig{"web": several(2)},
			group:   groups("web:web"),
			want: []string{
				`group/web: there is a process of the same name`,
				`group/web/children/0: the groups contain each other: web -> web`,
			},
		},
		"log files": {
			process: map[string]supervise.ProcessConfig{
				"one":   several(1, func(p *supervise.ProcessConfig) { p.Output.File = "x.log" }),
				"two":   several(2, func(p *supervise.ProcessConfig) { p.Output.File = "{{name}}.log" }),
				"other": plain(func(p *supervise.ProcessConfig) { p.Output.File = "two-2.log" }),
			},
			want: []string{
				`process/one/output/file: all instances would write to "x.log": put {{instance}} or {{name}} into it`,
				`process/two/output/file: "two-2.log" is the log file of process "other" already`,
			},
		},
		"templates": {
			process: map[string]supervise.ProcessConfig{
				"web": several(2, func(p *supervise.ProcessConfig) {
					p.Command = proc.Command{"web", "{{instance*2}}"}
					p.Env = map[string]string{"PORT": "{{index+port}}"}
					p.OnFail = []supervise.LinkConfig{{Log: "{{instance-99999999999999999999}}"}}
				}),
				"plain": plain(func(p *supervise.ProcessConfig) { p.Dir = "/srv/{{instance}}" }),
			},
			want: []string{
				`process/web/command: cannot fill in "{{instance*2}}": want {{instance}}, or {{instance+N}} or {{instance-N}} with a number N`,
				`process/web/env/PORT: cannot fill in "{{index+port}}": want {{index}}, or {{index+N}} or {{index-N}} with a number N`,
				`process/web/on_fail/0/log: cannot fill in "{{instance-99999999999999999999}}": want {{instance}}, or {{instance+N}} or {{instance-N}} with a number N`,
				`process/plain/dir: {{instance}} is filled in only where the process has instances = N`,
			},
		},
		"said once, where it is declared": {
			process: map[string]supervise.ProcessConfig{
				"web": several(3, dependsOn("dbb"), func(p *supervise.ProcessConfig) { p.Ready.TCP = "127.0.0.1:{{instance+65533}}" }),
				"db":  several(2),
				"few": several(3, dependsOn("db-{{instance}}")),
				"own": several(2, dependsOn("own")),
				"no":  several(0, dependsOn("nothing-at-all")),
			},
			want: []string{
				`process/few/depends_on/0: there is no process or group "db-3"; did you mean "db-1"?`,
				`process/no/depends_on/0: there is no process or group "nothing-at-all"`,
				`process/own/depends_on/0: the dependencies are a cycle: own-1 -> own -> own-1`,
				`process/web/depends_on/0: there is no process or group "dbb"; did you mean "db"?`,
				`process/web/ready/tcp: invalid address "127.0.0.1:65536": want host:port, such as "127.0.0.1:6379"`,
			},
		},
	} {
		slices.Sort(test.want)
		cfg := supervise.Config{Process: test.process, Group: test.group}
		if got := problems(cfg); !slices.Equal(got, test.want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(test.want, "\n"))
		}
	}
}

// TestExpanded fills every kind of text in, and leaves the config as it was.
func TestExpanded(t *testing.T) {
	cfg := supervise.Config{
		Process: map[string]supervise.ProcessConfig{"plain": plain(), "web": several(2, func(p *supervise.ProcessConfig) {
			p.Command = proc.Command{"web", "--port={{index+8000}}", "{{{instance}}", "a}}b{{c"}
			p.Env = map[string]string{"NAME": "{{name}}/{{ instance - 1 }}"}
			p.Alive = &supervise.AliveConfig{HTTP: "http://127.0.0.1:{{instance+8000}}/"}
			p.Stop.Command = proc.Command{"stop", "{{pid}}", "{{name}}"}
			p.OnFail = []supervise.LinkConfig{{Log: "{{name}} {{exit_code}}"}}
		})},
		Group: groups("g:web,plain"),
	}
	out := cfg.Expanded()
	if got := out.Group["web"].Children; !slices.Equal(got, []string{"web-1", "web-2"}) || len(out.Process) != 3 {
		t.Errorf("children %q, %d processes", got, len(out.Process))
	}
	p := out.Process["web-2"]
	for got, want := range map[string]string{
		strings.Join(p.Command, " "): "web --port=8001 {2 a}}b{{c",
		p.Env["NAME"]:                "web-2/1",
		p.Alive.HTTP:                 "http://127.0.0.1:8002/",
		p.Stop.Command.String():      "stop '{{pid}}' web-2",
		p.OnFail[0].Log:              "web-2 {{exit_code}}",
		p.Origin("web-2"):            "web",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := cfg.Process["web"]; got.Alive.HTTP != "http://127.0.0.1:{{instance+8000}}/" || got.Env["NAME"] != "{{name}}/{{ instance - 1 }}" || got.OnFail[0].Log != "{{name}} {{exit_code}}" {
		t.Errorf("the config itself was changed: %+v", got)
	}
	for name, want := range map[string]bool{"web-2": true, "web-9": true, "web-0": false, "web-02": false, "web": false, "plain": true, "plain-1": false, "-1": false} {
		found, ok := cfg.Find(name)
		if ok != want || ok && found.Origin(name) != strings.TrimRight(name, "-0123456789") {
			t.Errorf("Find(%q): %v, %q", name, ok, found.Origin(name))
		}
	}
}

// TestInstancesLimit: the limit of the key is that of the package.
func TestInstancesLimit(t *testing.T) {
	f, _ := reflect.TypeFor[supervise.ProcessConfig]().FieldByName("Instances")
	if f.Tag.Get("max") != "1000" || supervise.MaxInstances != 1000 {
		t.Errorf("max is %s and %d", f.Tag.Get("max"), supervise.MaxInstances)
	}
	cfg := supervise.Config{Process: map[string]supervise.ProcessConfig{"web": several(1 << 40)}}
	if n := len(cfg.Expanded().Process); n != supervise.MaxInstances {
		t.Errorf("a number out of range makes %d processes", n)
	}
}
