package supervise

import (
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Processes with instances are known here only. The config that declares them is
// turned into one of plain processes and groups, and that is what the tree, the
// checks and a reload work with.

// MaxInstances is the greatest number of instances of a process.
const MaxInstances = 1000

// instance tells which instance a process is; the zero value: of none.
type instance struct {
	of     string // the process that the config declares
	number int    // from 1
}

// instanceName is the name of the n-th instance of a process.
func instanceName(of string, n int) string { return of + "-" + strconv.Itoa(n) }

// Expanded returns the config as it is without anybody's scaling: in place of
// each process that has instances there is a group of its name, whose children
// they are.
func (c *Config) Expanded() Config { return c.expand(nil) }

// expand is Expanded with other numbers of instances, by the name of the process.
// The config itself is not changed. Of two that have the same name, which Check
// reports, the one that the config declares is there.
func (c *Config) expand(counts map[string]int) Config {
	out := *c
	if len(c.scalable()) == 0 && len(c.placedServices()) == 0 {
		return out
	}
	out.Process, out.Group = map[string]ProcessConfig{}, map[string]GroupConfig{}
	for n, p := range c.Process {
		if p.Instances == nil {
			out.Process[n] = p
		}
	}
	for _, n := range c.scalable() {
		g := GroupConfig{Strategy: OneForOne, Restart: RestartNever, instances: true}
		for number := range c.count(n, counts) {
			p := c.Process[n].instance(n, number+1)
			g.Children = append(g.Children, instanceName(n, number+1))
			if _, declared := c.Process[instanceName(n, number+1)]; !declared {
				out.Process[instanceName(n, number+1)] = p
			}
		}
		out.Group[n] = g
	}
	maps.Copy(out.Group, c.Group)
	out.addHosted()
	return out
}

// scalable returns the names of the processes that have instances, sorted.
func (c *Config) scalable() (names []string) {
	for n, p := range c.Process {
		if p.Instances != nil {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}

// count returns how many instances of a process there are: as many as counts
// says, else as the config does. A number out of range, which is reported where
// it is read, does no harm here.
func (c *Config) count(of string, counts map[string]int) int {
	n, scaled := counts[of]
	if !scaled {
		n = *c.Process[of].Instances
	}
	return min(max(n, 0), MaxInstances)
}

// instance returns the config of the n-th instance of c.
func (c ProcessConfig) instance(of string, n int) ProcessConfig {
	t := instance{of: of, number: n}
	filled, _ := reflect.TypeAssert[ProcessConfig](rewrite(reflect.ValueOf(c), nil, func(_ []string, text string) string {
		return t.fill(text)
	}))
	filled.Instances, filled.which = nil, t
	return filled
}

// Origin returns the name under which the config declares c, whose name is n: an
// instance is declared under the name of its process.
func (c ProcessConfig) Origin(n string) string {
	if c.which.of != "" {
		return c.which.of
	}
	return n
}

// Find returns the config of a process; that of an instance whatever number of
// instances there is.
func (c *Config) Find(n string) (ProcessConfig, bool) {
	if p, ok := c.Process[n]; ok && p.Instances == nil {
		return p, true
	}
	dash := strings.LastIndexByte(n, '-')
	if dash < 0 {
		return ProcessConfig{}, false
	}
	number, err := strconv.Atoi(n[dash+1:])
	p, ok := c.Process[n[:dash]]
	if err != nil || !ok || p.Instances == nil || number < 1 || instanceName(n[:dash], number) != n {
		return ProcessConfig{}, false
	}
	return p.instance(n[:dash], number), true
}
