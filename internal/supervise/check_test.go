package supervise_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"procops/internal/launch"
	"procops/internal/proc"
	"procops/internal/supervise"
	"procops/internal/unit"
)

// processes makes processes that depend on others: "a", or "a:b,c" for one that
// depends on b and c.
func processes(specs ...string) map[string]supervise.ProcessConfig {
	all := map[string]supervise.ProcessConfig{}
	for _, spec := range specs {
		name, needs, _ := strings.Cut(spec, ":")
		p := supervise.ProcessConfig{Command: proc.Command{"true"}}
		for need := range strings.SplitSeq(needs, ",") {
			if needs != "" {
				p.DependsOn = append(p.DependsOn, supervise.DependencyConfig{Name: need})
			}
		}
		all[name] = p
	}
	return all
}

// groups makes groups: "g:a,b".
func groups(specs ...string) map[string]supervise.GroupConfig {
	all := map[string]supervise.GroupConfig{}
	for _, spec := range specs {
		name, children, _ := strings.Cut(spec, ":")
		all[name] = supervise.GroupConfig{Children: strings.Split(children, ",")}
	}
	return all
}

// problems returns what Check reports, each as "path: error", sorted.
func problems(cfg supervise.Config) []string {
	var all []string
	cfg.Check(func(err error, path ...string) {
		all = append(all, strings.Join(path, "/")+": "+err.Error())
	})
	slices.Sort(all)
	return all
}

func TestCheckTree(t *testing.T) {
	for name, test := range map[string]struct {
		cfg  supervise.Config
		want []string
	}{
		"nothing": {},
		"good": {cfg: supervise.Config{
			Children: []string{"outer", "solo"},
			Process:  processes("db", "web:db,inner", "solo:outer", "job", "unused"),
			Group:    groups("outer:db,web,inner", "inner:job"),
		}},
		"one name for two": {
			cfg:  supervise.Config{Process: processes("a"), Group: groups("a:b", "c:a")},
			want: []string{`group/a/children/0: there is no process or group "b"`, `group/a: there is a process of the same name`},
		},
		"unknown names": {
			cfg: supervise.Config{
				Children: []string{"webb", "g"},
				Process:  processes("web:redsi,zzzzzz", "redis"),
				Group:    groups("g:redi"),
			},
			want: []string{
				`children/0: there is no process or group "webb"; did you mean "web"?`,
				`group/g/children/0: there is no process or group "redi"; did you mean "redis"?`,
				`process/web/depends_on/0: there is no process or group "redsi"; did you mean "redis"?`,
				`process/web/depends_on/1: there is no process or group "zzzzzz"`,
			},
		},
		"two parents": {
			cfg: supervise.Config{
				Children: []string{"g", "a", "g"},
				Process:  processes("a", "b"),
				Group:    groups("g:a,b,b", "h:b"),
			},
			want: []string{
				`children/1: "a" cannot be a child of the top of the tree: it is one of group "g"`,
				`children/2: "g" is in the list twice`,
				`group/g/children/2: "b" is in the list twice`,
				`group/h/children/0: "b" cannot be a child of group "h": it is one of group "g"`,
			},
		},
		"not in the tree": {
			cfg:  supervise.Config{Children: []string{"a"}, Process: processes("a:b", "b:c", "c")},
			want: []string{`process/a/depends_on/0: "b" is not in the tree: no list of children leads to it`},
		},
		"exit_with": {cfg: supervise.Config{ExitWith: "a", Children: []string{"a"}, Process: processes("a")}},
		"exit_with of nobody": {
			cfg:  supervise.Config{ExitWith: "wbe", Process: processes("web")},
			want: []string{`exit_with: there is no process "wbe"; did you mean "web"?`},
		},
		"exit_with of a group": {
			cfg:  supervise.Config{ExitWith: "g", Process: processes("a"), Group: groups("g:a")},
			want: []string{`exit_with: "g" is a group, and a group has no exit code: name a process`},
		},
		"exit_with outside of the tree": {
			cfg:  supervise.Config{ExitWith: "b", Children: []string{"a"}, Process: processes("a", "b")},
			want: []string{`exit_with: "b" is not in the tree: no list of children leads to it`},
		},
		"needs itself": {
			cfg:  supervise.Config{Process: processes("a:a")},
			want: []string{`process/a/depends_on/0: the dependencies are a cycle: a -> a`},
		},
		"cycle of processes": {
			cfg:  supervise.Config{Process: processes("a:b", "b:c", "c:b", "d:a")},
			want: []string{`process/b/depends_on/0: the dependencies are a cycle: b -> c -> b`},
		},
		"two cycles": {
			cfg: supervise.Config{Process: processes("a:b,c", "b:a", "c:a")},
			want: []string{
				`process/a/depends_on/0: the dependencies are a cycle: a -> b -> a`,
				`process/a/depends_on/1: the dependencies are a cycle: a -> c -> a`,
			},
		},
		"cycle of groups": {
			cfg:  supervise.Config{Group: groups("a:b", "b:c", "c:a")},
			want: []string{`group/a/children/0: the groups contain each other: a -> b -> c -> a`},
		},
		"group in itself": {
			cfg:  supervise.Config{Group: groups("a:a")},
			want: []string{`group/a/children/0: the groups contain each other: a -> a`},
		},
		"needs the group it is in": {
			cfg:  supervise.Config{Process: processes("web:all"), Group: groups("all:inner", "inner:web")},
			want: []string{`process/web/depends_on/0: the dependencies are a cycle: web -> all -> inner -> web`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := problems(test.cfg); !slices.Equal(got, test.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}

func TestCheckProcess(t *testing.T) {
	for name, test := range map[string]struct {
		process supervise.ProcessConfig
		want    []string
	}{
		"ready by port":       {process: supervise.ProcessConfig{Ready: supervise.ReadyConfig{TCP: "127.0.0.1:6379"}}},
		"ready by port, IPv6": {process: supervise.ProcessConfig{Ready: supervise.ReadyConfig{TCP: "[::1]:1"}}},
		"ready by line":       {process: supervise.ProcessConfig{Ready: supervise.ReadyConfig{Log: "^ready|up$"}}},
		"links":               {process: supervise.ProcessConfig{OnFail: []supervise.LinkConfig{{Retry: 1, Settle: true}, {Log: "x"}, {Exec: proc.Command{"x"}}, {Raise: true}}, OnPass: []supervise.LinkConfig{{Settle: true}}}},
		"ready by both":       {supervise.ProcessConfig{Ready: supervise.ReadyConfig{TCP: ":1", Log: "x"}}, []string{`ready/log: only one of tcp and log can be set`}},
		"no port":             {supervise.ProcessConfig{Ready: supervise.ReadyConfig{TCP: "localhost"}}, []string{`ready/tcp: invalid address "localhost": want host:port, such as "127.0.0.1:6379"`}},
		"port zero":           {supervise.ProcessConfig{Ready: supervise.ReadyConfig{TCP: "localhost:0"}}, []string{`ready/tcp: invalid address "localhost:0": want host:port, such as "127.0.0.1:6379"`}},
		"port too high":       {supervise.ProcessConfig{Ready: supervise.ReadyConfig{TCP: "localhost:65536"}}, []string{`ready/tcp: invalid address "localhost:65536": want host:port, such as "127.0.0.1:6379"`}},
		"ready by http":       {process: supervise.ProcessConfig{Ready: supervise.ReadyConfig{HTTP: "https://[::1]:8443/x?y", Status: []int{204}}}},
		"ready by notify":     {process: supervise.ProcessConfig{Ready: supervise.ReadyConfig{Notify: true}}},
		"ready by all": {
			supervise.ProcessConfig{Ready: supervise.ReadyConfig{TCP: ":1", Notify: true, FD: 3, HTTP: "http://a", Exec: proc.Command{"true"}}},
			[]string{`ready/exec: only one of tcp, notify, fd, http and exec can be set`},
		},
		"no URL":               {supervise.ProcessConfig{Ready: supervise.ReadyConfig{HTTP: "localhost:80"}}, []string{`ready/http: invalid URL "localhost:80": want something like "http://127.0.0.1:8080/healthz"`}},
		"URL without host":     {supervise.ProcessConfig{Ready: supervise.ReadyConfig{HTTP: "http:///x"}}, []string{`ready/http: invalid URL "http:///x": want something like "http://127.0.0.1:8080/healthz"`}},
		"URL with port zero":   {supervise.ProcessConfig{Ready: supervise.ReadyConfig{HTTP: "http://a:0/"}}, []string{`ready/http: invalid URL "http://a:0/": want something like "http://127.0.0.1:8080/healthz"`}},
		"status of nothing":    {supervise.ProcessConfig{Ready: supervise.ReadyConfig{TCP: ":1", Status: []int{200}}}, []string{`ready/status: it means something only with http`}},
		"alive by port":        {process: supervise.ProcessConfig{Alive: &supervise.AliveConfig{TCP: ":1"}}},
		"alive by nothing":     {supervise.ProcessConfig{Alive: &supervise.AliveConfig{}}, []string{`alive: it needs one of tcp, http and exec`}},
		"alive by two":         {supervise.ProcessConfig{Alive: &supervise.AliveConfig{TCP: "1", HTTP: "http://a"}}, []string{`alive/http: only one of tcp and http can be set`, `alive/tcp: invalid address "1": want host:port, such as "127.0.0.1:6379"`}},
		"watchdog":             {process: supervise.ProcessConfig{Watchdog: unit.Duration(time.Second), WatchSignal: 6, Ready: supervise.ReadyConfig{FD: 3}, Alive: &supervise.AliveConfig{TCP: ":1"}}},
		"watchdog of itself":   {process: supervise.ProcessConfig{WatchSignal: 6, Ready: supervise.ReadyConfig{Notify: true}}},
		"signal of nothing":    {supervise.ProcessConfig{WatchSignal: 6}, []string{`watchdog_signal: it means something only with watchdog or ready.notify`}},
		"no expression":        {supervise.ProcessConfig{Ready: supervise.ReadyConfig{Log: "a(b"}}, []string{"ready/log: invalid regular expression: missing closing ): `a(b`"}},
		"backoff upside down":  {supervise.ProcessConfig{Backoff: launch.Backoff{Initial: unit.Duration(time.Minute), Max: unit.Duration(time.Second)}}, []string{`backoff/initial: initial (1m) is longer than max (1s)`}},
		"link without action":  {supervise.ProcessConfig{OnFail: []supervise.LinkConfig{{Retry: 1}, {}}}, []string{`on_fail/1: a link needs one of retry, exec, webhook, task, job, start, stop, restart, log, raise and settle`}},
		"link with three":      {supervise.ProcessConfig{OnPass: []supervise.LinkConfig{{Retry: 1, Log: "x", Raise: true}}}, []string{`on_pass/0: a link can have only one of retry and log and raise; write a link for each`}},
		"link of two meanings": {supervise.ProcessConfig{OnFail: []supervise.LinkConfig{{Raise: true, Settle: true}}}, []string{`on_fail/0: a link cannot both raise the failure and settle it`}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := supervise.Config{Process: map[string]supervise.ProcessConfig{"p": test.process}}
			var want []string
			for _, line := range test.want {
				want = append(want, "process/p/"+line)
			}
			if got := problems(cfg); !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

func TestCheckGroup(t *testing.T) {
	cfg := supervise.Config{
		Process: processes("a"),
		Group: map[string]supervise.GroupConfig{"g": {
			Children: []string{"a"},
			Backoff:  launch.Backoff{Initial: 2, Max: 1},
			OnFail:   []supervise.LinkConfig{{}},
			OnPass:   []supervise.LinkConfig{{}},
		}},
	}
	want := []string{
		`group/g/backoff/initial: initial (2ns) is longer than max (1ns)`,
		`group/g/on_fail/0: a link needs one of retry, exec, webhook, task, job, start, stop, restart, log, raise and settle`,
		`group/g/on_pass/0: a link needs one of retry, exec, webhook, task, job, start, stop, restart, log, raise and settle`,
	}
	if got := problems(cfg); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestCheckLong checks that a long chain of dependencies takes no longer per
// process than a short one.
func TestCheckLong(t *testing.T) {
	const n = 20_000
	specs := []string{"p0"}
	for i := 1; i < n; i++ {
		specs = append(specs, fmt.Sprintf("p%d:p%d", i, i-1))
	}
	began := time.Now()
	if got := problems(supervise.Config{Process: processes(specs...)}); got != nil {
		t.Errorf("got %s", got)
	}
	if took := time.Since(began); took > 20*time.Second { // squared, it would be minutes
		t.Errorf("%d processes took %v", n, took)
	}
}
