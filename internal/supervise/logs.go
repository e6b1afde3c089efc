package supervise

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"procops/internal/proc"
)

// followerQueue is how many lines may wait for one who follows logs; a follower
// that is slower misses lines and is told how many.
const followerQueue = 4096

// Logs calls emit with the last lines of the named processes (none: all), in
// order of time, and then, with Follow, with every further line until ctx ends
// or emit returns an error. A log that cannot be read does not keep back what
// others hold: it is the error at the end or, with Follow, a line before what
// follows.
func (s *Supervisor) Logs(ctx context.Context, r LogRequest, emit func(LogLine) error) error {
	targets, err := s.outputs(ctx, r.Names)
	if err != nil {
		return err
	}
	live := &live{queue: make(chan LogLine, followerQueue)}
	if r.Follow {
		defer follow(targets, live.hear)()
	}
	past, unread := past(ctx, targets, r.Lines)
	heard := live.heard()
	past = withoutOverlap(past, heard)
	if !r.Follow {
		return errors.Join(emitAll(emit, past, heard), unread.asError())
	}
	if err := emitAll(emit, past, unread.asLines(), heard); err != nil {
		return err
	}
	return s.follow(ctx, live, emit)
}

// unread says which logs could not be read, by process.
type unread map[string]error

func (u unread) asError() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(u)) {
		errs = append(errs, u[name])
	}
	return errors.Join(errs...)
}

func (u unread) asLines() (lines []LogLine) {
	for _, name := range slices.Sorted(maps.Keys(u)) {
		lines = append(lines, LogLine{Time: time.Now(), Name: name, Stream: proc.Stderr.String(), Text: "procops: " + u[name].Error()})
	}
	return lines
}

// follow calls hear with every further line of the processes, until the
// returned function is called.
func follow(targets []*output, hear func(LogLine)) (cancel func()) {
	var cancels []func()
	for _, o := range targets {
		cancels = append(cancels, o.follow(hear))
	}
	return func() {
		for _, c := range cancels {
			c()
		}
	}
}

// live is what a follower has heard and not yet passed on.
type live struct {
	queue  chan LogLine
	mu     sync.Mutex
	missed uint64  // lines after those in the queue
	newest LogLine // of the missed
}

// hear queues a line, behind word of those that were missed before it.
func (l *live) hear(line LogLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.missed > 0 && l.offer(l.gap()) {
		l.missed = 0
	}
	if l.missed > 0 || !l.offer(line) {
		l.missed, l.newest = l.missed+1, line
	}
}

func (l *live) offer(line LogLine) bool {
	select {
	case l.queue <- line:
		return true
	default:
		return false
	}
}

// gap tells a follower that lines are missing.
func (l *live) gap() LogLine {
	return LogLine{
		Time: l.newest.Time, Name: l.newest.Name, Stream: proc.Stderr.String(),
		Text: fmt.Sprintf("procops dropped %d lines here: they were not read as fast", l.missed),
	}
}

// heard takes what was heard so far.
func (l *live) heard() (lines []LogLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		select {
		case line := <-l.queue:
			lines = append(lines, line)
		default:
			if l.missed > 0 {
				lines = append(lines, l.gap())
				l.missed = 0
			}
			return lines
		}
	}
}

// past returns the last n lines of each process, merged by time.
func past(ctx context.Context, targets []*output, n int) (lines []LogLine, failed unread) {
	failed = unread{}
	for _, o := range targets {
		flushed := o.flush(ctx)
		own, err := lastLines(o.name, o.path, n)
		if err := errors.Join(flushed, err); err != nil {
			failed[o.name] = err
		}
		lines = append(lines, own...)
	}
	slices.SortStableFunc(lines, func(a, b LogLine) int { return a.Time.Compare(b.Time) })
	return lines, failed
}

// withoutOverlap drops from the end of past what a follower has heard as well:
// of each process, the longest run of last lines that heard begins with.
func withoutOverlap(past, heard []LogLine) []LogLine {
	drop := map[string]int{}
	for _, name := range namesOf(heard) {
		drop[name] = overlap(linesOf(past, name), linesOf(heard, name))
	}
	kept := make([]LogLine, 0, len(past))
	for _, l := range slices.Backward(past) {
		if drop[l.Name] > 0 {
			drop[l.Name]--
			continue
		}
		kept = append(kept, l)
	}
	slices.Reverse(kept)
	return kept
}

// overlap returns how many of the last lines of a are the first of b.
func overlap(a, b []LogLine) int {
	for n := min(len(a), len(b)); n > 0; n-- {
		if slices.EqualFunc(a[len(a)-n:], b[:n], sameLine) {
			return n
		}
	}
	return 0
}

// sameLine compares with the precision of the log file.
func sameLine(a, b LogLine) bool {
	return a.Stream == b.Stream && a.Text == b.Text && a.Time.UnixMicro() == b.Time.UnixMicro()
}

func linesOf(lines []LogLine, name string) []LogLine {
	return slices.DeleteFunc(slices.Clone(lines), func(l LogLine) bool { return l.Name != name })
}

func namesOf(lines []LogLine) (names []string) {
	for _, l := range lines {
		if !slices.Contains(names, l.Name) {
			names = append(names, l.Name)
		}
	}
	return names
}

func emitAll(emit func(LogLine) error, parts ...[]LogLine) error {
	for _, l := range slices.Concat(parts...) {
		if err := emit(l); err != nil {
			return err
		}
	}
	return nil
}

func (s *Supervisor) follow(ctx context.Context, live *live, emit func(LogLine) error) error {
	for {
		select {
		case <-ctx.Done():
			return s.lastWords(live, emit)
		case <-s.done:
			return s.lastWords(live, emit)
		case l := <-live.queue:
			if err := emit(l); err != nil {
				return err
			}
		}
	}
}

// lastWords passes on what a follower has not got of a supervisor that has ended.
func (s *Supervisor) lastWords(live *live, emit func(LogLine) error) error {
	select {
	case <-s.done:
		return emitAll(emit, live.heard())
	default:
		return nil // it is the follower who has gone
	}
}

// outputs returns the outputs of the named processes (none: of all).
func (s *Supervisor) outputs(ctx context.Context, names []string) ([]*output, error) {
	return learn(ctx, s, func() (list []*output, err error) {
		found, err := s.lookUp(names, len(names) == 0)
		for _, p := range found {
			list = append(list, p.output)
		}
		return list, err
	})
}

// ReopenLogs closes all log files and opens them again, after something else
// has renamed them.
func (s *Supervisor) ReopenLogs(ctx context.Context) error {
	list, err := s.outputs(ctx, nil)
	errs := []error{err}
	for _, o := range list {
		errs = append(errs, o.reopen())
	}
	return errors.Join(errs...)
}
