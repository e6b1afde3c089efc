package supervise

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"procops/internal/proc"
	"procops/internal/unit"
)

// cgroupRecord is the file in the state directory that tells the next supervisor
// where the cgroups of this one are.
const cgroupRecord = "cgroup"

// limits turns the config into the limits of proc.
func (c *CgroupConfig) limits() proc.CgroupLimits {
	return proc.CgroupLimits{
		Memory: uint64(c.Memory), MemoryHigh: uint64(c.MemoryHigh),
		CPU: c.CPU, CPUWeight: c.CPUWeight, Pids: c.Pids,
	}
}

// confine makes the cgroup of p, which is about to be started by spec. What the
// kernel does not offer is replaced by resource limits as far as there are some,
// and said: a limit that does not hold must not look as if it did. The error says
// that something still runs in the cgroup.
func (s *Supervisor) confine(p *process, spec *proc.Spec) error {
	cfg := p.cfg.Cgroup
	if cfg == nil {
		p.gaps = nil
		return nil
	}
	var gaps []string
	cgroup, missing, err := s.cgroups.Make(p.name, cfg.limits())
	if errors.Is(err, proc.ErrCgroupBusy) {
		return err
	}
	if err != nil {
		gaps = []string{fmt.Sprintf("no cgroup, so that what hides well enough survives a stop: %v", err)}
		missing = cfg.limits().Gaps(nil)
	}
	spec.Cgroup = cgroup
	for _, gap := range missing {
		said := cfg.replace(gap.Limit, spec)
		if gap.Err != nil {
			said += ": " + gap.Err.Error()
		}
		gaps = append(gaps, said)
	}
	if !slices.Equal(gaps, p.gaps) {
		for _, gap := range gaps {
			s.deps.Log.Warn().Str("process", p.name).Msg("cgroup: " + gap)
		}
	}
	p.gaps = gaps
	return nil
}

// replace puts a resource limit in the place of a limit, if there is one, and says
// what holds now.
//
// For memory that is RLIMIT_DATA, not RLIMIT_AS: programs in Go, Java or JavaScript
// reserve far more addresses than they ever use, and would not even start.
func (c *CgroupConfig) replace(limit string, spec *proc.Spec) string {
	switch limit {
	case "memory":
		spec.Limits.Data = lesser(spec.Limits.Data, uint64(c.Memory))
		return fmt.Sprintf("memory is limited to %s of data in each single process (RLIMIT_DATA) instead of in all together", c.Memory)
	case "pids":
		if spec.User == nil && os.Geteuid() == 0 || spec.User != nil && spec.User.UID == 0 {
			return "pids is not limited (RLIMIT_NPROC does not hold for root)"
		}
		spec.Limits.Procs = lesser(spec.Limits.Procs, uint64(c.Pids))
		return fmt.Sprintf("pids is limited to %d for all processes of its user together (RLIMIT_NPROC), whoever has started them", c.Pids)
	default:
		return limit + " is not limited (there is no resource limit for it)"
	}
}

// lesser returns the lower of two limits; nil is none.
func lesser(limit *uint64, other uint64) *uint64 {
	if limit != nil && *limit < other {
		return limit
	}
	return &other
}

// endCgroup ends what a run, whose process group is gone, has left in its cgroup. It
// is called outside of the loop.
func (s *Supervisor) endCgroup(name string, r *run) error {
	r.oomKills = r.spec.Cgroup.OOMKills()
	if r.oomKills > 0 {
		s.deps.Log.Warn().Str("process", name).Int("processes", r.oomKills).Msg("the kernel has killed in its cgroup for want of memory")
	}
	killed, err := r.spec.Cgroup.End()
	if len(killed) > 0 {
		s.deps.Log.Warn().Str("process", name).Ints("pids", killed).Msg("ended what was left in its cgroup")
	}
	if err != nil && !errors.Is(err, proc.ErrCgroupBusy) {
		s.deps.Log.Warn().Err(err).Str("process", name).Msg("its cgroup is left")
		return nil
	}
	return err
}

// outOfMemory completes the text of a failure of a run in which the kernel has
// killed for want of memory.
func (c *CgroupConfig) outOfMemory(kills int) string {
	switch {
	case kills == 0 || c == nil:
		return ""
	case kills == 1:
		return fmt.Sprintf("; out of memory: the kernel has killed one of its processes, which may have %s together", size(c.Memory))
	default:
		return fmt.Sprintf("; out of memory: the kernel has killed %d of its processes, which may have %s together", kills, size(c.Memory))
	}
}

// size writes the limit of memory; without one of its own the cgroup has that of
// those above.
func size(s unit.Size) string {
	if s == 0 {
		return "what the cgroups above allow"
	}
	return s.String()
}

// CgroupStatus says how a process is confined.
type CgroupStatus struct {
	Path string   `json:"path,omitempty"` // of its cgroup, while it runs
	Gaps []string `json:"gaps,omitempty"` // limits that do not hold as configured, and why, for people
}

// cgroupStatus is nil for a process that is to have no cgroup.
func (p *process) cgroupStatus() *CgroupStatus {
	if p.cfg.Cgroup == nil {
		return nil
	}
	st := &CgroupStatus{Gaps: p.gaps}
	if p.run != nil {
		st.Path = p.run.spec.Cgroup.Path()
	}
	return st
}
