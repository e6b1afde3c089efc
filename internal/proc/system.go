package proc

import (
	"fmt"
	"syscall"
	"unsafe"
)

// prSetChildSubreaper is PR_SET_CHILD_SUBREAPER, which package syscall lacks.
const prSetChildSubreaper = 36

// setSubreaper makes orphaned descendants children of this program, or not.
func setSubreaper(on bool) error {
	var value uintptr
	if on {
		value = 1
	}
	if _, _, e := syscall.RawSyscall6(syscall.SYS_PRCTL, prSetChildSubreaper, value, 0, 0, 0, 0); e != 0 {
		return fmt.Errorf("cannot become the parent of orphans: %w", e)
	}
	return nil
}

// foreground returns the foreground group of the terminal fd; the error says that
// it is no terminal of ours.
func foreground(fd int) (int, error) {
	var group int32
	if _, _, e := syscall.RawSyscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TIOCGPGRP, uintptr(unsafe.Pointer(&group))); e != 0 {
		return 0, e
	}
	return int(group), nil
}
