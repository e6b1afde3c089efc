package supervise_test

import (
	"slices"
	"strings"
	"testing"

	"procops/internal/supervise"
	"procops/internal/webhook"
)

// TestCheckLinks: what a link refers to is there, and is not what has the chain.
func TestCheckLinks(t *testing.T) {
	link := func(l supervise.LinkConfig) []supervise.LinkConfig { return []supervise.LinkConfig{{Log: "x"}, l} }
	process := func(l supervise.LinkConfig) supervise.Config {
		cfg := supervise.Config{
			Children: []string{"outer"},
			Process:  processes("a", "b", "solo"),
			Group:    groups("outer:inner,b", "inner:a"),
		}
		a := cfg.Process["a"]
		a.OnFail = link(l)
		cfg.Process["a"] = a
		return cfg
	}
	group := func(l supervise.LinkConfig) supervise.Config {
		cfg := process(supervise.LinkConfig{Log: "x"})
		inner := cfg.Group["inner"]
		inner.OnPass = link(l)
		cfg.Group["inner"] = inner
		return cfg
	}
	for name, test := range map[string]struct {
		cfg  supervise.Config
		want []string
	}{
		"good":              {cfg: process(supervise.LinkConfig{Restart: supervise.Names{"b"}})},
		"child of a group":  {cfg: group(supervise.LinkConfig{Start: supervise.Names{"a", "b"}})},
		"good webhook":      {cfg: process(supervise.LinkConfig{Webhook: &webhook.Config{URL: "http://a"}, Settle: true})},
		"good job":          {cfg: group(supervise.LinkConfig{Job: &supervise.JobLink{Function: "f", Servers: []string{"[::1]:4730"}}})},
		"unknown":           {process(supervise.LinkConfig{Stop: supervise.Names{"b", "inber"}}), []string{`process/a/on_fail/1/stop/1: there is no process or group "inber"; did you mean "inner"?`}},
		"itself":            {process(supervise.LinkConfig{Restart: supervise.Names{"a"}}), []string{"process/a/on_fail/1/restart/0: \"a\" cannot restart itself; `retry` starts it again"}},
		"its group":         {process(supervise.LinkConfig{Stop: supervise.Names{"inner"}}), []string{"process/a/on_fail/1/stop/0: \"a\" is in \"inner\"; a chain of that group can have `retry`, and `raise` leads to it"}},
		"its outer group":   {process(supervise.LinkConfig{Start: supervise.Names{"outer"}}), []string{"process/a/on_fail/1/start/0: \"a\" is in \"outer\"; a chain of that group can have `retry`, and `raise` leads to it"}},
		"group itself":      {group(supervise.LinkConfig{Restart: supervise.Names{"inner"}}), []string{"group/inner/on_pass/1/restart/0: \"inner\" cannot restart itself; `retry` starts it again"}},
		"group around it":   {group(supervise.LinkConfig{Restart: supervise.Names{"outer"}}), []string{"group/inner/on_pass/1/restart/0: \"inner\" is in \"outer\"; a chain of that group can have `retry`, and `raise` leads to it"}},
		"not in the tree":   {process(supervise.LinkConfig{Start: supervise.Names{"solo"}}), []string{`process/a/on_fail/1/start/0: "solo" is not in the tree: no list of children leads to it`}},
		"twice":             {process(supervise.LinkConfig{Start: supervise.Names{"b", "b"}}), []string{`process/a/on_fail/1/start/1: "b" is in the list twice`}},
		"bad webhook":       {process(supervise.LinkConfig{Webhook: &webhook.Config{URL: "a"}}), []string{`process/a/on_fail/1/webhook/url: invalid URL: want something like "https://example.org/hook"`}},
		"NUL in a function": {process(supervise.LinkConfig{Job: &supervise.JobLink{Function: "f\x00", Servers: []string{"a:1"}}}), []string{`process/a/on_fail/1/job/function: it holds a NUL character`}},
		"long key":          {process(supervise.LinkConfig{Job: &supervise.JobLink{Function: "f", Unique: strings.Repeat("x", 65), Servers: []string{"a:1"}}}), []string{`process/a/on_fail/1/job/unique: it is longer than 64 bytes`}},
		"two at once": {
			process(supervise.LinkConfig{Start: supervise.Names{"b"}, Task: &supervise.TaskLink{Type: "t"}}),
			[]string{`process/a/on_fail/1: a link can have only one of task and start; write a link for each`},
		},
		"groups in each other": {
			supervise.Config{
				Process: map[string]supervise.ProcessConfig{"p": {Command: []string{"x"}, OnFail: []supervise.LinkConfig{{Stop: supervise.Names{"g"}}}}},
				Group:   groups("g:h", "h:g"),
			},
			[]string{`group/g/children/0: the groups contain each other: g -> h -> g`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := problems(test.cfg); !slices.Equal(got, test.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}
