package heartbeat

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"procops/internal/proc"
)

// Client is the process that beats, as the kernel sees it. The zero value
// means that nothing is known of it.
type Client struct {
	PID    int           // 0: not known
	Uptime time.Duration // since its start
	Memory int64         // resident bytes
}

// userHertz is the unit of times in /proc: the kernel fixes it at 100 for
// every architecture that Go runs on.
const userHertz = 100

// ReadClient reads the run time and memory of a process from /proc. An error
// that is os.ErrNotExist means that there is no such process.
func ReadClient(pid int) (Client, error) {
	fields, err := statFields(pid)
	if err != nil {
		return Client{}, fmt.Errorf("cannot read process %d: %w", pid, err)
	}
	now, err := sinceBoot()
	if err != nil {
		return Client{}, fmt.Errorf("cannot read process %d: %w", pid, err)
	}
	start := time.Duration(fields.start) * (time.Second / userHertz)
	return Client{
		PID:    pid,
		Uptime: max(0, now-start),
		Memory: fields.residentPages * int64(os.Getpagesize()),
	}, nil
}

// stat is what is of interest in /proc/PID/stat; see proc_pid_stat(5).
type stat struct {
	start         uint64 // field 22: clock ticks since boot
	residentPages int64  // field 24
}

func statFields(pid int) (stat, error) {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, errors.Unwrap(err) // without the path, which says nothing more
	}
	// The second field is the program's name in parentheses, which may hold
	// spaces and parentheses itself.
	const first = 3 // number of the first field after the name
	rest := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	if len(rest) < 24-first+1 {
		return stat{}, fmt.Errorf("unexpected contents %q", raw)
	}
	start, err := strconv.ParseUint(rest[22-first], 10, 64)
	if err != nil {
		return stat{}, err
	}
	pages, err := strconv.ParseInt(rest[24-first], 10, 64)
	return stat{start: start, residentPages: pages}, err
}

// sinceBoot returns the time since the machine was started, sleep included.
func sinceBoot() (time.Duration, error) {
	raw, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0, err
	}
	text, _, _ := strings.Cut(string(raw), " ")
	seconds, err := strconv.ParseFloat(text, 64)
	return time.Duration(seconds * float64(time.Second)), err
}

// identify names a process beyond the reuse of its id.
func identify(pid int) (proc.Identity, error) {
	fields, err := statFields(pid)
	if err != nil {
		return proc.Identity{}, err
	}
	boot, err := bootID()
	return proc.Identity{PID: pid, Start: fields.start, Boot: boot}, err
}

func bootID() (string, error) {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(raw)), err
}
