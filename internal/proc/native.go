package proc

/*
#cgo CFLAGS: -O2 -Wall
#include <stdlib.h>
#include "native.h"
*/
import "C"

import (
	"fmt"
	"runtime"
	"syscall"
	"unsafe"
)

// markerSize is the room for a marker with the NUL after it.
const markerSize = C.PROCOPS_MARKER_SIZE

// pidRoom is the room for a pid in decimal with the NUL after it.
const pidRoom = C.PROCOPS_PID_SIZE

// slot is one entry of the table of groups shared with the guard, see
// struct procops_slot.
type slot = C.struct_procops_slot

// tableHeader is the fixed part of that table.
type tableHeader = C.struct_procops_table

// launch is a start in the words of the kernel. Everything has been looked up
// and checked.
type launch struct {
	path       string
	dir        string // empty: stay
	argv, env  []string
	tellsPID   bool  // the last of env has room for the pid at its end: see withRoomForPID
	files      []int // files[i] becomes descriptor i, -1: none
	session    bool
	foreground bool
	detached   bool // outlives procops and ignores signals
	survives   bool // outlives procops
	inherit    bool // signals and descriptors that procops was started with
	slot       *slot
	user       *User
	umask      *Umask
	nice       int
	cpus       []uint64 // as CPUs.mask returns it
	limits     []limit
	cgroup     *Cgroup
	wantPidfd  bool
	pidfd      int // of the child, if one was wanted and the kernel has it; otherwise -1
}

// stepNames complete "cannot ..." for a failed step.
var stepNames = [...]string{
	C.STEP_CLONE:      "create a process",
	C.STEP_SESSION:    "create a process group",
	C.STEP_PARENT:     "tie its life to that of procops",
	C.STEP_FOREGROUND: "give it the terminal",
	C.STEP_CGROUP:     "put it into its cgroup",
	C.STEP_FILES:      "hand over its files",
	C.STEP_NICE:       "set its priority",
	C.STEP_CPUS:       "tie it to its CPUs",
	C.STEP_GROUPS:     "set its supplementary groups",
	C.STEP_GROUP:      "set its group",
	C.STEP_USER:       "set its user",
}

// run starts the program from the calling thread and returns its pid.
func (l *launch) run() (int, error) {
	var pins runtime.Pinner
	defer pins.Unpin()

	request := &C.struct_procops_spawn{
		argc:     C.int(len(l.argv)),
		envc:     C.int(len(l.env)),
		has_dir:  truth(l.dir != ""),
		session:  truth(l.session),
		detached: truth(l.detached),
		survives: truth(l.survives),
		slot:     l.slot,
		umask:    -1,
		has_nice: truth(l.nice != 0),
		nice:     C.int(l.nice),
	}
	request.foreground = truth(l.foreground)
	request.inherit = truth(l.inherit)
	request.has_pidfd = truth(l.wantPidfd)
	strings := l.strings()
	pins.Pin(&strings[0])
	request.strings = (*C.char)(unsafe.Pointer(&strings[0]))
	if l.tellsPID {
		request.pid_text = (*C.char)(unsafe.Pointer(&strings[len(strings)-pidRoom]))
	}
	files := make([]C.int, len(l.files))
	for i, fd := range l.files {
		files[i] = C.int(fd)
	}
	pins.Pin(&files[0])
	request.fds, request.nfds = &files[0], C.int(len(files))
	if l.umask != nil {
		request.umask = C.int(*l.umask)
	}
	l.addUser(request, &pins)
	l.addLimits(request, &pins)
	if len(l.cpus) > 0 {
		pins.Pin(&l.cpus[0])
		request.cpus, request.ncpus = (*C.uint64_t)(&l.cpus[0]), C.int(len(l.cpus))
	}
	if l.cgroup != nil {
		door, err := l.cgroup.door()
		if err != nil {
			return 0, fmt.Errorf("cannot %s: %w", stepNames[C.STEP_CGROUP], err)
		}
		defer syscall.Close(door) //nolint:errcheck // nothing of ours was written
		request.has_cgroup, request.cgroup = 1, C.int(door)
	}

	C.procops_spawn(request)
	l.pidfd = -1
	if request.step == C.STEP_NONE {
		l.pidfd = int(request.pidfd)
		return int(request.pid), nil
	}
	return int(request.pid), l.failure(request)
}

// strings lays out the strings as struct procops_spawn wants them.
func (l *launch) strings() []byte {
	size := len(l.path) + len(l.dir) + 2
	for _, list := range [][]string{l.argv, l.env} {
		for _, s := range list {
			size += len(s) + 1
		}
	}
	text := make([]byte, 0, size)
	text = append(append(text, l.path...), 0)
	text = append(append(text, l.dir...), 0)
	for _, list := range [][]string{l.argv, l.env} {
		for _, s := range list {
			text = append(append(text, s...), 0)
		}
	}
	return text
}

func (l *launch) addUser(request *C.struct_procops_spawn, pins *runtime.Pinner) {
	if l.user == nil {
		return
	}
	request.has_user = 1
	request.uid, request.gid = C.uid_t(l.user.UID), C.gid_t(l.user.GID)
	if len(l.user.Groups) == 0 {
		return
	}
	groups := make([]C.gid_t, len(l.user.Groups))
	for i, g := range l.user.Groups {
		groups[i] = C.gid_t(g)
	}
	pins.Pin(&groups[0])
	request.groups, request.ngroups = &groups[0], C.int(len(groups))
}

func (l *launch) addLimits(request *C.struct_procops_spawn, pins *runtime.Pinner) {
	if len(l.limits) == 0 {
		return
	}
	limits := make([]C.struct_procops_limit, len(l.limits))
	for i, one := range l.limits {
		limits[i] = C.struct_procops_limit{resource: C.int(one.resource), value: C.uint64_t(one.value)}
	}
	pins.Pin(&limits[0])
	request.limits, request.nlimits = &limits[0], C.int(len(limits))
}

func (l *launch) failure(request *C.struct_procops_spawn) error {
	cause := syscall.Errno(request.error)
	switch request.step {
	case C.STEP_EXEC:
		return l.execFailure(cause)
	case C.STEP_DIR:
		return fmt.Errorf("cannot change to directory %q: %w", l.dir, cause)
	case C.STEP_LIMIT:
		one := l.limits[request.detail]
		return fmt.Errorf("cannot set its limit of %s to %d: %w", one.name, one.value, cause)
	case C.STEP_CPUS:
		if cause == syscall.EINVAL {
			return fmt.Errorf("cannot tie it to its CPUs: procops may use none of them (%w)", cause)
		}
		fallthrough
	default:
		return fmt.Errorf("cannot %s: %w", stepNames[request.step], cause)
	}
}

func truth(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

// endedChild returns the pid of a child that waits to be reaped, or 0.
func endedChild() int {
	return max(int(C.procops_ended()), 0)
}

// IgnoredAtStart reports whether this program was started with a signal ignored.
func IgnoredAtStart(s Signal) bool { return C.procops_ignored(C.int(s)) != 0 }

// holdSignals holds the signals back that end programs, in a pipe that does not block.
func holdSignals(in, out int) { C.procops_hold(C.int(in), C.int(out)) }

func letSignalsGo() { C.procops_let_go() }

// heldSignal returns the next signal that was held back, 0 if there is none.
func heldSignal() Signal { return Signal(C.procops_held()) }

// wasStopped reports whether a child has been stopped since this was asked last.
func wasStopped(pid int) bool { return C.procops_stopped(C.pid_t(pid)) != 0 }

// setForeground makes group the foreground group of the terminal fd.
func setForeground(fd, group int) error {
	if e := C.procops_foreground(C.int(fd), C.pid_t(group)); e != 0 {
		return syscall.Errno(e)
	}
	return nil
}

// groupMembers counts the processes of a group that are not zombies.
func groupMembers(group int) int {
	return int(C.procops_members(C.pid_t(group)))
}

// tableFile returns the descriptor of a file in memory.
func tableFile(size int) (int, error) {
	fd, err := C.procops_table_fd(C.size_t(size))
	if fd < 0 {
		return -1, err
	}
	return int(fd), nil
}

// sweepRoom is how many pids one round of a sweep can report.
const sweepRoom = 1024

// sweepRound kills the processes whose marker is value, or with the end ':' begins
// with value and a colon, except this one and those in except, and returns the
// pids.
func sweepRound(value string, end byte, except []int) []int {
	name := C.CString(value)
	defer C.free(unsafe.Pointer(name))
	spared := make([]C.pid_t, len(except)+1)
	for i, pid := range except {
		spared[i] = C.pid_t(pid)
	}
	killed := make([]C.pid_t, sweepRoom)
	n := C.procops_sweep(name, C.char(end), &spared[0], C.int(len(except)), &killed[0], sweepRoom)
	pids := make([]int, min(int(n), sweepRoom))
	for i := range pids {
		pids[i] = int(killed[i])
	}
	return pids
}

// findMarked returns the pids of the processes that sweepRound would kill without
// exceptions.
func findMarked(value string, end byte) []int {
	name := C.CString(value)
	defer C.free(unsafe.Pointer(name))
	return listed(func(found *C.pid_t, room C.int) C.int { return C.procops_find(name, C.char(end), found, room) })
}

// findExiting returns the processes that are about to become zombies. Their memory, and
// with it their marker, may have gone already; their files have not.
func findExiting() []int {
	return listed(func(found *C.pid_t, room C.int) C.int { return C.procops_exiting(found, room) })
}

// listed returns what a function of C finds, with as much room as that takes.
func listed(find func(found *C.pid_t, room C.int) C.int) []int {
	for room := sweepRoom; ; room *= 2 {
		found := make([]C.pid_t, room)
		n := int(find(&found[0], C.int(room)))
		if n > room {
			continue
		}
		pids := make([]int, n)
		for i := range pids {
			pids[i] = int(found[i])
		}
		return pids
	}
}

// setMarker writes the marker into the table's header.
func setMarker(header *tableHeader, marker string) {
	field := (*[markerSize]byte)(unsafe.Pointer(&header.marker))
	copy(field[:markerSize-1], marker)
}
