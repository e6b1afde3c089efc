package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// Meter reads how much memory a process has, again and again: it keeps its file in
// /proc open, which never becomes that of another process with the same pid.
type Meter struct {
	file *os.File
	page int64
}

// Meter returns one for the leader. The error is os.ErrProcessDone once it has been
// reaped.
func (p *Process) Meter() (*Meter, error) {
	p.reaper.mu.Lock()
	defer p.reaper.mu.Unlock()
	if p.group.reaped {
		return nil, os.ErrProcessDone
	}
	file, err := os.Open(procFile(p.PID(), "statm"))
	if err != nil {
		return nil, fmt.Errorf("cannot read the memory of %q (pid %d): %w", p.name, p.PID(), cause(err))
	}
	return &Meter{file: file, page: int64(os.Getpagesize())}, nil
}

// RSS returns the resident memory in bytes as it is now, without that of children; 0
// once the process has ended. It takes some microseconds.
func (m *Meter) RSS() int64 {
	var text [128]byte                // seven numbers
	n, _ := m.file.ReadAt(text[:], 0) // ESRCH once it has ended
	_, rest, _ := bytes.Cut(text[:n], []byte{' '})
	resident, _, _ := bytes.Cut(rest, []byte{' '})
	pages, err := strconv.ParseInt(string(resident), 10, 64)
	if err != nil {
		return 0
	}
	return pages * m.page
}

// Close ends the reading.
func (m *Meter) Close() {
	_ = m.file.Close() // nothing was written to it
}
