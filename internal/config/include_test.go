package config_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"procops/internal/config"
)

func TestInclude(t *testing.T) {
	inDir(t, map[string]string{
		"procops.toml": `
include = ["conf.d/*.toml", "extra/${WHICH:-one}.toml", "none/*.toml"]
[supervise.process.main]
command = "main"
on_fail = [{retry = 1}]
[[supervise.process.b.on_fail]]
retry = 1
`,
		"conf.d/b.toml":         "[supervise.process.b]\ncommand = 'b'\n[[supervise.process.b.on_fail]]\nretry = 2\n",
		"conf.d/a.toml":         "include = ['sub/*.toml', '../conf.d/b.toml']\n[supervise.process.a]\ncommand = 'a'\n",
		"conf.d/sub/deep.toml":  "[supervise.process.main]\nrestart = 'always'\nenv.DEEP = '1'\n[log]\nfile = 'log/x'\n",
		"conf.d/.hidden.toml":   "nonsense",
		"conf.d/README":         "nonsense",
		"extra/one.toml":        "[supervise]\nchildren = ['a', 'b', 'main']\n",
		"extra/[odd]/procops.t": "[heartbeat.odd]\n",
	})
	cfg, err := config.Load("procops.toml", env())
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(cfg.Supervise.Process)); !slices.Equal(got, []string{"a", "b", "main"}) {
		t.Errorf("processes are %q", got)
	}
	p := cfg.Supervise.Process["main"]
	if p.Restart != "always" || p.Env["DEEP"] != "1" || len(p.OnFail) != 1 || len(cfg.Supervise.Children) != 3 {
		t.Errorf("main is %+v", p)
	}
	if b := cfg.Supervise.Process["b"].OnFail; len(b) != 2 || b[0].Retry != 1 || b[1].Retry != 2 {
		t.Errorf("the chain of b is %+v", b)
	}
	if !strings.HasSuffix(cfg.Log.File, "/conf.d/sub/log/x") {
		t.Errorf("the log is %q, which is not relative to its file", cfg.Log.File)
	}
	if at, _ := cfg.Position("supervise", "process", "b", "on_fail", "1", "retry"); at.String() != "conf.d/b.toml:4:9" {
		t.Errorf("the second link of b is at %v", at)
	}
}

func TestIncludeFromElsewhere(t *testing.T) {
	inDir(t, map[string]string{
		"odd[1]*/procops.toml":  "include = ['*.d/x.toml', '../near.toml']\n",
		"odd[1]*/a.d/x.toml":    "[heartbeat.x]\n",
		"near.toml":             "[heartbeat.near]\n",
		"odd1/a.d/x.toml":       "nonsense",
		"odd[1]*/a.d/deep/.ign": "",
	})
	cfg, err := config.Load("odd[1]*/procops.toml", env())
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(cfg.Heartbeat.Heartbeats)); !slices.Equal(got, []string{"near", "x"}) {
		t.Errorf("heartbeats are %q", got)
	}
}

func TestIncludeErrors(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"missing, a directory, a bad pattern": {
			map[string]string{"procops.toml": "include = ['none.toml', 'dir', '[', '']\n", "dir/x": ""},
			[]string{
				`procops.toml:1:12: cannot include "none.toml": no such file or directory`,
				`procops.toml:1:25: cannot include "dir": it is a directory`,
				`procops.toml:1:32: cannot include "[": the pattern is malformed`,
				`procops.toml:1:37: "include[3]": it is empty`,
			},
		},
		"itself": {
			map[string]string{"procops.toml": "include = ['procops.toml']\n"},
			[]string{`procops.toml:1:12: cannot include "procops.toml": it includes itself: "procops.toml" -> "procops.toml"`},
		},
		"a cycle": {
			map[string]string{
				"procops.toml": "include = ['d/a.toml']\n",
				"d/a.toml":     "\ninclude = [\n  'b.toml',\n]\n",
				"d/b.toml":     "include = ['../*.toml']\n",
			},
			[]string{`d/b.toml:1:12: cannot include "procops.toml": it includes itself: "procops.toml" -> "d/a.toml" -> "d/b.toml" -> "procops.toml"`},
		},
		"a key in two files": {
			map[string]string{
				"procops.toml": "include = ['*.d/*']\nstate_dir = 'x'\n[supervise.process.web]\ncommand = 'x'\n[[heartbeat.h.tags]]\n",
				"a.d/a.toml":   "[supervise.process.web]\ncommand = 'y'\nrestart = 'always'\n",
				"a.d/b.toml":   "state_dir = 'y'\n[supervise.process.web]\nrestart = 'never'\n[heartbeat.h]\ntags = ['x']\n",
			},
			[]string{
				`procops.toml:5:15: "tags[0]" in [heartbeat.h]: want a string, have a table`,
				`a.d/a.toml:2:1: "command" in [supervise.process.web] is set already at procops.toml:4:1`,
				`a.d/b.toml:1:1: "state_dir" is set already at procops.toml:2:1`,
				`a.d/b.toml:3:1: "restart" in [supervise.process.web] is set already at a.d/a.toml:3:1`,
				`a.d/b.toml:5:1: "tags" in [heartbeat.h] is set already at procops.toml:5:15`,
			},
		},
		"problems in several files, one of them broken": {
			map[string]string{
				"procops.toml": "include = ['a.toml', 'b.toml']\n[supervise.process.web]\ndepends_on = ['db']\nnonsense = 1\n",
				"a.toml":       "[supervise.process.db]\ncommand = 'x'\nrestart = 'x'\ninclude = 5\n",
				"b.toml":       "[supervise.process.web]\ncommand = \n",
			},
			// Whether web has a command and db is alone is not known.
			[]string{
				`procops.toml:4:1: unknown key "nonsense" in [supervise.process.web]`,
				`a.toml:3:11: "restart" in [supervise.process.db]: invalid value "x": want "never", "on-failure" or "always"`,
				`a.toml:4:1: unknown key "include" in [supervise.process.db]`,
				`b.toml:2:11: expected value but found '\n' instead`,
			},
		},
		"a bad include in an included file": {
			map[string]string{"procops.toml": "include = ['a.toml']\n", "a.toml": "include = [5, 'b.toml']\n"},
			[]string{
				`a.toml:1:12: "include[0]": want a string, have an integer`,
				`a.toml:1:15: cannot include "b.toml": no such file or directory`,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			inDir(t, test.files)
			wantErrors(t, test.want...)
		})
	}
}

// TestIncludeByLink checks that a file is known by what it is and not by its
// path.
func TestIncludeByLink(t *testing.T) {
	inDir(t, map[string]string{
		"procops.toml": "include = ['a.toml', 'link.toml', 'hard.toml', './a.toml']\n",
		"a.toml":       "[heartbeat.h]\n",
	})
	if err := os.Symlink("a.toml", "link.toml"); err != nil {
		t.Fatal(err)
	}
	if err := os.Link("a.toml", "hard.toml"); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load("procops.toml", env()); err != nil {
		t.Error(err)
	}
	if err := os.Symlink("procops.toml", "again.toml"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("procops.toml", []byte("include = ['again.toml']\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantErrors(t, `procops.toml:1:12: cannot include "again.toml": it includes itself: "procops.toml" -> "again.toml"`)
}
