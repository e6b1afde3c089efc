package proc

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// tableSlots is how many groups the table holds. It takes memory only for those
// that are used. A group without a slot is still covered by the parent-death
// signal and the marker.
const tableSlots = 1 << 16

// table is the list of process groups in memory that procops shares with its
// guard. The guard reads it only when procops has died, so that it sleeps until
// then and a new guard finds everything.
type table struct {
	file   *os.File
	memory []byte
	header *tableHeader

	mu   sync.Mutex
	free []*slot
	used uint32
}

// newTable makes an empty table with the marker of the run.
func newTable(marker string) (*table, error) {
	size := int(unsafe.Sizeof(tableHeader{}) + tableSlots*unsafe.Sizeof(slot{}))
	fd, err := tableFile(size)
	if err != nil {
		return nil, fmt.Errorf("cannot create the guard's table: %w", err)
	}
	file := os.NewFile(uintptr(fd), "guard table")
	memory, err := syscall.Mmap(fd, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("cannot map the guard's table: %w", err)
	}
	t := &table{file: file, memory: memory, header: (*tableHeader)(unsafe.Pointer(&memory[0]))}
	setMarker(t.header, marker)
	return t, nil
}

// close tells the guard that nothing is to be killed and gives the table up.
func (t *table) close() error {
	atomic.StoreUint32((*uint32)(&t.header.bye), 1)
	if err := syscall.Munmap(t.memory); err != nil {
		return err
	}
	return t.file.Close()
}

// acquire returns a free slot; nil without a table or when it is full.
func (t *table) acquire() *slot {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.free); n > 0 {
		s := t.free[n-1]
		t.free = t.free[:n-1]
		return s
	}
	if t.used == tableSlots {
		return nil
	}
	offset := unsafe.Sizeof(tableHeader{}) + uintptr(t.used)*unsafe.Sizeof(slot{})
	t.used++
	atomic.StoreUint32((*uint32)(&t.header.used), t.used)
	return (*slot)(unsafe.Pointer(&t.memory[offset]))
}

// confirm adds the start time, which the child could not know.
func (t *table) confirm(s *slot, start uint64) {
	atomic.StoreUint64((*uint64)(&s.start), start)
}

// enter fills a slot with a leader that runs already.
func (t *table) enter(s *slot, id Identity) {
	atomic.StoreUint64((*uint64)(&s.start), id.Start)
	atomic.StoreUint32((*uint32)(&s.pid), uint32(id.PID))
}

// release frees a slot; nil is none.
func (t *table) release(s *slot) {
	if t == nil || s == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	atomic.StoreUint32((*uint32)(&s.pid), 0)
	atomic.StoreUint64((*uint64)(&s.start), 0)
	t.free = append(t.free, s)
}
