package proc

import "syscall"

// Limits are resource limits, soft and hard alike; nil leaves a limit as procops
// was started with it. Raising one above the hard limit needs privileges.
type Limits struct {
	Memory  *uint64 // address space in bytes (RLIMIT_AS)
	Data    *uint64 // data segment in bytes (RLIMIT_DATA)
	Stack   *uint64 // stack in bytes (RLIMIT_STACK)
	Files   *uint64 // open files (RLIMIT_NOFILE)
	Procs   *uint64 // processes of the user (RLIMIT_NPROC)
	CPUTime *uint64 // processor time in seconds (RLIMIT_CPU): then SIGXCPU, a second later SIGKILL
	Core    *uint64 // core file in bytes (RLIMIT_CORE)
}

// rlimitNProc is RLIMIT_NPROC, which package syscall lacks.
const rlimitNProc = 6

// limit is one limit in the words of the kernel.
type limit struct {
	name     string
	resource int
	value    uint64
}

// list returns the limits that are set.
func (l Limits) list() []limit {
	var set []limit
	for _, one := range []struct {
		name     string
		resource int
		value    *uint64
	}{
		{"address space", syscall.RLIMIT_AS, l.Memory},
		{"data size", syscall.RLIMIT_DATA, l.Data},
		{"stack size", syscall.RLIMIT_STACK, l.Stack},
		{"open files", syscall.RLIMIT_NOFILE, l.Files},
		{"processes", rlimitNProc, l.Procs},
		{"processor time", syscall.RLIMIT_CPU, l.CPUTime},
		{"core size", syscall.RLIMIT_CORE, l.Core},
	} {
		if one.value != nil {
			set = append(set, limit{one.name, one.resource, *one.value})
		}
	}
	return set
}
