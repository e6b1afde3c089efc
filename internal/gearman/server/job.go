package server

import (
	"bytes"
	"strconv"
	"time"
)

// The priorities, in the order in which they are served.
const (
	high = iota
	normal
	low
	priorities
)

// job is a job that is in memory. The server's lock guards it.
type job struct {
	id         uint64 // its number, which is in its handle
	fn         *function
	prev, next *job // in the list of its queue
	worker     *ability
	clients    *client
	rare       *rare // nil for most
	sameHash   *job  // the next one whose key has the same hash
	// data is the unique key, NUL and the workload, as it comes and goes in packets.
	data     []byte
	state    State
	created  int64 // Unix time in microseconds
	tries    uint16
	keySize  uint8
	priority uint8
	durable  bool // it is in the state store
	wanted   bool // whoever waits for it: it was submitted in the background
}

// rare is what few jobs have.
type rare struct {
	reducer                string
	numerator, denominator uint32
	runAt                  int64         // Unix time in seconds; 0: at once
	until                  int64         // when its worker's time is over, Unix time in microseconds; 0: never
	place                  int           // in the clock; -1: it is not there
	recorded               chan struct{} // closed once it is known whether it could be recorded
}

// client is a foreground client that waits for a job. It is in a list of the job
// and in one of the connection.
type client struct {
	conn       *conn
	job        *job
	next       *client // of the job
	prev, more *client // of the connection
}

// overhead is about what a queued job takes in memory beyond its data.
const overhead = 144

func (j *job) cost() int64 { return int64(len(j.data)) + overhead }

func (j *job) key() []byte { return j.data[:j.keySize] }

func (j *job) workload() []byte { return j.data[int(j.keySize)+1:] }

// extra returns what few jobs have, for a change.
func (j *job) extra() *rare {
	if j.rare == nil {
		j.rare = &rare{place: -1}
	}
	return j.rare
}

// later reports whether the job has to wait for its time. As in gearmand, that is
// a full second.
func (j *job) later(now time.Time) bool { return j.rare != nil && j.rare.runAt > now.Unix() }

// owned reports whether the job runs for the connection.
func (j *job) owned(c *conn) bool { return j.worker != nil && j.worker.conn == c }

// ignored reports whether a worker is not to begin it any more, as `show jobs` has
// it.
func (j *job) ignored() bool { return j.state == StateDropped || j.state == StateUnwanted }

// move changes the state of a job. That a trigger cannot come is a defect, which
// is told, and the job stays as it is.
func (s *Server) move(j *job, t Trigger) {
	next, err := s.machine.Transition(j.state, t)
	if err != nil {
		s.log.Error().Err(err).Uint64("job", j.id).Msg("defect: a job cannot change its state")
		return
	}
	j.state = next
}

// list is a list of jobs, first in, first out.
type list struct {
	head, tail *job
	size       int
}

func (l *list) push(j *job) {
	j.prev, j.next = l.tail, nil
	if l.tail == nil {
		l.head = j
	} else {
		l.tail.next = j
	}
	l.tail = j
	l.size++
}

func (l *list) remove(j *job) {
	if j.prev == nil {
		l.head = j.next
	} else {
		j.prev.next = j.next
	}
	if j.next == nil {
		l.tail = j.prev
	} else {
		j.next.prev = j.prev
	}
	j.prev, j.next = nil, nil
	l.size--
}

// pageSize is how many jobs are found by way of one page.
const pageSize = 256

// page has jobs with consecutive numbers.
type page struct {
	jobs [pageSize]*job
	used int
}

// index finds jobs by number. The numbers are given out in order, so that pages
// are full and most look-ups end at the same one as before.
type index struct {
	pages  map[uint64]*page
	last   *page
	number uint64 // of last
	size   int
}

func (x *index) page(id uint64) *page {
	number := id / pageSize
	if x.last == nil || x.number != number {
		x.last, x.number = x.pages[number], number
	}
	return x.last
}

func (x *index) get(id uint64) *job {
	if p := x.page(id); p != nil {
		return p.jobs[id%pageSize]
	}
	return nil
}

func (x *index) add(j *job) {
	p := x.page(j.id)
	if p == nil {
		p = &page{}
		x.pages[x.number], x.last = p, p
	}
	p.jobs[j.id%pageSize] = j
	p.used++
	x.size++
}

func (x *index) remove(id uint64) {
	p := x.page(id)
	if p == nil || p.jobs[id%pageSize] == nil {
		return
	}
	p.jobs[id%pageSize] = nil
	p.used--
	x.size--
	if p.used == 0 {
		delete(x.pages, x.number)
		x.last = nil
	}
}

// appendHandle appends the handle of a job.
func (s *Server) appendHandle(dst []byte, id uint64) []byte {
	return strconv.AppendUint(append(dst, s.prefix...), id, 10)
}

// parseHandle returns the number in a handle; false if no job can have it.
func (s *Server) parseHandle(handle []byte) (id uint64, ok bool) {
	digits, ok := bytes.CutPrefix(handle, s.prefix)
	if !ok || len(digits) == 0 || len(digits) > 19 || digits[0] == '0' {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		id = 10*id + uint64(c-'0')
	}
	return id, true
}
