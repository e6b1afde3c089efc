// The guard: a small process beside procops that never enters the Go runtime.
// It waits until the pipe on its standard input is closed, which happens
// however procops ends, and then kills what procops has left behind. It is
// started with all signals ignored.

#define _GNU_SOURCE
#include "native.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

#define TABLE_FD 3
#define ROUNDS 200
#define CLEAN_ROUNDS 2 // a process is invisible for a moment while it calls execve

static int read_small(const char *path, char *buf, int size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), n;
	if (fd < 0)
		return -1;
	n = read(fd, buf, size - 1);
	close(fd);
	if (n < 0)
		return -1;
	buf[n] = 0;
	return n;
}

struct stat_line {
	char state;
	pid_t group;
	unsigned flags;
	unsigned long long start;
};

static int read_stat(pid_t pid, struct stat_line *out)
{
	char path[64], buf[1024], *s;
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	if (read_small(path, buf, sizeof buf) <= 0 || !(s = strrchr(buf, ')')))
		return -1;
	int group;
	if (sscanf(s + 1, " %c %*d %d %*d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
	           &out->state, &group, &out->flags, &out->start) != 4)
		return -1;
	out->group = group;
	return 0;
}

// Whether the environment that a process was started with holds the variable.
// needle is the variable with a NUL before it and what follows it.
static int is_marked(pid_t pid, const char *needle, size_t length)
{
	char path[64], buf[4096];
	size_t matched = 1; // the first variable has no NUL before it
	int fd, found = 0, n;
	snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	while (!found && (n = read(fd, buf, sizeof buf)) > 0) {
		for (int i = 0; i < n && !found; i++) {
			if (buf[i] == needle[matched])
				matched++;
			else
				matched = buf[i] == 0;
			found = matched == length;
		}
	}
	close(fd);
	return found;
}

// Looks at a process and kills it through a descriptor, so that a pid that is
// used again in between is not hit.
static int kill_marked(pid_t pid, const char *needle, size_t length)
{
	int killed, fd = syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0 && errno != ENOSYS)
		return 0;
	killed = is_marked(pid, needle, length);
	if (killed)
		killed = (fd < 0 ? kill(pid, SIGKILL) : syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0)) == 0;
	if (fd >= 0)
		close(fd);
	return killed;
}

static pid_t next_process(DIR *dir)
{
	struct dirent *entry;
	while ((entry = readdir(dir)))
		if (isdigit((unsigned char)entry->d_name[0]))
			return atoi(entry->d_name);
	return 0;
}

static int contains(const pid_t *list, int n, pid_t pid)
{
	for (int i = 0; i < n; i++)
		if (list[i] == pid)
			return 1;
	return 0;
}

#define NEEDLE_SIZE (PROCOPS_MARKER_SIZE + 32)

// Writes what is_marked looks for and returns its length.
static size_t make_needle(char needle[NEEDLE_SIZE], const char *value, char end)
{
	size_t length = 1 + snprintf(needle + 1, NEEDLE_SIZE - 2, "PROCOPS_RUN=%s", value) + 1;
	needle[0] = 0;
	needle[length - 1] = end;
	return length;
}

int procops_find(const char *value, char end, pid_t *found, int room)
{
	char needle[NEEDLE_SIZE];
	size_t length = make_needle(needle, value, end);
	pid_t pid, self = getpid();
	int count = 0;
	DIR *dir = opendir("/proc");
	if (!dir)
		return 0;
	while ((pid = next_process(dir)))
		if (pid != self && is_marked(pid, needle, length)) {
			if (count < room)
				found[count] = pid;
			count++;
		}
	closedir(dir);
	return count;
}

int procops_sweep(const char *value, char end, const pid_t *except, int nexcept, pid_t *killed, int room)
{
	char needle[NEEDLE_SIZE];
	size_t length = make_needle(needle, value, end);
	pid_t pid, self = getpid();
	int count = 0;
	DIR *dir = opendir("/proc");
	if (!dir)
		return 0;
	while ((pid = next_process(dir)))
		if (pid != self && !contains(except, nexcept, pid) && kill_marked(pid, needle, length)) {
			if (count < room)
				killed[count] = pid;
			count++;
		}
	closedir(dir);
	return count;
}

int procops_members(pid_t group)
{
	struct stat_line line;
	int count = 0;
	pid_t pid;
	DIR *dir = opendir("/proc");
	if (!dir)
		return 0;
	while ((pid = next_process(dir)))
		if (read_stat(pid, &line) == 0 && line.group == group && line.state != 'Z' && line.state != 'X')
			count++;
	closedir(dir);
	return count;
}

#define PF_EXITING 0x4 // of the kernel's include/linux/sched.h; in field 9 of /proc/PID/stat

int procops_exiting(pid_t *found, int room)
{
	struct stat_line line;
	int count = 0;
	pid_t pid;
	DIR *dir = opendir("/proc");
	if (!dir)
		return 0;
	while ((pid = next_process(dir)))
		if (read_stat(pid, &line) == 0 && (line.flags & PF_EXITING) && line.state != 'Z' && line.state != 'X') {
			if (count < room)
				found[count] = pid;
			count++;
		}
	closedir(dir);
	return count;
}

// A group whose leader's pid belongs to a younger process is no longer ours.
static void kill_group(struct procops_slot *slot)
{
	struct stat_line line;
	pid_t pid = (pid_t)slot->pid;
	if (pid <= 1)
		return;
	if (slot->start && read_stat(pid, &line) == 0 && line.start != slot->start)
		return;
	kill(-pid, SIGKILL);
}

static void nap(int round)
{
	struct timespec pause = {0, (round < 20 ? 2 : 50) * 1000000L};
	nanosleep(&pause, NULL);
}

static void clean_up(void)
{
	struct procops_table *table;
	struct stat info;
	int clean = 0;
	if (fstat(TABLE_FD, &info) != 0)
		return;
	table = mmap(NULL, info.st_size, PROT_READ, MAP_SHARED, TABLE_FD, 0);
	if (table == MAP_FAILED || table->bye)
		return;
	for (uint32_t i = 0; i < table->used; i++)
		kill_group(&table->slots[i]);
	for (int round = 0; round < ROUNDS && clean < CLEAN_ROUNDS; round++) {
		clean = procops_sweep(table->marker, 0, NULL, 0, NULL, 0) == 0 ? clean + 1 : 0;
		nap(round);
	}
}

void procops_guard(void)
{
	char byte;
	ssize_t n;
	prctl(PR_SET_NAME, "procops-guard");
	if (chdir("/") != 0)
		_exit(1);
	do
		n = read(0, &byte, 1);
	while (n > 0 || (n < 0 && errno == EINTR));
	clean_up();
	_exit(0);
}

int procops_table_fd(size_t size)
{
	int fd = memfd_create("procops-guard", MFD_CLOEXEC);
	if (fd >= 0 && ftruncate(fd, size) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}
