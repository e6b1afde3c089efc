package proc

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrCgroupBusy is the error of a cgroup in which something still runs although it
// was sent SIGKILL.
var ErrCgroupBusy = errors.New("something in it still runs after SIGKILL")

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

// Cgroup is the cgroup of one process.
type Cgroup struct{ dir string }

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
