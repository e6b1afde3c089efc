package proc

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Trim gives memory back that a procops which is about to wait for long does not need:
// what the garbage collector has freed, and the pages of its program that it has only
// used to begin. What is needed again is read again from the page cache.
func Trim() {
	debug.FreeOSMemory()
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer func() { _ = maps.Close() }()
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	for _, m := range programMappings(maps, program) {
		_, _, _ = syscall.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED)
	}
}

// mapping is a part of the address space.
type mapping struct{ from, to uintptr }

// programMappings returns the mappings of a program, of those in the form of
// /proc/PID/smaps, that are as they are in its file: they can only be read, and nobody has
// written to them before. What the linker has relocated and then made read-only is none of
// them: dropped, it would come back without that.
func programMappings(smaps io.Reader, program string) (clean []mapping) {
	var (
		current mapping
		wanted  bool // current can only be read, and is of the program
	)
	for lines := bufio.NewScanner(smaps); lines.Scan(); {
		line := lines.Text()
		var (
			head mapping
			mode string
		)
		if _, err := fmt.Sscanf(line, "%x-%x %4s", &head.from, &head.to, &mode); err == nil && len(mode) == len("r-xp") {
			current = head
			wanted = mode[1] == '-' && mode[3] == 'p' && strings.HasSuffix(line, " "+program)
			continue
		}
		if size, ok := strings.CutPrefix(line, "Anonymous:"); ok && wanted {
			wanted = false
			if strings.TrimSpace(size) == "0 kB" {
				clean = append(clean, current)
			}
		}
	}
	return clean
}
