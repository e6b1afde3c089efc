package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ErrCgroupBusy is the error of a cgroup in which something still runs although it
// was sent SIGKILL.
var ErrCgroupBusy = errors.New("something in it still runs after SIGKILL")

// The names of the directories that procops makes.
const (
	cgroupBranch  = "procops-"   // and the token: all that is below is procops'
	cgroupAside   = "supervisor" // procops itself, where it had to make room
	cgroupProcess = "process-"   // and the name: a prefix, because the kernel has files such as memory.max there
)

// cgroupPatience is how long the end of what was killed is waited for.
const cgroupPatience = killPatience

// cgroupPeriod is the period of cpu.max in microseconds, the kernel's own default.
const cgroupPeriod = 100_000

// CgroupLimits are limits of all processes in a cgroup together; 0 is none.
type CgroupLimits struct {
	Memory     uint64  // bytes (memory.max); where that is not enough the kernel kills
	MemoryHigh uint64  // bytes (memory.high); beyond it the processes are slowed down
	CPU        float64 // processors (cpu.max), at least 0.01
	CPUWeight  int     // share of the processors where they are short, 1 to 10000 (cpu.weight); the kernel's default is 100
	Pids       int     // processes and threads (pids.max)
}

// CgroupGap is a limit that the kernel does not offer, by its key in the config.
type CgroupGap struct {
	Limit string // memory, memory_high, cpu, cpu_weight or pids
	Err   error  // why not
}

// knob is a limit in the words of the kernel.
type knob struct{ limit, controller, file, value string }

// knobs returns the limits that are set.
func (l CgroupLimits) knobs() []knob {
	var set []knob
	add := func(isSet bool, limit, controller, file, value string) {
		if isSet {
			set = append(set, knob{limit, controller, file, value})
		}
	}
	quota := math.Round(l.CPU * cgroupPeriod)
	add(l.MemoryHigh > 0, "memory_high", "memory", "memory.high", strconv.FormatUint(l.MemoryHigh, 10))
	add(l.Memory > 0, "memory", "memory", "memory.max", strconv.FormatUint(l.Memory, 10))
	add(l.CPU > 0, "cpu", "cpu", "cpu.max", fmt.Sprintf("%.0f %d", quota, cgroupPeriod))
	add(l.CPUWeight > 0, "cpu_weight", "cpu", "cpu.weight", strconv.Itoa(l.CPUWeight))
	add(l.Pids > 0, "pids", "pids", "pids.max", strconv.Itoa(l.Pids))
	return set
}

// Gaps returns all limits that are set as gaps, for whoever has no cgroup.
func (l CgroupLimits) Gaps(err error) (gaps []CgroupGap) {
	for _, k := range l.knobs() {
		gaps = append(gaps, CgroupGap{Limit: k.limit, Err: err})
	}
	return gaps
}

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

// Cgroup is the cgroup of one process.
type Cgroup struct{ dir string }

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
	return g, gaps, nil
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
		err := writeCgroup(dir, "cgroup.subtree_control", "+"+controller)
		if dir == c.own && errors.Is(err, syscall.EBUSY) {
			// Only a cgroup without processes may hand out controllers.
			if err = c.stepAside(); err == nil {
				err = writeCgroup(dir, "cgroup.subtree_control", "+"+controller)
			}
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

// Path returns the directory of the cgroup; empty for nil.
func (g *Cgroup) Path() string {
	if g == nil {
		return ""
	}
	return g.dir
}

// OOMKills returns how many processes of the cgroup the kernel has killed because
// the cgroup was out of memory; 0 where nobody counts.
func (g *Cgroup) OOMKills() int {
	if g == nil {
		return 0
	}
	text, err := os.ReadFile(filepath.Join(g.dir, "memory.events"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if count, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(count))
			return n
		}
	}
	return 0
}

// End kills all that is in the cgroup or below it, whatever it has done to hide,
// waits for its end and removes the cgroup. It returns the pids that it found.
func (g *Cgroup) End() (killed []int, err error) {
	if g == nil {
		return nil, nil
	}
	again := time.NewTicker(leftoverLook)
	defer again.Stop()
	patience := time.NewTimer(cgroupPatience)
	defer patience.Stop()
	for {
		inside := cgroupMembersBelow(g.dir)
		for _, pid := range inside {
			if !slices.Contains(killed, pid) {
				killed = append(killed, pid)
			}
		}
		if len(inside) > 0 {
			killCgroup(g.dir, inside)
		} else if err := removeCgroup(g.dir); !errors.Is(err, syscall.EBUSY) {
			return killed, err
		}
		select {
		case <-again.C:
		case <-patience.C:
			return killed, fmt.Errorf("cannot end cgroup %q: %w", g.dir, ErrCgroupBusy)
		}
	}
}

// door opens the file through which the child enters.
func (g *Cgroup) door() (int, error) {
	return syscall.Open(filepath.Join(g.dir, "cgroup.procs"), syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
}

// killCgroup kills at one stroke, so that nothing can fork faster. Kernels before
// 5.14 cannot; there the members are killed one by one, again and again.
func killCgroup(dir string, members []int) {
	if writeCgroup(dir, "cgroup.kill", "1") == nil {
		return
	}
	for _, pid := range members {
		if pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGKILL) // who is still there is seen in the next round
		}
	}
}

// removeCgroup removes a cgroup and those below it, innermost first. The error is
// EBUSY while something is in one of them.
func removeCgroup(dir string) error {
	for _, below := range cgroupsBelow(dir) {
		if err := removeCgroup(below); err != nil {
			return err
		}
	}
	if err := syscall.Rmdir(dir); err != nil && err != syscall.ENOENT { //nolint:errorlint // an errno as it comes
		return fmt.Errorf("cannot remove cgroup %q: %w", dir, err)
	}
	return nil
}

// cgroupsBelow returns the directories in a cgroup.
func cgroupsBelow(dir string) (list []string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			list = append(list, filepath.Join(dir, e.Name()))
		}
	}
	return list
}

// cgroupMembersBelow returns the processes in a cgroup and in those below it.
func cgroupMembersBelow(dir string) []int {
	pids := cgroupMembers(dir)
	for _, below := range cgroupsBelow(dir) {
		pids = append(pids, cgroupMembersBelow(below)...)
	}
	return pids
}

// cgroupMembers returns the processes in a cgroup. One in another PID namespace is
// listed as 0.
func cgroupMembers(dir string) (pids []int) {
	text, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	for word := range strings.FieldsSeq(string(text)) {
		if pid, err := strconv.Atoi(word); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// moveAll moves processes; one that has ended meanwhile needs no move.
func moveAll(pids []int, dir string) error {
	for _, pid := range pids {
		if err := writeCgroup(dir, "cgroup.procs", strconv.Itoa(pid)); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("cannot move process %d into cgroup %q: %w", pid, dir, err)
		}
	}
	return nil
}

// isOurs reports whether a process is this one or has been started by it.
func isOurs(pid int) bool {
	for range maxAncestors {
		if pid == os.Getpid() {
			return true
		}
		if pid <= 1 {
			return false
		}
		s, err := readStat(pid)
		if err != nil {
			return errors.Is(err, fs.ErrNotExist) // it has ended
		}
		pid = s.parent
	}
	return false
}

// writeCgroup writes to a file that the kernel has put there.
func writeCgroup(dir, file, text string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return cause(err)
	}
	_, err = f.WriteString(text)
	return cause(errors.Join(err, f.Close()))
}

// hasWord reports whether a file of a cgroup has the word.
func hasWord(dir, file, word string) bool {
	text, _ := os.ReadFile(filepath.Join(dir, file))
	return slices.Contains(strings.Fields(string(text)), word)
}

// isV1 reports whether a controller is with cgroup v1: see /proc/cgroups, where the
// hierarchy 0 is v2.
func isV1(controller string) bool {
	text, _ := os.ReadFile("/proc/cgroups")
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == controller {
			return fields[1] != "0"
		}
	}
	return false
}

// cgroup2Magic is CGROUP2_SUPER_MAGIC.
const cgroup2Magic = 0x63677270

func isCgroup2(path string) bool {
	var info syscall.Statfs_t
	return syscall.Statfs(path, &info) == nil && int64(info.Type) == cgroup2Magic //nolint:unconvert // not everywhere an int64
}

// ownCgroup returns the directory of the cgroup v2 that this process is in, without
// the suffix.
func ownCgroup(suffix string) (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	dir, err := cgroupDir(string(mounts), string(own))
	return strings.TrimSuffix(dir, suffix), err
}

// cgroupDir finds the directory in what /proc/self/mountinfo and /proc/self/cgroup
// say.
func cgroupDir(mounts, own string) (string, error) {
	path := ""
	for line := range strings.Lines(own) {
		if rest, ok := strings.CutPrefix(line, "0::"); ok {
			path = strings.TrimSuffix(rest, "\n")
		}
	}
	if path == "" {
		return "", errors.New("this kernel has no cgroup v2")
	}
	mounted := false
	for line := range strings.Lines(mounts) {
		// See proc_pid_mountinfo(5): after optional fields and "-" comes the type.
		before, after, _ := strings.Cut(line, " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if len(fields) < 5 || len(kind) == 0 || kind[0] != "cgroup2" {
			continue
		}
		mounted = true
		root, point := strings.TrimSuffix(unescapeMount(fields[3]), "/"), unescapeMount(fields[4])
		if below, ok := strings.CutPrefix(path, root); ok && (below == "" || below[0] == '/') && !strings.HasPrefix(below, "/..") {
			return filepath.Join(point, below), nil
		}
	}
	if mounted {
		return "", fmt.Errorf("procops is in cgroup %q, which no mount of cgroup v2 shows", path)
	}
	return "", errors.New("cgroup v2 is not mounted")
}

// unescapeMount reads the octal escapes of mountinfo.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// cause strips the words of package os, which say again what the caller says.
func cause(err error) error {
	var failed *fs.PathError
	if errors.As(err, &failed) {
		return failed.Err
	}
	return err
}
