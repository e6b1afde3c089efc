package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// The names of the directories that procops makes.
const (
	cgroupBranch  = "procops-"   // and the token: all that is below is procops'
	cgroupAside   = "supervisor" // procops itself, where it had to make room
	cgroupProcess = "process-"   // and the name: a prefix, because the kernel has files such as memory.max there
)

// Cgroups owns a branch of the cgroup v2 tree, below the cgroup that procops is in.
// Nothing is made before the first Make. See cgroups(7) and the kernel's
// admin-guide/cgroup-v2.
type Cgroups struct {
	token  string
	record string // file that tells the next owner of the same token where the branch is

	locate func() (string, error) // finds the cgroup of procops
	mkdir  func(string) error

	mu      sync.Mutex
	own     string   // the cgroup of procops; empty before the first Make
	enabled []string // controllers that it has switched on there
	aside   bool     // procops has moved out of own, into the branch
}

// NewCgroups makes the owner of the branch that is named after the token, which is
// one that HostOptions.RunToken may be. record is the path of a file that it keeps.
func NewCgroups(token, record string) *Cgroups {
	c := &Cgroups{token: token, record: record}
	c.locate = func() (string, error) { return ownCgroup(c.asideSuffix()) }
	c.mkdir = func(dir string) error { return os.Mkdir(dir, 0o755) }
	return c
}

func (c *Cgroups) branchName() string { return cgroupBranch + c.token }

func (c *Cgroups) branch() string { return filepath.Join(c.own, c.branchName()) }

// asideSuffix is what the path of procops' cgroup ends with once it has moved.
func (c *Cgroups) asideSuffix() string { return "/" + c.branchName() + "/" + cgroupAside }

// Make makes the cgroup for a process of that name, which must be one that may be
// part of a file's name. The gaps are limits that the kernel does not offer; the
// error says that there is no cgroup at all. It is ErrCgroupBusy if what was in a
// cgroup of the same name cannot be ended.
func (c *Cgroups) Make(name string, limits CgroupLimits) (*Cgroup, []CgroupGap, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.open(); err != nil {
		return nil, nil, err
	}
	g := &Cgroup{dir: filepath.Join(c.branch(), cgroupProcess+name)}
	err := c.mkdir(g.dir)
	if errors.Is(err, fs.ErrExist) {
		if _, err = g.End(); err == nil {
			err = c.mkdir(g.dir)
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make cgroup %q: %w", g.dir, cause(err))
	}
	var gaps []CgroupGap
	for _, k := range limits.knobs() {
		if err := c.set(g.dir, k); err != nil {
			gaps = append(gaps, CgroupGap{Limit: k.limit, Err: err})
		}
	}
	if hasWord(g.dir, "cgroup.type", "invalid") {
		return nil, nil, errors.Join(fmt.Errorf("cgroup %q is threaded, so that none below it can have processes", c.own), removeCgroup(g.dir))
	}
	return g, gaps, nil
}

// Of returns the cgroup that a former owner of the same token has made for a process
// of that name, which runs in it; nil if there is none.
func (c *Cgroups) Of(name string, pid int) *Cgroup {
	c.mu.Lock()
	defer c.mu.Unlock()
	dir, err := cgroupOf(strconv.Itoa(pid))
	if err != nil || filepath.Base(dir) != cgroupProcess+name || filepath.Base(filepath.Dir(dir)) != c.branchName() || c.open() != nil {
		return nil
	}
	return &Cgroup{dir: dir}
}

// open makes the branch.
func (c *Cgroups) open() error {
	own, err := c.locate()
	if err != nil {
		return err
	}
	if c.own == "" && hasWord(filepath.Join(own, c.branchName(), cgroupAside), "cgroup.procs", strconv.Itoa(os.Getpid())) {
		// This procops is the successor of one that has moved, in the same process.
		text, _ := os.ReadFile(filepath.Join(own, "cgroup.subtree_control"))
		c.aside, c.enabled = true, strings.Fields(string(text))
	}
	c.own = own
	if err := c.mkdir(c.branch()); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cannot make cgroup %q: %w", c.branch(), cause(err))
	}
	if err := os.WriteFile(c.record, []byte(c.branch()+"\n"), 0o600); err != nil {
		return fmt.Errorf("cannot record where the cgroups are: %w", err)
	}
	return nil
}

// set sets a limit in dir.
func (c *Cgroups) set(dir string, k knob) error {
	if !hasWord(c.own, "cgroup.controllers", k.controller) {
		if isV1(k.controller) {
			return fmt.Errorf("the %s controller is in cgroup v1 on this machine, not in v2", k.controller)
		}
		return fmt.Errorf("cgroup %q has no %s controller", c.own, k.controller)
	}
	if err := c.enable(k.controller); err != nil {
		return err
	}
	if err := writeCgroup(dir, k.file, k.value); err != nil {
		return fmt.Errorf("cannot set %s to %q: %w", k.file, k.value, err)
	}
	return nil
}

// enable switches a controller on for what is below the branch.
func (c *Cgroups) enable(controller string) error {
	for _, dir := range []string{c.own, c.branch()} {
		if hasWord(dir, "cgroup.subtree_control", controller) {
			continue
		}
		// Only a cgroup without processes may hand out controllers, but for the root,
		// which has no type. The kernel does not refuse it for all controllers: some make
		// the cgroup a threaded one, and what is below it useless.
		var err error
		if dir == c.own && hasFile(dir, "cgroup.type") {
			err = c.stepAside()
		}
		if err == nil {
			err = writeCgroup(dir, "cgroup.subtree_control", "+"+controller)
		}
		if err != nil {
			return fmt.Errorf("cannot enable the %s controller in cgroup %q: %w", controller, dir, err)
		}
		if dir == c.own {
			c.enabled = append(c.enabled, controller)
		}
	}
	return nil
}

// stepAside moves procops and what it has started out of its cgroup, unless others
// are in it.
func (c *Cgroups) stepAside() error {
	if len(cgroupMembers(c.own)) == 0 {
		return nil
	}
	leaf := filepath.Join(c.branch(), cgroupAside)
	if err := c.mkdir(leaf); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cannot make cgroup %q: %w", leaf, cause(err))
	}
	c.aside = true
	for range cgroupRounds {
		pids := cgroupMembers(c.own)
		if len(pids) == 0 {
			return nil
		}
		if i := slices.IndexFunc(pids, func(pid int) bool { return !isOurs(pid) }); i >= 0 {
			return errors.Join(fmt.Errorf("others are in it as well, such as process %d", pids[i]), c.stepBack())
		}
		if err := moveAll(pids, leaf); err != nil {
			return errors.Join(err, c.stepBack())
		}
	}
	return errors.Join(errors.New("processes keep coming into it"), c.stepBack())
}

// cgroupRounds is how often the members of a cgroup are moved: new ones may come
// meanwhile.
const cgroupRounds = 50

// stepBack undoes stepAside.
func (c *Cgroups) stepBack() error {
	leaf := filepath.Join(c.branch(), cgroupAside)
	for range cgroupRounds {
		pids := cgroupMembers(leaf)
		if len(pids) == 0 {
			break
		}
		if err := moveAll(pids, c.own); err != nil {
			return err
		}
	}
	c.aside = false
	return removeCgroup(leaf)
}

// Sweep kills all that a former owner of the same token has left in its cgroups, and
// removes them, except those of the processes to keep. It returns the pids that it
// killed; the error is ErrCgroupBusy if some cannot be ended.
func (c *Cgroups) Sweep(keep ...string) (killed []int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	used := false
	here, _ := ownCgroup("") // where procops is itself: never to be killed
	for _, branch := range c.formerBranches() {
		names, _ := readNames(branch)
		for _, name := range names {
			process, ok := strings.CutPrefix(name, cgroupProcess)
			g := &Cgroup{dir: filepath.Join(branch, name)}
			if !ok || slices.Contains(keep, process) || here == g.dir || strings.HasPrefix(here, g.dir+"/") {
				continue
			}
			pids, failed := g.End()
			killed = append(killed, pids...)
			err = errors.Join(err, failed)
		}
		// What is still in use stays, and so does the record that leads to it.
		_ = syscall.Rmdir(filepath.Join(branch, cgroupAside))
		_ = syscall.Rmdir(branch)
		used = used || len(cgroupMembersBelow(branch)) > 0
	}
	if !used {
		_ = os.Remove(c.record) // if there is one
	}
	return killed, err
}

// formerBranches returns where a former owner of the token may have had its branch:
// where this one would have it, and where the record says.
func (c *Cgroups) formerBranches() (list []string) {
	if own, err := c.locate(); err == nil {
		list = append(list, filepath.Join(own, c.branchName()))
	}
	text, err := os.ReadFile(c.record)
	recorded := filepath.Clean(strings.TrimSpace(string(text)))
	if err == nil && filepath.IsAbs(recorded) && filepath.Base(recorded) == c.branchName() && isCgroup2(recorded) && !slices.Contains(list, recorded) {
		list = append(list, recorded)
	}
	return list
}

// Close removes the branch. What is still in it stays, and the error says so.
func (c *Cgroups) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.own == "" {
		return nil
	}
	for _, dir := range []string{c.branch(), c.own} {
		for _, controller := range c.enabled {
			if hasWord(dir, "cgroup.subtree_control", controller) {
				_ = writeCgroup(dir, "cgroup.subtree_control", "-"+controller) // then stepBack or the removal fails
			}
		}
	}
	var err error
	if c.aside {
		err = c.stepBack()
	}
	if err = errors.Join(err, removeCgroup(c.branch())); err != nil {
		return fmt.Errorf("cannot remove the cgroups: %w", err)
	}
	c.own, c.enabled = "", nil
	if err := os.Remove(c.record); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
