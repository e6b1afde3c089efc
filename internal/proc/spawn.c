// The child's side of a start.
//
// The child shares the memory of procops until it calls execve (as with
// vfork), so a failure is reported by writing into the request, and a start
// costs no copy of the page tables. Between clone and execve only system calls
// are made: the wrappers of the C library that signal other threads (setuid and
// its kin) would reach the threads of procops.

#define _GNU_SOURCE
#include "native.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

#define SIGNALS 64
#define STACK_SIZE (64 * 1024)

// The kernel's struct sigaction.
struct kernel_sigaction {
	void (*handler)(int);
	unsigned long flags;
	void *restorer;
	uint64_t mask;
};

struct child {
	struct procops_spawn *request;
	char *path, *dir;
	char **argv, **envp;
	pid_t parent;
};

// The limit of open files that procops was started with; the Go runtime raises
// its own.
static struct rlimit first_nofile;

// The signals that procops was started with ignored and blocked; the runtime
// installs handlers for nearly all.
static uint64_t first_ignored, first_blocked;

static uint64_t bit(int sig) { return (uint64_t)1 << (sig - 1); }

// The signals that would end a program that does not catch them.
static const int ending[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
#define ENDING (sizeof ending / sizeof *ending)

// What the Go runtime does about them, while they are held back.
static struct sigaction usual[ENDING];

// A pipe with the signals that are held back, a byte each: until execve makes this
// another program, and there until the Go runtime has handlers. It lets signals
// through before it has any.
static int held_in = -1, held_out = -1;

static void hold(int sig)
{
	char byte = (char)sig;
	int saved = errno;
	if (write(held_in, &byte, 1) < 0) {
		// It is full: there are enough of them.
	}
	errno = saved;
}

static void hold_ending(struct sigaction *before)
{
	struct sigaction act = {.sa_handler = hold, .sa_flags = SA_RESTART | SA_ONSTACK};
	unsigned i;
	sigfillset(&act.sa_mask);
	for (i = 0; i < ENDING; i++)
		sigaction(ending[i], &act, before == NULL ? NULL : &before[i]);
}

int procops_hold(int in, int out)
{
	held_in = in;
	held_out = out;
	hold_ending(usual);
	return 0;
}

void procops_let_go(void)
{
	unsigned i;
	for (i = 0; i < ENDING; i++)
		sigaction(ending[i], &usual[i], NULL);
}

int procops_held(void)
{
	char byte;
	return held_out >= 0 && read(held_out, &byte, 1) == 1 ? byte : 0;
}

// Goes on holding back what the program before this one has held back. The variable
// is for nobody else.
static void hold_early(void)
{
	const char *pipe = getenv("PROCOPS_SIGNALS");
	if (pipe == NULL || getenv("PROCOPS_HANDOVER") == NULL || sscanf(pipe, "%d,%d", &held_in, &held_out) != 2)
		return;
	unsetenv("PROCOPS_SIGNALS");
	fcntl(held_in, F_SETFD, FD_CLOEXEC);
	fcntl(held_out, F_SETFD, FD_CLOEXEC);
	hold_ending(NULL);
}

void procops_guard(void) __attribute__((noreturn));

// Runs before the Go runtime starts, in every program that contains this
// package: so it does next to nothing, unless the program is the guard.
__attribute__((constructor)) static void early(void)
{
	struct kernel_sigaction act;
	int s;
	getrlimit(RLIMIT_NOFILE, &first_nofile);
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &first_blocked, sizeof first_blocked);
	for (s = 1; s <= SIGNALS; s++)
		if (syscall(SYS_rt_sigaction, s, NULL, &act, sizeof act.mask) == 0 && act.handler == SIG_IGN)
			first_ignored |= bit(s);
	if (strcmp(program_invocation_name, "procops-guard") == 0)
		procops_guard();
	hold_early();
}

static int fail(struct procops_spawn *r, int step)
{
	r->error = errno;
	r->step = step;
	_exit(127);
}

// Kills this process when the thread that started it ends. The parent may have
// ended before; then nobody would.
static void follow_parent(struct child *c)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
		fail(c->request, STEP_PARENT);
	if (getppid() != c->parent)
		_exit(127);
}

static void take_files(struct procops_spawn *r)
{
	int i;
	// First out of the way what stands where another belongs.
	for (i = 0; i < r->nfds; i++) {
		if (r->fds[i] >= 0 && r->fds[i] < r->nfds && r->fds[i] != i) {
			int moved = fcntl(r->fds[i], F_DUPFD_CLOEXEC, r->nfds);
			if (moved < 0)
				fail(r, STEP_FILES);
			r->fds[i] = moved;
		}
	}
	for (i = 0; i < r->nfds; i++) {
		if (r->fds[i] < 0)
			close(i);
		else if (r->fds[i] == i ? fcntl(i, F_SETFD, 0) < 0 : dup2(r->fds[i], i) < 0)
			fail(r, STEP_FILES);
	}
	// An old kernel does not have it; then close-on-exec has to do. A child that
	// outlives procops holds the lock of its supervisor until it is another program:
	// before that the next supervisor could not know it by its environment.
	if (!r->inherit)
		syscall(SYS_close_range, r->nfds, ~0U, r->survives ? CLOSE_RANGE_CLOEXEC : 0);
}

static void take_limits(struct procops_spawn *r)
{
	struct rlimit now;
	int i;
	if (getrlimit(RLIMIT_NOFILE, &now) == 0 && now.rlim_cur != first_nofile.rlim_cur) {
		now.rlim_cur = first_nofile.rlim_cur < now.rlim_max ? first_nofile.rlim_cur : now.rlim_max;
		setrlimit(RLIMIT_NOFILE, &now);
	}
	for (i = 0; i < r->nlimits; i++) {
		struct rlimit want = {r->limits[i].value, r->limits[i].value};
		r->detail = i;
		// Past the soft limit of processor time comes a signal that can be
		// caught, past the hard one SIGKILL: leave a second between them.
		if (r->limits[i].resource == RLIMIT_CPU && getrlimit(RLIMIT_CPU, &now) == 0 && want.rlim_cur < now.rlim_max)
			want.rlim_max++;
		if (setrlimit(r->limits[i].resource, &want) != 0)
			fail(r, STEP_LIMIT);
	}
	r->detail = 0;
}

static void take_user(struct child *c)
{
	struct procops_spawn *r = c->request;
	if (syscall(SYS_setgroups, (long)r->ngroups, r->groups) != 0)
		fail(r, STEP_GROUPS);
	if (syscall(SYS_setresgid, (long)r->gid, (long)r->gid, (long)r->gid) != 0)
		fail(r, STEP_GROUP);
	if (syscall(SYS_setresuid, (long)r->uid, (long)r->uid, (long)r->uid) != 0)
		fail(r, STEP_USER);
	// There must be no way back.
	if (r->uid != 0 && syscall(SYS_setresuid, -1L, 0L, -1L) == 0) {
		errno = EPERM;
		fail(r, STEP_USER);
	}
	if (!r->survives)
		follow_parent(c); // a change of user clears the signal
}

static void set_signals(void (*action)(int), uint64_t ignored, uint64_t blocked)
{
	struct kernel_sigaction act = {0};
	int s;
	for (s = 1; s <= SIGNALS; s++) {
		act.handler = ignored & bit(s) ? SIG_IGN : action;
		syscall(SYS_rt_sigaction, s, &act, NULL, sizeof act.mask);
	}
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &blocked, NULL, sizeof blocked);
}

// Writes a number in decimal. printf is not safe here.
static void write_number(char *s, unsigned n)
{
	unsigned rest;
	for (rest = n; rest >= 10; rest /= 10)
		s++;
	s[1] = 0;
	for (; n >= 10; n /= 10)
		*s-- = '0' + n % 10;
	*s = '0' + n;
}

static int child_main(void *arg)
{
	struct child *c = arg;
	struct procops_spawn *r = c->request;

	if (r->session ? setsid() < 0 : setpgid(0, 0) < 0)
		fail(r, STEP_SESSION);
	if (r->slot)
		__atomic_store_n(&r->slot->pid, (uint32_t)getpid(), __ATOMIC_SEQ_CST);
	if (r->pid_text)
		write_number(r->pid_text, getpid());
	if (!r->detached && !r->survives)
		follow_parent(c);
	if (r->has_cgroup && write(r->cgroup, "0", 1) != 1)
		fail(r, STEP_CGROUP);
	take_files(r);
	if (r->foreground) {
		pid_t self = getpid();
		if (ioctl(0, TIOCSPGRP, &self) != 0)
			fail(r, STEP_FOREGROUND);
	}
	take_limits(r);
	if (r->has_nice && setpriority(PRIO_PROCESS, 0, r->nice) != 0)
		fail(r, STEP_NICE);
	if (r->cpus && syscall(SYS_sched_setaffinity, 0, r->ncpus * sizeof *r->cpus, r->cpus) != 0)
		fail(r, STEP_CPUS);
	if (r->umask >= 0)
		umask(r->umask);
	if (r->has_user)
		take_user(c);
	if (r->has_dir && chdir(c->dir) != 0)
		fail(r, STEP_DIR);
	if (r->inherit)
		set_signals(SIG_DFL, first_ignored, first_blocked);
	else
		set_signals(r->detached ? SIG_IGN : SIG_DFL, 0, 0);
	if (r->survives && getppid() != c->parent)
		_exit(127); // nobody knows of it yet
	execve(c->path, c->argv, c->envp);
	return fail(r, STEP_EXEC);
}

static char *next(char *s) { return s + strlen(s) + 1; }

static char *fill(char **list, int n, char *s)
{
	int i;
	for (i = 0; i < n; i++, s = next(s))
		list[i] = s;
	list[n] = NULL;
	return s;
}

void procops_spawn(struct procops_spawn *r)
{
	char stack[STACK_SIZE] __attribute__((aligned(16)));
	struct child c = {.request = r, .parent = getpid()};
	uint64_t all = ~(uint64_t)0, before;
	char *s;

	r->step = STEP_NONE;
	c.argv = calloc(r->argc + 1 + r->envc + 1, sizeof *c.argv);
	if (!c.argv) {
		r->error = ENOMEM;
		r->step = STEP_CLONE;
		return;
	}
	c.envp = c.argv + r->argc + 1;
	c.path = r->strings;
	c.dir = next(c.path);
	s = fill(c.argv, r->argc, next(c.dir));
	fill(c.envp, r->envc, s);

	// A handler of the Go runtime must not run in the child.
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof all);
	// A kernel before 5.2 does not know CLONE_PIDFD, and ignores it.
	r->pidfd = -1;
	r->pid = clone(child_main, stack + STACK_SIZE, CLONE_VM | CLONE_VFORK | (r->has_pidfd ? CLONE_PIDFD : 0) | SIGCHLD, &c, &r->pidfd);
	if (r->pid < 0) {
		r->error = errno;
		r->step = STEP_CLONE;
	}
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof before);

	if (r->step != STEP_NONE && r->pid > 0) {
		if (r->pidfd >= 0)
			close(r->pidfd);
		if (r->slot)
			__atomic_store_n(&r->slot->pid, 0, __ATOMIC_SEQ_CST);
		while (waitpid(r->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	free(c.argv);
}

int procops_ignored(int sig)
{
	return sig >= 1 && sig <= SIGNALS && (first_ignored & bit(sig)) != 0;
}

pid_t procops_ended(void)
{
	siginfo_t info;
	info.si_pid = 0;
	if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0)
		return errno == EINTR ? procops_ended() : -1;
	return info.si_pid;
}

int procops_stopped(pid_t pid)
{
	siginfo_t info;
	info.si_pid = 0;
	return waitid(P_PID, pid, &info, WSTOPPED | WNOHANG) == 0 && info.si_pid == pid;
}

int procops_foreground(int fd, pid_t group)
{
	uint64_t stop = (uint64_t)1 << (SIGTTOU - 1), before;
	int error;
	syscall(SYS_rt_sigprocmask, SIG_BLOCK, &stop, &before, sizeof stop);
	error = ioctl(fd, TIOCSPGRP, &group) == 0 ? 0 : errno;
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof before);
	return error;
}
