package supervise

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"procops/internal/proc"
)

// followerQueue is how many lines may wait for one who follows logs; a follower
// that is slower misses lines and is told how many.
const followerQueue = 4096

// Logs calls emit with the last lines of the named processes (none: all), in
// order of time, and then, with Follow, with every further line until ctx ends
// or emit returns an error.
func (s *Supervisor) Logs(ctx context.Context, r LogRequest, emit func(LogLine) error) error {
	targets, err := s.find(r.Names, len(r.Names) == 0)
	if err != nil {
		return err
	}
	queue := make(chan LogLine, followerQueue)
	var missed atomic.Uint64
	if r.Follow {
		for _, p := range targets {
			cancel := p.output.follow(func(l LogLine) {
				select {
				case queue <- l:
				default:
					missed.Add(1)
				}
			})
			defer cancel()
		}
	}
	if err := s.past(targets, r.Lines, emit); err != nil || !r.Follow {
		return err
	}
	return s.follow(ctx, queue, &missed, emit)
}

// past emits the last lines of each process, merged by time.
func (s *Supervisor) past(targets []*process, n int, emit func(LogLine) error) error {
	var lines []LogLine
	var errs []error
	for _, p := range targets {
		own, err := LastLines(p.name, p.cfg.Output, s.deps.LogDir, n)
		errs = append(errs, err)
		lines = append(lines, own...)
	}
	slices.SortStableFunc(lines, func(a, b LogLine) int { return a.Time.Compare(b.Time) })
	for _, l := range lines {
		if err := emit(l); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}

func (s *Supervisor) follow(ctx context.Context, queue <-chan LogLine, missed *atomic.Uint64, emit func(LogLine) error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.done:
			return nil
		case l := <-queue:
			if n := missed.Swap(0); n > 0 {
				if err := emit(missedLine(l, n)); err != nil {
					return err
				}
			}
			if err := emit(l); err != nil {
				return err
			}
		}
	}
}

// ReopenLogs closes all log files and opens them again, after something else
// has renamed them.
func (s *Supervisor) ReopenLogs() error {
	var errs []error
	for _, p := range s.tree.processes {
		errs = append(errs, p.output.reopen())
	}
	return errors.Join(errs...)
}

// missedLine tells a follower that lines are missing before l.
func missedLine(l LogLine, n uint64) LogLine {
	return LogLine{Time: l.Time, Name: l.Name, Stream: proc.Stderr.String(), Text: fmt.Sprintf("procops dropped %d lines here: they were not read as fast", n)}
}
