package web

import (
	"maps"
	"sync"
	"time"

	"procops/internal/heartbeat"
)

// stats count what the server has done.
type stats struct {
	began    time.Time
	mu       sync.Mutex
	pings    map[pingCount]uint64
	requests map[requestCount]uint64
}

type pingCount struct {
	kind   heartbeat.PingKind
	result string
}

type requestCount struct {
	route string
	code  int
}

func (s *stats) ping(kind heartbeat.PingKind, result string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pings == nil {
		s.pings = map[pingCount]uint64{}
	}
	s.pings[pingCount{kind, result}]++
}

func (s *stats) request(route string, code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.requests == nil {
		s.requests = map[requestCount]uint64{}
	}
	s.requests[requestCount{route, code}]++
}

// copies returns the counts of this moment.
func (s *stats) copies() (map[pingCount]uint64, map[requestCount]uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.pings), maps.Clone(s.requests)
}
