package integration

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

const module = "procops"

// graph maps an import path to its package.
type graph map[string]goPackage

// goPackage maps the name of a file to what it imports. The imports of a
// package outside this module all stand under "".
type goPackage map[string][]string

func (g graph) add(pkg, file, imported string) {
	for _, p := range []string{pkg, imported} {
		if g[p] == nil {
			g[p] = goPackage{}
		}
	}
	g[pkg][file] = append(g[pkg][file], imported)
}

// own returns the packages of this module in order.
func (g graph) own() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(g)), func(p string) bool { return !isOwn(p) })
}

// imports returns what pkg imports directly, in order.
func (g graph) imports(pkg string) (all []string) {
	for _, imported := range g[pkg] {
		all = append(all, imported...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// pathsTo returns, for each package that pkg depends on and that is wanted, a
// shortest chain of imports that leads there.
func (g graph) pathsTo(pkg string, wanted func(string) bool) (found []string) {
	from := map[string]string{pkg: ""}
	for queue := []string{pkg}; len(queue) > 0; queue = queue[1:] {
		for _, next := range g.imports(queue[0]) {
			if _, seen := from[next]; seen {
				continue
			}
			from[next] = queue[0]
			queue = append(queue, next)
			if wanted(next) {
				found = append(found, chain(from, next))
			}
		}
	}
	return found
}

// chain says how next is reached: "a imports b" or "a -> b -> c".
func chain(from map[string]string, next string) string {
	var names []string
	for p := next; p != ""; p = from[p] {
		names = append(names, short(p))
	}
	slices.Reverse(names)
	if len(names) == 2 {
		return names[0] + " imports " + names[1]
	}
	return strings.Join(names, " -> ")
}

func isOwn(pkg string) bool { return pkg == module || strings.HasPrefix(pkg, module+"/") }

// short drops the module's name, which says nothing.
func short(pkg string) string {
	if pkg == module {
		return "main"
	}
	return strings.TrimPrefix(pkg, module+"/")
}

// room returns the room a package of this module is in: "" for main, "tasks"
// for internal/tasks/broker.
func room(pkg string) string {
	below, _ := strings.CutPrefix(pkg, module+"/internal/")
	if pkg == module {
		return ""
	}
	name, _, _ := strings.Cut(below, "/")
	return name
}

// floors lists the rooms from the ground up. A package imports only from the
// floors below its own, and from its own room.
func floors() [][]string {
	return [][]string{
		{"unit", "fault", "name", "flock", "dotenv", "cron", "states", "sdnotify", "metrics"},
		{"event", "proc"},
		{"store", "runner", "launch", "logging", "webhook", "sentry", "install", "pidfile"},
		concerns(),
		{"web", "hook"}, // serve the concerns, and have a section in the config as they do
		{"config"},
		{"control", "hook"},
		{"app"},
		{"cli"},
		{""},
	}
}

func concerns() []string { return []string{"heartbeat", "daemon", "supervise", "tasks", "gearman"} }

func floor(pkg string) int {
	return slices.IndexFunc(floors(), func(rooms []string) bool { return slices.Contains(rooms, room(pkg)) })
}

// importRule is a rule that reads the import graph.
type importRule struct {
	name  string
	check func(graph) []string // what breaks it
}

// The names of the rules.
const (
	ruleRooms     = "every package is in a room that docs/architecture.md knows"
	ruleDown      = "imports lead down, from floor to lower floor"
	ruleConcerns  = "a concern depends on no other concern, nor on config, cli, app, control, web"
	ruleLibraries = "a concern depends on no TOML and no flag library"
	ruleSuites    = "nothing that ships imports a suite for tests"
	ruleTOML      = "only config imports the TOML library"
	ruleFlags     = "only cli imports a flag library"
	ruleExec      = "only proc imports os/exec"
	ruleSQL       = "only store and the query files of the concerns import database/sql"
	ruleLeaves    = "event, proc, unit, fault, name, flock, dotenv, cron, states, sdnotify and gearman/wire import nothing internal, but proc may import unit"
)

func importRules() []importRule {
	return []importRule{
		{ruleRooms, everyPackageInARoom},
		{ruleDown, importsLeadDown},
		{ruleConcerns, concernsApart},
		{ruleLibraries, concernsWithoutLibraries},
		{ruleSuites, shippedWithoutSuites},
		{ruleTOML, onlyRoomImports("config", "github.com/BurntSushi/toml")},
		{ruleFlags, onlyRoomImports("cli", "github.com/urfave/cli/v2", "flag")},
		{ruleExec, onlyFilesImport("os/exec", func(pkg, _ string) bool { return room(pkg) == "proc" })},
		{ruleSQL, onlyFilesImport("database/sql", mayUseSQL)},
		{ruleLeaves, leavesAlone},
	}
}

func everyPackageInARoom(g graph) (broken []string) {
	for _, pkg := range g.own() {
		if floor(pkg) < 0 {
			broken = append(broken, fmt.Sprintf("%s is in no room: give it a floor in integration/rules_test.go and a line in docs/architecture.md", short(pkg)))
		}
	}
	return broken
}

func importsLeadDown(g graph) (broken []string) {
	for _, pkg := range g.own() {
		for _, imported := range g.imports(pkg) {
			if floor(pkg) < 0 || !isOwn(imported) || room(imported) == room(pkg) {
				continue
			}
			if floor(imported) >= floor(pkg) {
				broken = append(broken, fmt.Sprintf("%s imports %s", short(pkg), short(imported)))
			}
		}
	}
	return broken
}

func concernsApart(g graph) (broken []string) {
	forbidden := slices.Concat(concerns(), []string{"config", "cli", "app", "control", "web"})
	for _, pkg := range concernPackages(g) {
		broken = append(broken, g.pathsTo(pkg, func(p string) bool {
			return isOwn(p) && room(p) != room(pkg) && slices.Contains(forbidden, room(p))
		})...)
	}
	return broken
}

func concernsWithoutLibraries(g graph) (broken []string) {
	for _, pkg := range concernPackages(g) {
		if isSuite(pkg) {
			continue
		}
		broken = append(broken, g.pathsTo(pkg, func(p string) bool {
			return slices.Contains([]string{"flag", "github.com/BurntSushi/toml", "github.com/urfave/cli/v2"}, p)
		})...)
	}
	return broken
}

// isSuite reports whether a package is for tests alone. Then it may use libraries for tests,
// and nothing that ships imports it: shippedWithoutSuites.
func isSuite(pkg string) bool { return path.Base(pkg) == "conformance" }

func shippedWithoutSuites(g graph) (broken []string) {
	for _, pkg := range g.own() {
		for _, imported := range g.imports(pkg) {
			if isSuite(imported) && !isSuite(pkg) {
				broken = append(broken, fmt.Sprintf("%s imports %s", short(pkg), short(imported)))
			}
		}
	}
	return broken
}

func concernPackages(g graph) []string {
	return slices.DeleteFunc(g.own(), func(p string) bool { return !slices.Contains(concerns(), room(p)) })
}

// onlyRoomImports makes a rule: the libraries are for one room alone.
func onlyRoomImports(owner string, libraries ...string) func(graph) []string {
	return func(g graph) (broken []string) {
		for _, pkg := range g.own() {
			for _, imported := range g.imports(pkg) {
				if room(pkg) != owner && slices.Contains(libraries, imported) {
					broken = append(broken, fmt.Sprintf("%s imports %s", short(pkg), imported))
				}
			}
		}
		return broken
	}
}

// onlyFilesImport makes a rule: the package is for the allowed files alone.
func onlyFilesImport(library string, allowed func(pkg, file string) bool) func(graph) []string {
	return func(g graph) (broken []string) {
		for _, pkg := range g.own() {
			for _, file := range slices.Sorted(maps.Keys(g[pkg])) {
				if slices.Contains(g[pkg][file], library) && !allowed(pkg, file) {
					name := path.Join(strings.TrimPrefix(pkg, module), file)
					broken = append(broken, fmt.Sprintf("%s imports %s", strings.TrimPrefix(name, "/"), library))
				}
			}
		}
		return broken
	}
}

func mayUseSQL(pkg, file string) bool {
	return room(pkg) == "store" || (slices.Contains(concerns(), room(pkg)) && strings.HasPrefix(file, "queries"))
}

func leavesAlone(g graph) (broken []string) {
	for _, leaf := range []string{"event", "proc", "unit", "fault", "name", "flock", "dotenv", "cron", "states", "sdnotify", "metrics", "gearman/wire"} {
		pkg := module + "/internal/" + leaf
		for _, imported := range g.imports(pkg) {
			if isOwn(imported) && !isException(pkg, imported) {
				broken = append(broken, fmt.Sprintf("%s imports %s", short(pkg), short(imported)))
			}
		}
	}
	return broken
}

// isException reports the one import between leaves: limits of processes are
// written with the units of the config.
func isException(pkg, imported string) bool {
	return pkg == module+"/internal/proc" && imported == module+"/internal/unit"
}
