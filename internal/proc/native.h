// What C does for package proc: the child's side of a start, and everything
// that must work without the Go runtime.
#ifndef PROCOPS_NATIVE_H
#define PROCOPS_NATIVE_H

#include <stdint.h>
#include <sys/types.h>

// The steps of a start, in the order in which the child takes them. They name
// what failed.
enum procops_step {
	STEP_NONE,
	STEP_CLONE,
	STEP_SESSION,
	STEP_PARENT,
	STEP_FOREGROUND,
	STEP_CGROUP,
	STEP_FILES,
	STEP_LIMIT,
	STEP_NICE,
	STEP_CPUS,
	STEP_GROUPS,
	STEP_GROUP,
	STEP_USER,
	STEP_DIR,
	STEP_EXEC,
};

struct procops_limit {
	int resource;
	uint64_t value;
};

// One registered process group. pid is 0 in a free slot; start is the leader's
// start time in clock ticks since boot, 0 as long as it is not known.
struct procops_slot {
	uint32_t pid;
	uint32_t reserved;
	uint64_t start;
};

#define PROCOPS_MARKER_SIZE 96
#define PROCOPS_PID_SIZE 12 // for a pid in decimal, and the NUL after it

// The table that procops and its guard share.
struct procops_table {
	char marker[PROCOPS_MARKER_SIZE];
	uint32_t bye;  // procops leaves in good order: nothing is to be killed
	uint32_t used; // slots at and above this one have never been used
	struct procops_slot slots[];
};

struct procops_spawn {
	// Strings, each ended by a NUL: path, dir, argc arguments, envc variables.
	char *strings;
	int argc, envc;
	int has_dir;
	char *pid_text; // where the child writes its pid, with room for PROCOPS_PID_SIZE; NULL: nowhere

	int *fds; // fds[i] becomes the child's descriptor i; -1 leaves i closed
	int nfds;

	int session;    // setsid; otherwise setpgid
	int foreground; // make the group the foreground group of the terminal on descriptor 0
	int detached;   // no parent-death signal, and all signals ignored
	int survives;   // no parent-death signal once the program has been executed
	int inherit;    // ignored and blocked signals, and descriptors that are not close-on-exec
	struct procops_slot *slot;

	int has_user;
	uid_t uid;
	gid_t gid;
	gid_t *groups;
	int ngroups;

	int umask; // -1: as it is
	int has_nice, nice;
	uint64_t *cpus; // bits of the processors it may run on; NULL: as it is
	int ncpus;      // words of 64 bits
	int has_cgroup, cgroup; // cgroup.procs of the cgroup to enter, open for writing
	struct procops_limit *limits;
	int nlimits;

	int has_pidfd; // a pidfd is wanted

	// Results.
	pid_t pid;
	int pidfd; // -1: none
	int step, error, detail;
};

// Starts a program; fills in the results. The calling thread becomes the one
// whose end kills the child. step is STEP_NONE on success.
void procops_spawn(struct procops_spawn *request);

// The pid of a child that has ended and waits to be reaped; 0 if there is none,
// -1 if there are no children.
pid_t procops_ended(void);

// Whether a child has been stopped by a signal since this was asked last.
int procops_stopped(pid_t pid);

// Whether this program was started with the signal ignored.
int procops_ignored(int sig);

// Holds the signals back that end programs, in a pipe, until procops_let_go.
int procops_hold(int in, int out);
void procops_let_go(void);

// The next signal that was held back, by this program or the one before it; 0 if there
// is none.
int procops_held(void);

// Makes group the foreground group of the terminal fd; returns an errno.
int procops_foreground(int fd, pid_t group);

// Sends SIGKILL to every process whose environment had PROCOPS_RUN=value, followed by
// the character end, when it was started, except to the caller and the pids in except. Returns how many it
// killed; the first room of them are stored in killed.
int procops_sweep(const char *value, char end, const pid_t *except, int nexcept, pid_t *killed, int room);

// Finds the same processes, all but the caller, and only stores their pids.
int procops_find(const char *value, char end, pid_t *found, int room);

// A file in memory of the given size for the table; -1 and errno on failure.
int procops_table_fd(size_t size);

// Finds the processes that are about to become zombies; it returns how many there are.
int procops_exiting(pid_t *found, int room);

// The number of processes in a group that are not zombies.
int procops_members(pid_t group);

#endif
