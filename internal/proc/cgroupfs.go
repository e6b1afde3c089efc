package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// killCgroup kills at one stroke, so that nothing can fork faster. Kernels before
// 5.14 cannot; there the members are killed one by one, again and again.
func killCgroup(dir string, members []int) {
	if writeCgroup(dir, "cgroup.kill", "1") == nil {
		return
	}
	for _, pid := range members {
		if pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGKILL) // who is still there is seen in the next round
		}
	}
}

// removeCgroup removes a cgroup and those below it, innermost first. The error is
// EBUSY while something is in one of them.
func removeCgroup(dir string) error {
	for _, below := range cgroupsBelow(dir) {
		if err := removeCgroup(below); err != nil {
			return err
		}
	}
	if err := syscall.Rmdir(dir); err != nil && err != syscall.ENOENT {
		return fmt.Errorf("cannot remove cgroup %q: %w", dir, err)
	}
	return nil
}

// cgroupsBelow returns the directories in a cgroup.
func cgroupsBelow(dir string) (list []string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			list = append(list, filepath.Join(dir, e.Name()))
		}
	}
	return list
}

// cgroupMembersBelow returns the processes in a cgroup and in those below it.
func cgroupMembersBelow(dir string) []int {
	pids := cgroupMembers(dir)
	for _, below := range cgroupsBelow(dir) {
		pids = append(pids, cgroupMembersBelow(below)...)
	}
	return pids
}

// cgroupMembers returns the processes in a cgroup. One in another PID namespace is
// listed as 0.
func cgroupMembers(dir string) (pids []int) {
	text, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	for word := range strings.FieldsSeq(string(text)) {
		if pid, err := strconv.Atoi(word); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// moveAll moves processes; one that has ended meanwhile needs no move.
func moveAll(pids []int, dir string) error {
	for _, pid := range pids {
		if err := writeCgroup(dir, "cgroup.procs", strconv.Itoa(pid)); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("cannot move process %d into cgroup %q: %w", pid, dir, err)
		}
	}
	return nil
}

// isOurs reports whether a process is this one or has been started by it.
func isOurs(pid int) bool {
	for range maxAncestors {
		if pid == os.Getpid() {
			return true
		}
		if pid <= 1 {
			return false
		}
		s, err := readStat(pid)
		if err != nil {
			return errors.Is(err, fs.ErrNotExist) // it has ended
		}
		pid = s.parent
	}
	return false
}

// writeCgroup writes to a file that the kernel has put there.
func writeCgroup(dir, file, text string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return cause(err)
	}
	_, err = f.WriteString(text)
	return cause(errors.Join(err, f.Close()))
}

// hasWord reports whether a file of a cgroup has the word.
func hasWord(dir, file, word string) bool {
	text, _ := os.ReadFile(filepath.Join(dir, file))
	return slices.Contains(strings.Fields(string(text)), word)
}

func hasFile(dir, file string) bool {
	_, err := os.Stat(filepath.Join(dir, file))
	return err == nil
}

// isV1 reports whether a controller is with cgroup v1: see /proc/cgroups, where the
// hierarchy 0 is v2.
func isV1(controller string) bool {
	text, _ := os.ReadFile("/proc/cgroups")
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == controller {
			return fields[1] != "0"
		}
	}
	return false
}

// cgroup2Magic is CGROUP2_SUPER_MAGIC.
const cgroup2Magic = 0x63677270

func isCgroup2(path string) bool {
	var info syscall.Statfs_t
	return syscall.Statfs(path, &info) == nil && int64(info.Type) == cgroup2Magic //nolint:unconvert // not everywhere an int64
}

// ownCgroup returns the directory of the cgroup v2 that this process is in, without
// the suffix.
func ownCgroup(suffix string) (string, error) {
	dir, err := cgroupOf("self")
	return strings.TrimSuffix(dir, suffix), err
}

// cgroupOf returns the directory of the cgroup v2 that a process is in: its pid, or
// "self".
func cgroupOf(pid string) (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	own, err := os.ReadFile("/proc/" + pid + "/cgroup")
	if err != nil {
		return "", err
	}
	return cgroupDir(string(mounts), string(own))
}

// cgroupDir finds the directory in what /proc/self/mountinfo and /proc/self/cgroup
// say.
func cgroupDir(mounts, own string) (string, error) {
	path := ""
	for line := range strings.Lines(own) {
		if rest, ok := strings.CutPrefix(line, "0::"); ok {
			path = strings.TrimSuffix(rest, "\n")
		}
	}
	if path == "" {
		return "", errors.New("this kernel has no cgroup v2")
	}
	mounted := false
	for line := range strings.Lines(mounts) {
		// See proc_pid_mountinfo(5): after optional fields and "-" comes the type.
		before, after, _ := strings.Cut(line, " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if len(fields) < 5 || len(kind) == 0 || kind[0] != "cgroup2" {
			continue
		}
		mounted = true
		root, point := strings.TrimSuffix(unescapeMount(fields[3]), "/"), unescapeMount(fields[4])
		if below, ok := strings.CutPrefix(path, root); ok && (below == "" || below[0] == '/') && !strings.HasPrefix(below, "/..") {
			return filepath.Join(point, below), nil
		}
	}
	if mounted {
		return "", fmt.Errorf("procops is in cgroup %q, which no mount of cgroup v2 shows", path)
	}
	return "", errors.New("cgroup v2 is not mounted")
}

// unescapeMount reads the octal escapes of mountinfo.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// cause strips the words of package os, which say again what the caller says.
func cause(err error) error {
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		return failed.Err
	}
	return err
}
