package worker

import (
	"os"
	"sync"

	"procops/internal/proc"
	"procops/internal/runner"
)

// nearly is how much of what is used now may come on top before the limit of memory is
// reached: a worker ends while it still has room for a job.
const nearly = 1.2

// memory knows what the worker and its co-processes use. Its zero value is ready for use.
type memory struct {
	mu       sync.Mutex
	children map[int]proc.Identity // co-processes by pid
}

// note takes note of a co-process.
func (m *memory) note(n runner.Notice) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch n.Kind {
	case runner.NoticeReady:
		id, err := proc.Identify(n.PID)
		if err != nil {
			return // it has ended already
		}
		if m.children == nil {
			m.children = map[int]proc.Identity{}
		}
		m.children[n.PID] = id
	case runner.NoticeEnded:
		delete(m.children, n.PID)
	case runner.NoticeStarted:
	}
}

// used returns the resident memory in bytes of the worker and its co-processes, as it is
// now.
func (m *memory) used() (total int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if self, err := proc.Identify(os.Getpid()); err == nil {
		total = resident(self)
	}
	for _, child := range m.children {
		total += resident(child)
	}
	return total
}

// resident returns the memory of a process; 0 if it has ended.
func resident(id proc.Identity) int64 {
	usage, err := id.Usage()
	if err != nil {
		return 0
	}
	return usage.RSS
}
