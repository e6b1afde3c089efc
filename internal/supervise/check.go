package supervise

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"procops/internal/launch"
	"procops/internal/name"
)

// Check reports what is wrong with the section beyond single values: names that
// mean nothing or two things, a place in the tree that is taken twice, cycles,
// keys that exclude each other. path leads from the section to the value to
// blame.
func (c *Config) Check(report func(err error, path ...string)) { c.check(nil, report) }

// check is Check for other numbers of instances. Where there is none, one is
// checked: there may be some later.
func (c *Config) check(counts map[string]int, report report) {
	declared := checker{cfg: c, report: report, names: c.names()}
	declared.doubleNames()
	c.checkInstances(counts, report)
	atLeastOne := map[string]int{}
	for _, n := range c.scalable() {
		atLeastOne[n] = max(1, c.count(n, counts))
	}
	expanded := c.expand(atLeastOne)
	expanded.checkTree(expanded.blame(report))
}

// checkTree checks a config without instances.
func (c *Config) checkTree(report report) {
	k := checker{cfg: c, report: report, names: c.names()}
	k.placesInTree()
	k.exitWith()
	k.dependencies()
	k.cycles()
	k.logFiles()
	for _, process := range slices.Sorted(maps.Keys(c.Process)) {
		p := c.Process[process]
		below := k.below("process", process)
		checkReady(&p.Ready, below)
		checkAlive(p.Alive, below)
		p.checkWatchdog(below)
		checkBackoff(p.Backoff, below)
		k.links(process, p.OnFail, "on_fail", below)
		k.links(process, p.OnPass, "on_pass", below)
	}
	for _, group := range slices.Sorted(maps.Keys(c.Group)) {
		g := c.Group[group]
		below := k.below("group", group)
		checkBackoff(g.Backoff, below)
		k.links(group, g.OnFail, "on_fail", below)
		k.links(group, g.OnPass, "on_pass", below)
	}
}

// report is told what is wrong, and where.
type report func(err error, path ...string)

// checker checks what concerns more than one process or group.
type checker struct {
	cfg    *Config
	report report
	names  []string // of all processes and groups, sorted
}

// names returns the names of all processes and groups, sorted.
func (c *Config) names() []string {
	all := slices.AppendSeq(slices.Collect(maps.Keys(c.Process)), maps.Keys(c.Group))
	slices.Sort(all)
	return slices.Compact(all)
}

// below returns a report for paths relative to prefix.
func (k *checker) below(prefix ...string) report {
	return func(err error, path ...string) { k.report(err, slices.Concat(prefix, path)...) }
}

func (k *checker) doubleNames() {
	for _, n := range k.names {
		if _, process := k.cfg.Process[n]; !process {
			continue
		}
		if _, group := k.cfg.Group[n]; group {
			k.report(errors.New("there is a process of the same name"), "group", n)
		}
	}
}

// known reports whether n is a process or group.
func (k *checker) known(n string) bool {
	_, found := slices.BinarySearch(k.names, n)
	return found
}

func (k *checker) unknown(n string) error {
	if _, service := k.cfg.Hosted[n]; service {
		return notInTree(n)
	}
	names := slices.AppendSeq(slices.Clone(k.names), maps.Keys(k.cfg.Hosted))
	slices.Sort(names)
	return fmt.Errorf("there is no process or group %q%s", n, name.DidYouMean(n, names))
}

func notInTree(n string) error {
	return fmt.Errorf("%q is not in the tree: no list of children leads to it", n)
}

// placesInTree checks that every child is there and has one place in the tree.
func (k *checker) placesInTree() {
	parents := map[string]string{}
	for _, group := range slices.Sorted(maps.Keys(k.cfg.Group)) {
		k.children(k.cfg.Group[group].Children, "group "+strconv.Quote(group), parents, k.below("group", group))
	}
	k.children(k.cfg.Children, "the top of the tree", parents, k.below())
}

// children checks the children of one parent; parents has those of earlier
// ones.
func (k *checker) children(children []string, parent string, parents map[string]string, report report) {
	for i, child := range children {
		at := []string{"children", strconv.Itoa(i)}
		other, taken := parents[child]
		switch {
		case !k.known(child):
			report(k.unknown(child), at...)
		case taken && other == parent:
			report(fmt.Errorf("%q is in the list twice", child), at...)
		case taken:
			report(fmt.Errorf("%q cannot be a child of %s: it is one of %s", child, parent, other), at...)
		default:
			parents[child] = parent
		}
	}
}

// exitWith checks that the process that decides about the exit code is one, and
// in the tree.
func (k *checker) exitWith() {
	const key = "exit_with"
	n := k.cfg.ExitWith
	_, process := k.cfg.Process[n]
	switch {
	case n == "":
	case !k.known(n):
		k.report(fmt.Errorf("there is no process %q%s", n, name.DidYouMean(n, slices.Collect(maps.Keys(k.cfg.Process)))), key)
	case !process:
		k.report(fmt.Errorf("%q is a group, and a group has no exit code: name a process", n), key)
	case !k.inTree()[n]:
		k.report(notInTree(n), key)
	}
}

// dependencies checks that what processes depend on is there, and in the tree.
func (k *checker) dependencies() {
	inTree := k.inTree()
	for _, process := range slices.Sorted(maps.Keys(k.cfg.Process)) {
		report := k.below("process", process, "depends_on")
		for i, d := range k.cfg.Process[process].DependsOn {
			at := strconv.Itoa(i)
			switch {
			case d.Name == "": // reported where it was read
			case !k.known(d.Name):
				report(k.unknown(d.Name), at)
			case inTree[process] && !inTree[d.Name]:
				report(notInTree(d.Name), at)
			}
		}
	}
}

// inTree returns the names of all that is supervised: what is at the top of the
// tree, and below.
func (k *checker) inTree() map[string]bool {
	in := map[string]bool{}
	var add func(names []string)
	add = func(names []string) {
		for _, n := range names {
			if !in[n] {
				in[n] = true
				add(k.cfg.Group[n].Children)
			}
		}
	}
	top := k.cfg.Children
	if len(top) == 0 {
		top = k.names
	}
	add(top)
	return in
}

// edge is a step from a process to what it depends on, or from a group to a
// child.
type edge struct {
	to   string
	path []string // of the value that makes the step
}

// edges returns the steps from n.
func (k *checker) edges(n string) []edge {
	var edges []edge
	if p, ok := k.cfg.Process[n]; ok {
		for i, d := range p.DependsOn {
			edges = append(edges, edge{d.Name, []string{"process", n, "depends_on", strconv.Itoa(i)}})
		}
		return edges
	}
	for i, child := range k.cfg.Group[n].Children {
		edges = append(edges, edge{child, []string{"group", n, "children", strconv.Itoa(i)}})
	}
	return edges
}

// cycles reports groups that contain themselves and processes that wait for
// themselves. A group is ready when its children are, so who depends on a group
// depends on all in it.
func (k *checker) cycles() {
	w := walk{checker: k, done: map[string]bool{}, place: map[string]int{}}
	for _, n := range k.names {
		w.visit(n)
	}
}

// walk is a search for cycles, depth first.
type walk struct {
	*checker
	done  map[string]bool
	trail []string
	place map[string]int // of the names in trail
	steps [][]string     // paths of the steps between the names in trail
}

func (w *walk) visit(n string) {
	if i, here := w.place[n]; here {
		w.cycle(i)
		return
	}
	if w.done[n] {
		return
	}
	w.place[n] = len(w.trail)
	w.trail = append(w.trail, n)
	for _, e := range w.edges(n) {
		w.steps = append(w.steps, e.path)
		w.visit(e.to)
		w.steps = w.steps[:len(w.steps)-1]
	}
	w.trail = w.trail[:len(w.trail)-1]
	delete(w.place, n)
	w.done[n] = true
}

// cycle reports the cycle that begins at the i-th name of the trail. If
// processes are part of it their dependencies are to blame, else it is the
// groups' children.
func (w *walk) cycle(i int) {
	names, steps := slices.Clone(w.trail[i:]), slices.Clone(w.steps[i:])
	what := "the groups contain each other"
	if first := slices.IndexFunc(steps, func(path []string) bool { return path[0] == "process" }); first >= 0 {
		what = "the dependencies are a cycle"
		names = slices.Concat(names[first:], names[:first])
		steps = slices.Concat(steps[first:], steps[:first])
	}
	w.report(fmt.Errorf("%s: %s", what, strings.Join(append(names, names[0]), " -> ")), steps[0]...)
}

func checkBackoff(b launch.Backoff, report report) {
	if err := b.Check(); err != nil {
		report(err, "backoff", "initial")
	}
}
