package launch

import (
	"math"

	"procops/internal/proc"
	"procops/internal/unit"
)

// Limits are resource limits of the process; 0 or absent leaves a limit as it is.
type Limits struct {
	Memory  unit.Size     `toml:"memory" doc:"address space (RLIMIT_AS)"`
	Files   int           `toml:"files" min:"0" doc:"open files (RLIMIT_NOFILE)"`
	Procs   int           `toml:"procs" min:"0" doc:"processes of the user (RLIMIT_NPROC)"`
	CPUTime unit.Duration `toml:"cpu_time" doc:"processor time (RLIMIT_CPU)"`
	Core    *unit.Size    `toml:"core" doc:"core file (RLIMIT_CORE)"`
}

// Proc returns them as proc has them.
func (c Limits) Proc() proc.Limits {
	limit := func(n uint64) *uint64 {
		if n == 0 {
			return nil
		}
		return &n
	}
	l := proc.Limits{
		Memory:  limit(uint64(c.Memory)),
		Files:   limit(uint64(c.Files)),
		Procs:   limit(uint64(c.Procs)),
		CPUTime: limit(uint64(math.Ceil(c.CPUTime.Std().Seconds()))),
	}
	if c.Core != nil {
		core := uint64(*c.Core)
		l.Core = &core
	}
	return l
}
