package server

import (
	"bytes"
	"hash/maphash"
	"time"

	"procops/internal/gearman/wire"
)

// maxFunctions is how many functions there may be: a function that was named once
// stays, as in gearmand.
const maxFunctions = 200_000

// function is what jobs are for and workers can do. The server's lock guards it.
type function struct {
	name   string
	serial int // functions that came before it
	queue  [priorities]list
	disk   [priorities]shelf
	later  [priorities]int // scheduled jobs, those on disk included
	// limits are those of maxqueue; 0: none.
	limits  [priorities]uint32
	running int
	total   int // jobs in memory and on disk, running or not
	workers []*ability
	cursor  int // where the next wake-up begins
	asking  int // workers that have an open question for a job
	asleep  int // workers that sleep and were not woken yet
	byKey   map[uint64]*job
	shelved int // jobs that are on disk only
	stats   counters
	gone    bool // an operator has dropped it
}

// shelf counts the jobs of a queue that wait on disk only.
type shelf struct {
	ready  int // they can be loaded
	coming int // they are being recorded
}

// ability is a function that a connection can do.
type ability struct {
	conn    *conn
	fn      *function
	limit   time.Duration // of a job; 0: none
	place   int           // in fn.workers
	running int           // jobs it has
}

// function returns the function of a name, which it makes if there is none; nil if
// there are too many.
func (s *Server) function(name []byte) *function {
	if f := s.functions[string(name)]; f != nil {
		return f
	}
	if len(s.functions) >= maxFunctions {
		return nil
	}
	f := &function{name: string(name), serial: s.serials, byKey: map[uint64]*job{}}
	s.serials++
	s.functions[f.name] = f
	return f
}

// waiting reports whether a worker that asks for a job of the function would get
// one. What it says and what take gives must agree, or workers spin.
func (s *Server) waiting(f *function) bool {
	if s.stopping {
		return false
	}
	for p := range priorities {
		if f.disk[p].ready > 0 || s.head(&f.queue[p]) != nil {
			return true
		}
	}
	return false
}

// head returns the first job of a queue that is wanted, and throws away those
// before it that are not.
func (s *Server) head(l *list) *job {
	for l.head != nil && l.head.state == StateDropped {
		j := l.head
		l.remove(j)
		s.move(j, TriggerGrab)
		s.forget(j)
	}
	return l.head
}

// find returns the job with a key, nil if there is none.
func (f *function) find(hash uint64, key []byte) *job {
	for j := f.byKey[hash]; j != nil; j = j.sameHash {
		if bytes.Equal(j.key(), key) {
			return j
		}
	}
	return nil
}

// findWorkload returns the job that was submitted with "-" for its key and has this
// workload.
func (f *function) findWorkload(hash uint64, workload []byte) *job {
	for j := f.byKey[hash]; j != nil; j = j.sameHash {
		if bytes.Equal(j.workload(), workload) {
			return j
		}
	}
	return nil
}

// keyIsWorkload is the unique key that stands for the workload.
const keyIsWorkload = "-"

// hash returns where a job is found by its key; false if it has none.
func (s *Server) hash(key, workload []byte) (uint64, bool) {
	if len(key) == 1 && key[0] == keyIsWorkload[0] {
		return maphash.Bytes(s.seed, workload) ^ 1, len(workload) > 0
	}
	return maphash.Bytes(s.seed, key), len(key) > 0
}

// known puts a job where it is found by its key and its handle.
func (s *Server) known(j *job) {
	s.jobs.add(j)
	if hash, ok := s.hash(j.key(), j.workload()); ok {
		j.sameHash = j.fn.byKey[hash]
		j.fn.byKey[hash] = j
	}
}

// forgetKey makes a job one that nobody can join.
func (s *Server) forgetKey(j *job) {
	hash, ok := s.hash(j.key(), j.workload())
	if !ok {
		return
	}
	first := j.fn.byKey[hash]
	if first == j {
		if j.sameHash == nil {
			delete(j.fn.byKey, hash)
		} else {
			j.fn.byKey[hash] = j.sameHash
		}
		j.sameHash = nil
		return
	}
	for before := first; before != nil; before = before.sameHash {
		if before.sameHash == j {
			before.sameHash, j.sameHash = j.sameHash, nil
			return
		}
	}
}

// same returns the job that a submission joins, nil if it is a new one.
func (s *Server) same(f *function, key, workload []byte) *job {
	hash, ok := s.hash(key, workload)
	if !ok {
		return nil
	}
	if string(key) == keyIsWorkload {
		return f.findWorkload(hash, workload)
	}
	return f.find(hash, key)
}

// enqueue gives a job to a worker that has just asked for one, or puts it behind the others
// of its queue and wakes workers.
func (s *Server) enqueue(j *job) {
	if s.handOver(j) {
		return
	}
	j.fn.queue[j.priority].push(j)
	s.wake(j.fn, s.cfg.WorkerWakeup)
}

// wake wakes workers of a function that sleep, most at the most; all if that is 0.
func (s *Server) wake(f *function, most int) {
	for n := 0; f.asleep > 0 && (most == 0 || n < most); {
		if f.cursor >= len(f.workers) {
			f.cursor = 0
		}
		c := f.workers[f.cursor].conn
		f.cursor++
		if c.sleeping && !c.woken {
			c.awake()
			c.woken = true
			c.reply(wire.Noop)
			n++
		}
	}
	if f.asleep > 0 && s.watch.IsZero() {
		s.watch = time.Now().Add(lookAgain)
		s.clock.ring()
	}
}

// drop frees what nobody wants any more of a job that waits: it keeps its place in
// the queue without its data, as in gearmand.
func (s *Server) drop(j *job) {
	s.move(j, TriggerDrop)
	s.forgetKey(j)
	s.memory -= int64(len(j.data))
	j.data = append([]byte(nil), j.data[:int(j.keySize)+1]...)
	s.memory += int64(len(j.data))
	s.makeRoom()
}

// forget removes a job that has ended, wherever it is but in a queue.
func (s *Server) forget(j *job) {
	s.release(j)
	s.clock.remove(j)
	s.forgetKey(j)
	s.jobs.remove(j.id)
	s.memory -= j.cost()
	j.fn.total--
	s.makeRoom()
}

// release takes a job from its worker.
func (s *Server) release(j *job) {
	if j.worker == nil {
		return
	}
	c := j.worker.conn
	for i, held := range c.held {
		if held == j {
			c.held[i] = c.held[len(c.held)-1]
			c.held[len(c.held)-1] = nil
			c.held = c.held[:len(c.held)-1]
			break
		}
	}
	j.worker.running--
	j.fn.running--
	j.worker = nil
	if j.rare != nil && j.rare.until != 0 {
		j.rare.until = 0
		s.clock.remove(j)
	}
}
