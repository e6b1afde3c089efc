package proc

import (
	"context"
	"fmt"
	"syscall"
	"time"
)

// How long and how often leftovers are looked for. Two looks in a row must find
// nothing: a process cannot be seen for a moment while it calls execve.
const (
	leftoverPatience = 10 * time.Second
	leftoverLook     = 2 * time.Millisecond
	cleanLooks       = 2
)

// Sweep kills every process that was started, at whatever remove, by a Host with
// this run token, and waits until they have ended: before anything is started that
// is what is left of a former run. It spares this process and exceptPIDs. It returns the pids that it killed; the error says which
// still run ten seconds later. Without privileges it sees the user's own processes
// only.
func Sweep(token string, exceptPIDs ...int) (killed []int, err error) {
	if err := checkToken(token); err != nil || token == "" {
		return nil, err
	}
	return sweep(token, ':', exceptPIDs)
}

// sweep does it for those whose marker is value, followed by end.
func sweep(value string, end byte, except []int) (killed []int, err error) {
	return untilClean(func() []int { return sweepRound(value, end, except) })
}

// untilClean calls round, which kills processes and returns their pids, until
// there are none.
func untilClean(round func() []int) (killed []int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), leftoverPatience)
	defer cancel()
	seen := make(map[int]bool)
	for clean := 0; clean < cleanLooks; {
		found := round()
		for _, pid := range found {
			if !seen[pid] {
				seen[pid] = true
				killed = append(killed, pid)
			}
		}
		clean++
		if len(found) > 0 {
			clean = 0
		}
		if err := awaitEnds(ctx, found); err != nil {
			return killed, err
		}
		if !pause(ctx) {
			return killed, fmt.Errorf("cannot end the processes that are left: they keep coming")
		}
	}
	awaitExiting(ctx)
	return killed, nil
}

// goodbyePatience is how long the processes may take that are about to end. One of somebody
// else that hangs in the kernel must not keep procops from going on.
const goodbyePatience = time.Second

// awaitExiting waits for all processes that are about to end. One that somebody else has
// killed, such as the guard, first loses its memory and with it the marker by which it
// is known, then its files and locks; so it may be unknown, and still hold them.
func awaitExiting(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, goodbyePatience)
	defer cancel()
	for _, pid := range findExiting() {
		begun, err := readStat(pid)
		for err == nil && !begun.dead() {
			if !pause(ctx) {
				return
			}
			now, gone := readStat(pid)
			if gone != nil || now.dead() || now.start != begun.start {
				break
			}
		}
	}
}

// awaitEnds waits until the killed processes have ended.
func awaitEnds(ctx context.Context, pids []int) error {
	for _, pid := range pids {
		for {
			s, err := readStat(pid)
			if err != nil || s.dead() {
				break
			}
			if !pause(ctx) {
				return fmt.Errorf("cannot end process %d: it still runs after SIGKILL", pid)
			}
		}
	}
	return nil
}

// KillLeftover kills a process that an earlier run has recorded, with its process
// group if it leads one, and waits until they have ended. It reports whether the
// process was still there; another one with the same pid is left alone.
func KillLeftover(ctx context.Context, i Identity) (bool, error) {
	s, ok := i.stat()
	if !ok {
		return false, nil
	}
	target := i.PID
	if s.group == i.PID && s.group != syscall.Getpgrp() {
		target = -i.PID
	}
	if err := syscall.Kill(target, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
		return true, fmt.Errorf("cannot kill process %d of a former run: %w", i.PID, err)
	}
	for i.Alive() || target < 0 && groupMembers(i.PID) > 0 {
		if !pause(ctx) {
			return true, fmt.Errorf("cannot end process %d of a former run: %w", i.PID, context.Cause(ctx))
		}
	}
	return true, nil
}

// pause waits until it is time to look again; false means that ctx has ended.
func pause(ctx context.Context) bool {
	timer := time.NewTimer(leftoverLook)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
