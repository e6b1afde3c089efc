package integration

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestImportRules reads the import graph of the program and checks each rule
// of docs/architecture.md.
func TestImportRules(t *testing.T) {
	g := loadGraph(t)
	if len(g.own()) < 5 {
		t.Fatalf("the graph has only the packages %q of this module: the rules would hold for nothing", g.own())
	}
	for _, r := range importRules() {
		t.Run(r.name, func(t *testing.T) {
			for _, v := range r.check(g) {
				t.Errorf("rule %q is broken: %s", r.name, v)
			}
		})
	}
}

// TestImportRulesCatch plants one violation after the other in a small graph
// and expects the rule it breaks, and only that, to say so.
func TestImportRulesCatch(t *testing.T) {
	for _, c := range []struct {
		name    string
		offends string // the package that gets the import
		file    string // in this file
		imports string
		rules   []string // that must object
		says    string   // with these words
	}{
		{name: "nothing planted"},
		{
			"room without a place", "procops/internal/util", "util.go", "strings",
			[]string{ruleRooms},
			"internal/util is in no room",
		},
		{
			"suite for tests", "procops/internal/tasks/broker/redis", "redis.go", "procops/internal/tasks/broker/conformance",
			[]string{ruleSuites},
			"internal/tasks/broker/redis imports internal/tasks/broker/conformance",
		},
		{
			"upwards", "procops/internal/store", "store.go", "procops/internal/runner",
			[]string{ruleDown},
			"internal/store imports internal/runner",
		},
		{
			"far upwards", "procops/internal/app", "app.go", "procops/internal/cli",
			[]string{ruleDown},
			"internal/app imports internal/cli",
		},
		{
			"concern to concern", "procops/internal/heartbeat", "run.go", "procops/internal/supervise",
			[]string{ruleDown, ruleConcerns},
			"internal/heartbeat imports internal/supervise",
		},
		{
			"concern to config", "procops/internal/heartbeat", "config.go", "procops/internal/config",
			[]string{ruleDown, ruleConcerns, ruleLibraries},
			"internal/heartbeat imports internal/config",
		},
		{
			"concern to concern by way of the floor", "procops/internal/runner", "runner.go", "procops/internal/supervise",
			[]string{ruleDown, ruleConcerns},
			"internal/heartbeat -> internal/runner -> internal/supervise",
		},
		{
			"room below a concern", "procops/internal/gearman/server", "server.go", "procops/internal/heartbeat",
			[]string{ruleDown, ruleConcerns},
			"internal/gearman/server imports internal/heartbeat",
		},
		{
			"concern reads TOML", "procops/internal/supervise", "config.go", "github.com/BurntSushi/toml",
			[]string{ruleLibraries, ruleTOML},
			"internal/supervise imports github.com/BurntSushi/toml",
		},
		{
			"concern reads flags by way of a library", "example.com/lib", "lib.go", "flag",
			[]string{ruleLibraries},
			"internal/supervise -> example.com/lib -> flag",
		},
		{
			"flag library below the command line", "procops/internal/app", "app.go", "github.com/urfave/cli/v2",
			[]string{ruleFlags},
			"internal/app imports github.com/urfave/cli/v2",
		},
		{
			"os/exec outside proc", "procops/internal/runner", "runner.go", "os/exec",
			[]string{ruleExec},
			"internal/runner/runner.go imports os/exec",
		},
		{
			"SQL outside the query files", "procops/internal/heartbeat", "run.go", "database/sql",
			[]string{ruleSQL},
			"internal/heartbeat/run.go imports database/sql",
		},
		{
			"query file outside a concern", "procops/internal/app", "queries.go", "database/sql",
			[]string{ruleSQL},
			"internal/app/queries.go imports database/sql",
		},
		{
			"SQL in main", "procops", "main.go", "database/sql",
			[]string{ruleSQL},
			"main.go imports database/sql",
		},
		{
			"event imports something internal", "procops/internal/event", "bus.go", "procops/internal/fault",
			[]string{ruleLeaves},
			"internal/event imports internal/fault",
		},
		{
			"proc imports more than unit", "procops/internal/proc", "spawn.go", "procops/internal/fault",
			[]string{ruleLeaves},
			"internal/proc imports internal/fault",
		},
		{
			"wire imports something internal", "procops/internal/gearman/wire", "packet.go", "procops/internal/unit",
			[]string{ruleLeaves},
			"internal/gearman/wire imports internal/unit",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := lawfulGraph()
			if c.offends != "" {
				g.add(c.offends, c.file, c.imports)
			}
			var (
				objected []string
				said     []string
			)
			for _, r := range importRules() {
				if found := r.check(g); len(found) > 0 {
					objected = append(objected, r.name)
					said = append(said, found...)
				}
			}
			if !slices.Equal(objected, c.rules) {
				t.Errorf("rules that objected: %q, want %q (they said %q)", objected, c.rules, said)
			}
			if c.says != "" && !strings.Contains(strings.Join(said, "\n"), c.says) {
				t.Errorf("no rule said %q, but: %q", c.says, said)
			}
		})
	}
}

// lawfulGraph is a small program that breaks no rule.
func lawfulGraph() graph {
	g := graph{}
	for _, edge := range [][3]string{
		{"procops", "main.go", "procops/internal/cli"},
		{"procops/internal/cli", "root.go", "github.com/urfave/cli/v2"},
		{"procops/internal/cli", "root.go", "procops/internal/app"},
		{"procops/internal/app", "app.go", "procops/internal/control"},
		{"procops/internal/app", "app.go", "procops/internal/config"},
		{"procops/internal/control", "server.go", "procops/internal/supervise"},
		{"procops/internal/config", "load.go", "github.com/BurntSushi/toml"},
		{"procops/internal/config", "load.go", "procops/internal/supervise"},
		{"procops/internal/supervise", "run.go", "procops/internal/runner"},
		{"procops/internal/supervise", "run.go", "example.com/lib"},
		{"procops/internal/heartbeat", "queries.go", "database/sql"},
		{"procops/internal/heartbeat", "run.go", "procops/internal/runner"},
		{"procops/internal/gearman/server", "server.go", "procops/internal/gearman/wire"},
		{"procops/internal/runner", "runner.go", "procops/internal/proc"},
		{"procops/internal/store", "store.go", "database/sql"},
		{"procops/internal/store", "store.go", "procops/internal/event"},
		{"procops/internal/proc", "spawn.go", "os/exec"},
		{"procops/internal/proc", "spawn.go", "procops/internal/unit"},
		{"example.com/lib", "lib.go", "os/exec"},
		{"github.com/urfave/cli/v2", "flag.go", "flag"},
	} {
		g.add(edge[0], edge[1], edge[2])
	}
	return g
}

// loadGraph reads the import graph of the program and of all packages below
// internal/, tests excluded.
func loadGraph(t *testing.T) graph {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-e", "-deps",
		"-json=ImportPath,Dir,Imports,GoFiles,CgoFiles", ".", "./internal/...")
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("cannot list the packages: %v: %s", err, exit.Stderr)
		}
		t.Fatalf("cannot list the packages: %v", err)
	}
	g := graph{}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath, Dir            string
			Imports, GoFiles, CgoFiles []string
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return g
		} else if err != nil {
			t.Fatalf("cannot read the list of packages: %v", err)
		}
		if !isOwn(p.ImportPath) {
			for _, imported := range p.Imports {
				g.add(p.ImportPath, "", imported)
			}
			continue
		}
		for _, name := range slices.Concat(p.GoFiles, p.CgoFiles) {
			for _, imported := range importsOf(t, filepath.Join(p.Dir, name)) {
				g.add(p.ImportPath, name, imported)
			}
		}
	}
}

func importsOf(t *testing.T, path string) (imports []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatalf("cannot read the imports of %q: %v", path, err)
	}
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatalf("cannot read the imports of %q: %v", path, err)
		}
		imports = append(imports, imported)
	}
	return imports
}
