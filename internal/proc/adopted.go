package proc

import (
	"os"
	"strconv"
	"syscall"
)

// killAdopted kills the children of procops except the guard and returns their
// pids. When all that procops has started is dead, these are descendants that
// have left their process group and hidden their environment; the end of their
// parents has made them children of procops, the subreaper.
func (r *reaper) killAdopted() (killed []int) {
	names, err := readNames("/proc")
	if err != nil {
		return nil
	}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err == nil && r.killChild(pid) {
			killed = append(killed, pid)
		}
	}
	return killed
}

// killChild kills pid if it is a child. Under the lock nobody reaps it, so that the
// pid cannot go to another process in between.
func (r *reaper) killChild(pid int) bool {
	if s, err := readStat(pid); err != nil || s.parent != os.Getpid() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.leaders[pid]; p != nil && p.group.keep {
		return false
	}
	s, err := readStat(pid)
	return err == nil && s.parent == os.Getpid() && !s.dead() && syscall.Kill(pid, syscall.SIGKILL) == nil
}

func readNames(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // a directory that was read: nothing can be lost
	return f.Readdirnames(-1)
}
