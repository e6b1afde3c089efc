package server

import (
	"strconv"
	"time"

	"procops/internal/gearman/wire"
)

// submission is what the type of a packet says about a job.
type submission struct {
	priority   uint8
	background bool
}

// submissionOf returns what a type says; false if it submits nothing.
func submissionOf(t wire.Type) (submission, bool) {
	switch t {
	case wire.SubmitJob, wire.SubmitReduce:
		return submission{normal, false}, true
	case wire.SubmitJobBg, wire.SubmitJobEpoch, wire.SubmitReduceBg:
		return submission{normal, true}, true
	case wire.SubmitJobHigh:
		return submission{high, false}, true
	case wire.SubmitJobHighBg:
		return submission{high, true}, true
	case wire.SubmitJobLow:
		return submission{low, false}, true
	case wire.SubmitJobLowBg:
		return submission{low, true}, true
	default:
		return submission{}, false
	}
}

// maxKey is the longest unique key.
const maxKey = 64

// submit takes a job from a client.
func (c *conn) submit(p *wire.Packet, sub submission) {
	s := c.server
	key, workload := p.Arg(1), p.Raw()
	if len(key) > maxKey {
		c.refuse(codeTooLarge, "Unique value too large")
		return
	}
	if s.stopping {
		c.refuse(codeQueue, "Server is shutting down")
		return
	}
	f := c.functionOf(p.Arg(0))
	if f == nil {
		c.refuse(codeQueue, "There are too many functions")
		return
	}
	j := c.joined(f, key, workload, sub)
	switch {
	case j != nil && sub.background && s.durable && !j.durable:
		// Clients alone have wanted it so far; now it must not be lost.
		c.record(j)
		return
	case j == nil:
		if !c.admissible(f, sub, len(workload)) {
			c.refuse(codeQueue, "Job queue is full")
			return
		}
		j = s.create(f, sub, c.contents(p), len(key), c.now)
		if j == nil {
			c.refuse(codeQueue, "There are no numbers for jobs left")
			return
		}
		readRare(j, p)
		if sub.background && s.durable {
			c.record(j)
			return
		}
		s.start(j, c.now)
	}
	if !sub.background {
		c.wait(j)
	}
	c.created(j.id)
}

// functionOf returns the function of a name.
func (c *conn) functionOf(name []byte) *function {
	if c.lastFn == nil || c.lastFn.name != string(name) || c.lastFn.gone {
		c.lastFn = c.server.function(name)
	}
	return c.lastFn
}

// joined returns the job that a submission joins, nil if it is a new one.
func (c *conn) joined(f *function, key, workload []byte, sub submission) *job {
	s := c.server
	if len(key) == 0 {
		return nil
	}
	var j *job
	for fetched := false; ; {
		j = s.same(f, key, workload)
		switch {
		case j != nil && j.state == StateNew:
			// Whether it exists is not known yet.
			c.awaitRecord(j)
			fetched = false
			continue
		case j == nil && !sub.background && f.shelved > 0 && !fetched:
			c.fetch(f, key, workload)
			fetched = true
			continue
		}
		break
	}
	if j == nil {
		return nil
	}
	f.stats.joined++
	j.wanted = j.wanted || sub.background
	s.move(j, TriggerJoin)
	return j
}

// admissible reports whether there may be one more job. It waits for memory, but
// not on a connection that works as well: its own job may wait for this one.
func (c *conn) admissible(f *function, sub submission, size int) bool {
	s := c.server
	for s.memory+int64(size)+overhead > int64(s.cfg.MaxMemory) && len(c.abilities) == 0 && s.memory > 0 {
		c.settle()
		if s.stopping {
			return false
		}
		s.pause(func() {})
		if s.memory+int64(size)+overhead > int64(s.cfg.MaxMemory) && !s.stopping {
			s.room.Wait()
		}
	}
	limit := f.limits[sub.priority]
	return (limit == 0 || f.total < int(limit)) && (s.cfg.MaxJobs == 0 || s.jobs.size+s.onDisk < s.cfg.MaxJobs)
}

// contents returns the unique key, NUL and the workload, in memory that stays.
func (c *conn) contents(p *wire.Packet) []byte {
	key, workload := p.Arg(1), p.Raw()
	if p.Type.Args() == 3 {
		// They are next to each other in the packet.
		both := c.in.buf[c.in.begin-len(workload)-1-len(key) : c.in.begin : c.in.begin]
		if c.in.own() && len(both) >= blockSize {
			return both
		}
		return append([]byte(nil), both...)
	}
	data := make([]byte, 0, len(key)+1+len(workload))
	return append(append(append(data, key...), 0), workload...)
}

// readRare takes what only some submissions have.
func readRare(j *job, p *wire.Packet) {
	switch p.Type {
	case wire.SubmitJobEpoch:
		at, _ := strconv.ParseInt(string(p.Arg(2)), 10, 64) // what is no time is none
		if at > 0 {
			j.extra().runAt = at
		}
	case wire.SubmitReduce, wire.SubmitReduceBg:
		j.extra().reducer = string(p.Arg(2))
	default:
	}
}

// create makes a job that nobody can see but by its key; nil if there is no number
// for it.
func (s *Server) create(f *function, sub submission, data []byte, keySize int, now time.Time) *job {
	id, ok := s.number()
	if !ok {
		return nil
	}
	j := &job{
		id: id, fn: f, data: data, keySize: uint8(keySize), priority: sub.priority,
		state: StateNew, created: now.UnixMicro(), wanted: sub.background,
	}
	f.total++
	f.stats.submitted++
	s.memory += j.cost()
	s.known(j)
	return j
}

// start lets a new job run, or wait for its time.
func (s *Server) start(j *job, now time.Time) {
	if j.later(now) {
		s.move(j, TriggerSchedule)
		j.fn.later[j.priority]++
		s.clock.add(j)
		return
	}
	s.move(j, TriggerAccept)
	s.enqueue(j)
}

// created tells the client the handle of its job.
func (c *conn) created(id uint64) {
	data := c.begin(wire.JobCreated, len(c.server.prefix)+20)
	at := len(data) - 12
	c.finish(c.server.appendHandle(data, id), at, 0)
}

// wait has the client hear of a job.
func (c *conn) wait(j *job) {
	w := &client{conn: c, job: j, next: j.clients, more: c.waiting}
	j.clients = w
	if c.waiting != nil {
		c.waiting.prev = w
	}
	c.waiting = w
}

// unwait takes a client off the list of its connection.
func (w *client) unwait() {
	if w.prev == nil {
		w.conn.waiting = w.more
	} else {
		w.prev.more = w.more
	}
	if w.more != nil {
		w.more.prev = w.prev
	}
}

// noLonger has a client that leaves hear no more of its job. If it was the last one
// and nobody has submitted the job in the background, the job is dropped.
func (s *Server) noLonger(w *client) {
	w.unwait()
	j := w.job
	for at := &j.clients; *at != nil; at = &(*at).next {
		if *at == w {
			*at = w.next
			break
		}
	}
	if j.clients != nil || j.wanted {
		return
	}
	j.fn.stats.dropped++
	s.abandon(j)
}

// abandon makes a job one that nobody wants.
func (s *Server) abandon(j *job) {
	switch j.state {
	case StateScheduled:
		// It goes when a worker would get it.
		s.clock.remove(j)
		j.fn.later[j.priority]--
		s.drop(j)
		j.fn.queue[j.priority].push(j)
	case StateQueued:
		s.drop(j)
	default:
		s.move(j, TriggerDrop)
	}
}

// tell calls each for all clients of a job.
func (j *job) tell(each func(*conn)) {
	for w := j.clients; w != nil; w = w.next {
		each(w.conn)
	}
}

// dismiss ends the waiting of all clients of a job.
func (j *job) dismiss() {
	for w := j.clients; w != nil; w = w.next {
		w.unwait()
	}
	j.clients = nil
}

// status answers what has become of a job.
func (c *conn) status(handle []byte) {
	s := c.server
	id, ok := s.parseHandle(handle)
	var j *job
	if ok {
		j = s.jobs.get(id)
	}
	known, running, numerator, denominator := digit(j != nil), digit(j != nil && j.worker != nil), []byte("0"), []byte("0")
	if j != nil && j.rare != nil {
		numerator, denominator = decimal(j.rare.numerator), decimal(j.rare.denominator)
	}
	if ok && j == nil && s.onDisk > 0 {
		known = digit(c.shelved(id))
	}
	c.answer(wire.StatusRes, handle, known, running, numerator, denominator)
}

// statusUnique answers what has become of the job with a key, of whatever function.
func (c *conn) statusUnique(key []byte) {
	s := c.server
	var j *job
	for _, f := range s.functions {
		if hash, ok := s.hash(key, nil); ok {
			if j = f.find(hash, key); j != nil {
				break
			}
		}
	}
	known, running, numerator, denominator, clients := digit(j != nil), digit(j != nil && j.worker != nil), []byte("0"), []byte("0"), uint32(0)
	if j != nil {
		j.tell(func(*conn) { clients++ })
		if j.rare != nil {
			numerator, denominator = decimal(j.rare.numerator), decimal(j.rare.denominator)
		}
	} else if s.onDisk > 0 {
		known = digit(c.shelvedKey(key))
	}
	c.answer(wire.StatusResUnique, key, known, running, numerator, denominator, decimal(clients))
}

func digit(on bool) []byte {
	if on {
		return []byte("1")
	}
	return []byte("0")
}

func decimal(n uint32) []byte { return strconv.AppendUint(nil, uint64(n), 10) }
