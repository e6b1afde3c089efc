package worker

import (
	"fmt"
	"sync"

	"procops/internal/gearman"
)

// Status is what a worker does at one moment.
type Status struct {
	Ready   bool   // all functions have been announced to some server
	Trouble string // why it has no connection at all; empty: it has one
	Running int    // jobs
	Done    uint64 // jobs, those that have failed included
	Failed  uint64
}

// Status returns what the worker does.
func (w *Worker) Status() Status {
	s := Status{Running: int(w.active.Load()), Done: w.done.Load(), Failed: w.failed.Load()}
	s.Ready, s.Trouble = w.standing.look()
	return s
}

// Text says it in a line for people.
func (s Status) Text() string {
	text := fmt.Sprintf("jobs: %d running, %d done, %d failed", s.Running, s.Done, s.Failed)
	if s.Trouble != "" {
		return "waits for a job server: " + s.Trouble + "; " + text
	}
	return text
}

// standing knows how the worker stands with its servers.
type standing struct {
	mu      sync.Mutex
	links   int                     // to each server
	up      map[gearman.Address]int // links that are announced
	ready   bool
	trouble string // the newest
}

func newStanding(links int) *standing {
	return &standing{links: links, up: map[gearman.Address]int{}, trouble: "no connection yet"}
}

// rise notes that a link is announced.
func (s *standing) rise(server gearman.Address) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up[server]++
	s.ready = s.ready || s.up[server] == s.links
}

// fall notes that an announced link is lost.
func (s *standing) fall(server gearman.Address) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up[server]--
}

// fail notes why a link did not last.
func (s *standing) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = err.Error()
}

func (s *standing) look() (ready bool, trouble string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.up {
		if n > 0 {
			return s.ready, ""
		}
	}
	return s.ready, s.trouble
}
