package harness

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Running is a process of the machine.
type Running struct {
	PID     int
	Parent  int
	State   string // one letter, as in /proc/PID/stat
	Command string
}

// String describes the process for a failing test.
func (r Running) String() string {
	return fmt.Sprintf("pid %d (parent %d, state %s): %s", r.PID, r.Parent, r.State, r.Command)
}

// runningIn returns the processes that belong to the sandbox in dir: they have
// its marker in their environment or, because programs such as redis write
// over that, work below its directory. Zombies have neither.
func runningIn(dir string) []Running {
	return processes(func(pid string) bool {
		environ, _ := os.ReadFile(filepath.Join("/proc", pid, "environ"))
		if bytes.Contains(environ, []byte(envMarker+"="+dir+"\x00")) {
			return true
		}
		cwd, _ := os.Readlink(filepath.Join("/proc", pid, "cwd"))
		return cwd == dir || strings.HasPrefix(cwd, dir+"/")
	})
}

// Matching returns the processes of the sandbox whose command line contains
// text.
func (s *Sandbox) Matching(text string) []Running {
	var found []Running
	for _, r := range s.Left() {
		if strings.Contains(r.Command, text) {
			found = append(found, r)
		}
	}
	return found
}

// Descendants returns the processes below pid, at any depth.
func Descendants(pid int) []Running {
	all := processes(func(string) bool { return true })
	below := map[int]bool{pid: true}
	var found []Running
	for grown := true; grown; {
		grown = false
		for _, r := range all {
			if below[r.Parent] && !below[r.PID] {
				below[r.PID] = true
				found = append(found, r)
				grown = true
			}
		}
	}
	return found
}

func processes(wanted func(pid string) bool) (found []Running) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() || !wanted(e.Name()) {
			continue
		}
		if r, ok := describe(pid); ok {
			found = append(found, r)
		}
	}
	return found
}

// describe reads /proc/PID/stat, where the name of the program stands in
// parentheses and may contain any character.
func describe(pid int) (Running, bool) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return Running{}, false
	}
	rest := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(rest) < 2 {
		return Running{}, false
	}
	parent, err := strconv.Atoi(rest[1])
	if err != nil {
		return Running{}, false
	}
	cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
	command := strings.TrimSpace(strings.ReplaceAll(string(cmdline), "\x00", " "))
	return Running{PID: pid, Parent: parent, State: rest[0], Command: command}, true
}

// Variable returns the value of a variable in the environment that a process was
// started with.
func Variable(pid int, name string) string {
	environ, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	for variable := range strings.SplitSeq(string(environ), "\x00") {
		if value, ok := strings.CutPrefix(variable, name+"="); ok {
			return value
		}
	}
	return ""
}
