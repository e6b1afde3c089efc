package server

import (
	"container/heap"
	"context"
	"time"
)

// lookAgain is how long a job may wait beside workers that sleep, because one was
// woken that does not ask, before all are woken.
const lookAgain = 500 * time.Millisecond

// longest is how long the clock waits when nothing is to come: the wall clock may
// be set meanwhile.
const longest = time.Minute

// clock has the jobs that something happens to at a time: those that wait for it,
// and those whose worker has no more than that. The server's lock guards it.
type clock struct {
	jobs  dueJobs
	shelf int64         // when the first of those that wait on disk comes due, Unix time in seconds; 0: never
	alarm chan struct{} // has a value once the first time has changed
}

// dueJobs is a heap by due.
type dueJobs []*job

// due returns when something happens to a job, Unix time in microseconds.
func (j *job) due() int64 {
	if j.rare.until != 0 {
		return j.rare.until
	}
	return j.rare.runAt * int64(time.Second/time.Microsecond)
}

func (d dueJobs) Len() int           { return len(d) }
func (d dueJobs) Less(i, k int) bool { return d[i].due() < d[k].due() }
func (d dueJobs) Swap(i, k int) {
	d[i], d[k] = d[k], d[i]
	d[i].rare.place, d[k].rare.place = i, k
}

// Push appends a job; package heap calls it.
func (d *dueJobs) Push(x any) {
	j, ok := x.(*job)
	if !ok {
		return
	}
	j.rare.place = len(*d)
	*d = append(*d, j)
}

// Pop removes the last job; package heap calls it.
func (d *dueJobs) Pop() any {
	last := len(*d) - 1
	j := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	j.rare.place = -1
	return j
}

func (c *clock) add(j *job) {
	heap.Push(&c.jobs, j)
	if j.rare.place == 0 {
		c.ring()
	}
}

func (c *clock) remove(j *job) {
	if j.rare != nil && j.rare.place >= 0 {
		heap.Remove(&c.jobs, j.rare.place)
	}
}

// ring has the clock look again.
func (c *clock) ring() {
	select {
	case c.alarm <- struct{}{}:
	default:
	}
}

// next returns how long nothing happens.
func (c *clock) next(now, watch time.Time) time.Duration {
	wait := longest
	if !watch.IsZero() {
		wait = watch.Sub(now)
	}
	if len(c.jobs) > 0 {
		wait = min(wait, time.UnixMicro(c.jobs[0].due()).Sub(now))
	}
	if c.shelf != 0 {
		wait = min(wait, time.Unix(c.shelf, 0).Sub(now))
	}
	return max(wait, time.Millisecond)
}

// tick does what is due until ctx ends.
func (s *Server) tick(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.clock.alarm:
		case <-timer.C:
		}
		s.mu.Lock()
		if !s.watch.IsZero() && !time.Now().Before(s.watch) {
			s.look()
		}
		shelf := s.strike(time.Now())
		s.endQuestions(time.Now())
		wait := s.clock.next(time.Now(), s.watch)
		if len(s.questions) > 0 {
			wait = min(wait, s.patience)
		}
		dirty := s.takeDirty()
		s.mu.Unlock()
		flush(dirty)
		if shelf {
			s.loadScheduled(ctx)
		}
		s.saveChanges()
		timer.Reset(wait)
	}
}

// strike does what is due. It returns true if jobs come due that are on disk.
func (s *Server) strike(now time.Time) (shelf bool) {
	for len(s.clock.jobs) > 0 && s.clock.jobs[0].due() <= now.UnixMicro() {
		j := s.clock.jobs[0]
		s.clock.remove(j)
		if j.state == StateScheduled {
			j.fn.later[j.priority]--
			s.move(j, TriggerDue)
			s.enqueue(j)
			continue
		}
		s.stats.timeouts++
		s.lose(j)
	}
	return s.clock.shelf != 0 && s.clock.shelf <= now.Unix()
}

// look wakes all who sleep beside work that waits.
func (s *Server) look() {
	s.watch = time.Time{}
	for _, f := range s.functions {
		if f.asleep > 0 && s.waiting(f) {
			s.wake(f, 0)
		}
	}
}
