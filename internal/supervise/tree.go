package supervise

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// node is a place in the tree: a *process or a *group.
type node interface {
	// satisfies reports whether the node has got as far as a dependency wants.
	satisfies(Condition) bool
	// leaves returns the processes at or below the node, in order.
	leaves() []*process
	// picture returns the node as Status shows it.
	picture() Node
}

// process is a supervised process: its config and where it is in its life. The
// loop owns it.
type process struct {
	name   string
	cfg    ProcessConfig
	parent *group

	needs    []need     // what must have got how far before it starts
	neededBy []*process // those that stop before it does

	state   State
	since   time.Time
	moves   int // changes of state so far: tells whether a timer still has something to say
	reason  string
	wanted  bool           // up, as far as the operator and the config have a say
	byHand  bool           // wanted is an operator's word
	byChain bool           // wanted is a chain's word, which lasts as long as procops
	next    *ProcessConfig // what it is to be restarted with
	leaving bool           // it is not in the config any more
	halt    bool           // to be brought to rest, as soon as nothing that needs it runs
	again   bool           // to be started once it is at rest

	run      *run // nil when nothing of it runs
	runs     int  // number of the current or last run, so that late news of earlier ones is told apart
	started  int  // runs since supervision began
	streak   int  // restarts in a row without having been healthy
	orders   int  // starts by chains, likewise
	chain    chain
	timer    *time.Timer // of the time that its state may last
	due      time.Time   // end of the backoff
	lastExit *ExitStatus
	gaps     []string // what does not hold of its cgroup's limits, and why
	output   *output
}

// need is a dependency of a process.
type need struct {
	on        node
	name      string
	condition Condition
}

// group is a supervisor of processes and of other groups.
type group struct {
	name       string
	cfg        GroupConfig
	parent     *group // nil at the top
	children   []node
	chain      chain
	waiting    []func()    // walks along the chain that begin when the present one has ended
	restarting []*process  // brought to rest to be started again together
	restarts   []time.Time // of children, within the time that counts
	streak     int         // restarts of the group in a row
	passed     bool        // on_pass has been run since the last start of a child
	timer      *time.Timer
}

// tree is all nodes of a config.
type tree struct {
	root      []node
	byName    map[string]node
	processes []*process // in order of start
	groups    []*group   // outer ones first
}

// newTree builds the tree of a checked config: references are good and there
// are no cycles. What an old tree has under the same name and of the same kind
// is taken over as it stands, a process with its old config.
func newTree(cfg Config, now time.Time, old *tree) *tree {
	b := builder{cfg: cfg, now: now, tree: &tree{byName: map[string]node{}}, old: old}
	if old == nil {
		b.old = &tree{}
	}
	for _, name := range topNames(cfg) {
		b.tree.root = append(b.tree.root, b.build(name, nil))
	}
	for _, p := range b.tree.processes {
		p.needs, p.neededBy = nil, nil
	}
	for _, p := range b.tree.processes {
		b.tree.connect(p, cfg.Process[p.name].DependsOn)
	}
	return b.tree
}

// builder makes a tree.
type builder struct {
	cfg  Config
	now  time.Time
	tree *tree
	old  *tree
}

// topNames returns the names at the top of the tree: those the config lists,
// else all that no group has as a child, sorted.
func topNames(cfg Config) []string {
	if len(cfg.Children) > 0 {
		return cfg.Children
	}
	inGroup := map[string]bool{}
	for _, g := range cfg.Group {
		for _, child := range g.Children {
			inGroup[child] = true
		}
	}
	all := slices.Concat(slices.Collect(maps.Keys(cfg.Process)), slices.Collect(maps.Keys(cfg.Group)))
	slices.Sort(all)
	return slices.DeleteFunc(all, func(name string) bool { return inGroup[name] })
}

func (b *builder) build(name string, parent *group) node {
	if g, ok := b.cfg.Group[name]; ok {
		n := b.group(name)
		n.cfg, n.parent, n.children = g, parent, nil
		b.tree.byName[name] = n
		b.tree.groups = append(b.tree.groups, n)
		for _, child := range g.Children {
			n.children = append(n.children, b.build(child, n))
		}
		return n
	}
	p := b.process(name)
	p.parent = parent
	b.tree.byName[name] = p
	b.tree.processes = append(b.tree.processes, p)
	return p
}

func (b *builder) group(name string) *group {
	if g, ok := b.old.byName[name].(*group); ok {
		return g
	}
	return &group{name: name}
}

func (b *builder) process(name string) *process {
	if p, ok := b.old.byName[name].(*process); ok {
		return p
	}
	cfg := b.cfg.Process[name]
	return &process{name: name, cfg: cfg, state: StateStopped, since: b.now, wanted: cfg.Autostart}
}

// connect resolves what p depends on.
func (t *tree) connect(p *process, dependsOn []DependencyConfig) {
	for _, d := range dependsOn {
		on, ok := t.byName[d.Name]
		if !ok { // outside of [supervise] children
			continue
		}
		p.needs = append(p.needs, need{on: on, name: d.Name, condition: d.Condition})
		for _, q := range on.leaves() {
			q.neededBy = append(q.neededBy, p)
		}
	}
}

func (p *process) leaves() []*process { return []*process{p} }

func (p *process) satisfies(c Condition) bool {
	switch c {
	case ConditionCompleted:
		return p.state == StateCompleted
	case ConditionStarted:
		return p.state.Up() || p.state == StateCompleted
	case ConditionHealthy:
		return p.state == StateRunning && p.isAlive() || p.state == StateCompleted
	default:
		return p.state == StateRunning || p.state == StateCompleted
	}
}

func (p *process) picture() Node { return Node{Name: p.name, State: p.state} }

func (g *group) leaves() []*process {
	var all []*process
	for _, c := range g.children {
		all = append(all, c.leaves()...)
	}
	return all
}

func (g *group) satisfies(c Condition) bool {
	for _, child := range g.children {
		if !child.satisfies(c) {
			return false
		}
	}
	return true
}

func (g *group) picture() Node {
	n := Node{Name: g.name, Group: true, State: StateCompleted}
	if g.cfg.instances {
		n.Instances = new(len(g.children))
	}
	if len(g.children) == 0 {
		n.State = StateStopped
	}
	for _, c := range g.children {
		pic := c.picture()
		n.Children = append(n.Children, pic)
		nothing := pic.Group && len(pic.Children) == 0
		if severity(pic.State) > severity(n.State) && !nothing {
			n.State = pic.State
		}
	}
	return n
}

// severity orders states by how much an operator wants to know of them.
func severity(s State) int {
	order := []State{
		StateCompleted, StateRunning, StateStopped, StateStarting, StateWaiting,
		StateStopping, StateEnding, StateBackoff, StateFatal,
	}
	return slices.Index(order, s)
}

// above returns the groups above p, innermost first.
func (p *process) above() []*group {
	var groups []*group
	for g := p.parent; g != nil; g = g.parent {
		groups = append(groups, g)
	}
	return groups
}

// path returns the names of the groups above p, outermost first: "site/backend".
func (p *process) path() string {
	var names []string
	for _, g := range p.above() {
		names = append(names, g.name)
	}
	slices.Reverse(names)
	return strings.Join(names, "/")
}

// unmet returns the first dependency of p that is not there yet, nil if none.
func (p *process) unmet() *need {
	for i := range p.needs {
		if !p.needs[i].on.satisfies(p.needs[i].condition) {
			return &p.needs[i]
		}
	}
	return nil
}

// held reports whether p must not stop yet, because something that needs it
// is on its way down too and has not arrived.
func (p *process) held() bool {
	return slices.ContainsFunc(p.neededBy, func(q *process) bool { return q.halt && !q.down() })
}

// down reports whether p is at rest, or as near to it as it will get.
func (p *process) down() bool { return p.state.AtRest() || p.stuck() }

// stuck reports whether SIGKILL did not end what runs of p.
func (p *process) stuck() bool { return p.run != nil && p.run.stuck }
