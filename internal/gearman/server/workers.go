package server

import (
	"math"
	"slices"
	"strconv"
	"time"

	"procops/internal/gearman/wire"
)

// can has a connection do a function. The time limit of a job is 0 if there is none.
func (c *conn) can(name []byte, limit time.Duration) {
	s := c.server
	f := s.function(name)
	if f == nil {
		c.refuse(codeQueue, "There are too many functions")
		return
	}
	if a := c.ability(f); a != nil {
		a.limit = limit
		return
	}
	a := &ability{conn: c, fn: f, limit: limit, place: len(f.workers)}
	f.workers = append(f.workers, a)
	c.abilities = append(c.abilities, a)
	if c.sleeping && !c.woken {
		f.asleep++
		if s.waiting(f) {
			s.wake(f, 0)
		}
	}
}

// ability returns how the connection does a function, nil if it does not.
func (c *conn) ability(f *function) *ability {
	if len(c.abilities) <= len(f.workers) {
		for _, a := range c.abilities {
			if a.fn == f {
				return a
			}
		}
		return nil
	}
	for _, a := range f.workers {
		if a.conn == c {
			return a
		}
	}
	return nil
}

// cannot has a connection no longer do a function. Its jobs of the function go to
// others.
func (s *Server) cannot(a *ability) {
	c, f := a.conn, a.fn
	for i := len(c.held) - 1; a.running > 0 && i >= 0; i-- {
		if j := c.held[i]; j.worker == a {
			s.lose(j)
		}
	}
	if c.sleeping && !c.woken {
		f.asleep--
	}
	last := f.workers[len(f.workers)-1]
	f.workers[a.place], last.place = last, a.place
	f.workers = f.workers[:len(f.workers)-1]
	for i, other := range c.abilities {
		if other == a {
			c.abilities = append(c.abilities[:i], c.abilities[i+1:]...)
			break
		}
	}
	// Whoever was woken for a job may not ask for it any more.
	if f.asleep > 0 && s.waiting(f) {
		s.wake(f, s.cfg.WorkerWakeup)
	}
}

// sleep has a worker wait for NOOP, unless there is work for it.
func (c *conn) sleep() {
	for _, a := range c.abilities {
		if c.server.waiting(a.fn) {
			c.reply(wire.Noop)
			return
		}
	}
	if c.sleeping && !c.woken {
		return
	}
	c.sleeping, c.woken = true, false
	for _, a := range c.abilities {
		a.fn.asleep++
	}
}

// awake has a worker no longer wait for NOOP. Whether it sleeps still it has to say.
func (c *conn) awake() {
	if !c.sleeping || c.woken {
		return
	}
	for _, a := range c.abilities {
		a.fn.asleep--
	}
}

// grab gives a worker a job, if there is one.
func (c *conn) grab(t wire.Type) {
	c.awake()
	c.sleeping, c.woken = false, false
	a, j := c.take()
	switch {
	case j != nil:
		c.give(t, a, j, c.now)
	case c.server.stopping || len(c.abilities) == 0:
		c.reply(wire.NoJob)
	default:
		c.hold(t)
	}
}

// give gives a job, which is in no queue, to a worker that has asked for one.
func (c *conn) give(asked wire.Type, a *ability, j *job, now time.Time) {
	s := c.server
	s.move(j, TriggerGrab)
	j.worker = a
	a.running++
	a.fn.running++
	c.held = append(c.held, j)
	if a.limit > 0 {
		s.clock.remove(j)
		j.extra().until = now.Add(a.limit).UnixMicro()
		s.clock.add(j)
	}
	c.assign(asked, j)
}

// take takes the next job that the worker can do from its queue.
func (c *conn) take() (*ability, *job) {
	s := c.server
	if s.stopping {
		return nil, nil
	}
	for p := range priorities {
		// As in gearmand, the function comes first that was named last.
		for i, a := range slices.Backward(c.abilities) {
			f := a.fn
			if s.head(&f.queue[p]) == nil && f.disk[p].ready > 0 {
				c.unshelve(f, p)
			}
			j := s.head(&f.queue[p])
			if j == nil {
				continue
			}
			f.queue[p].remove(j)
			if s.cfg.RoundRobin {
				copy(c.abilities[1:], c.abilities[:i])
				c.abilities[0] = a
			}
			return a, j
		}
	}
	return nil, nil
}

// assign sends a job to its worker.
func (c *conn) assign(asked wire.Type, j *job) {
	t, rest := wire.JobAssignUniq, j.data
	name := j.fn.name
	reducer := ""
	switch {
	case asked == wire.GrabJob:
		t, rest = wire.JobAssign, j.workload()
	case asked == wire.GrabJobAll && j.rare != nil && j.rare.reducer != "":
		t, rest, reducer = wire.JobAssignAll, j.workload(), j.rare.reducer
	}
	s := c.server
	head := len(s.prefix) + 20 + len(name) + len(reducer) + int(j.keySize) + 4
	large := len(rest) > blockSize/2
	if !large {
		head += len(rest)
	}
	data := c.begin(t, head)
	at := len(data) - 12
	data = append(s.appendHandle(data, j.id), 0)
	data = append(append(data, name...), 0)
	if t == wire.JobAssignAll {
		data = append(append(data, j.key()...), 0)
		data = append(append(data, reducer...), 0)
	}
	if large {
		c.finish(data, at, len(rest))
		c.out.share(rest)
		return
	}
	c.finish(append(data, rest...), at, 0)
}

// lose takes a job from a worker that has left or that has had it for too long. It
// goes to the end of its queue, unless too many have lost it.
func (s *Server) lose(j *job) {
	s.release(j)
	if j.tries < math.MaxUint16 {
		j.tries++
	}
	if j.rare != nil {
		j.rare.numerator, j.rare.denominator = 0, 0
	}
	if j.state == StateUnwanted {
		s.move(j, TriggerLost)
		s.forget(j)
		s.idle.Broadcast()
		return
	}
	if s.cfg.JobRetries > 0 && int(j.tries) >= s.cfg.JobRetries {
		s.giveUp(j)
		return
	}
	j.fn.stats.retried++
	s.move(j, TriggerLost)
	s.enqueue(j)
	if j.durable {
		s.change(change{id: j.id, tries: j.tries})
	}
	s.idle.Broadcast()
}

// giveUp ends a job of which too many workers have died. If it is durable an
// operator can look at it.
func (s *Server) giveUp(j *job) {
	j.tell(func(to *conn) { to.fail(j) })
	j.dismiss()
	j.fn.stats.failed++
	if j.durable {
		j.fn.stats.buried++
		s.change(change{id: j.id, tries: j.tries, bury: true, function: j.fn.name})
	}
	s.move(j, TriggerGiveUp)
	s.forget(j)
	s.idle.Broadcast()
}

// fail tells a client that its job has failed.
func (c *conn) fail(j *job) {
	data := c.begin(wire.WorkFail, len(c.server.prefix)+20)
	at := len(data) - 12
	c.finish(c.server.appendHandle(data, j.id), at, 0)
}

// mine returns the job with a handle if the connection works on it.
func (c *conn) mine(handle []byte) *job {
	id, ok := c.server.parseHandle(handle)
	if !ok {
		return nil
	}
	if j := c.server.jobs.get(id); j != nil && j.owned(c) {
		return j
	}
	return nil
}

// report passes on what a worker says of a job that goes on.
func (c *conn) report(p *wire.Packet) {
	j := c.mine(p.Arg(0))
	if j == nil {
		c.refuse(codeJobNotFound, "Job does not exist on server")
		return
	}
	c.forward(j, p.Type, p)
}

// progress notes how far a job is, and passes it on.
func (c *conn) progress(p *wire.Packet) {
	j := c.mine(p.Arg(0))
	if j == nil {
		c.refuse(codeJobNotFound, "Job given in work result not found")
		return
	}
	rare := j.extra()
	rare.numerator, rare.denominator = atoi(p.Arg(1)), atoi(p.Raw())
	j.tell(func(to *conn) { to.answer(wire.WorkStatus, p.Arg(0), p.Arg(1), p.Raw()) })
}

// end ends a job as its worker says.
func (c *conn) end(p *wire.Packet) {
	handle := p.Raw()
	if p.Type.Args() > 1 {
		handle = p.Arg(0)
	}
	j := c.mine(handle)
	if j == nil {
		text := "Job given in work result not found"
		if p.Type == wire.WorkException {
			text = "An exception was received for a job that does not exist"
		}
		c.refuse(codeJobNotFound, text)
		return
	}
	switch p.Type {
	case wire.WorkFail:
		j.tell(func(to *conn) { to.answer(wire.WorkFail, handle) })
	default:
		c.forward(j, p.Type, p)
	}
	s := c.server
	if p.Type == wire.WorkComplete {
		j.fn.stats.completed++
	} else {
		j.fn.stats.failed++
	}
	j.fn.stats.took.Add(time.Duration(c.now.UnixMicro()-j.created) * time.Microsecond)
	j.dismiss()
	s.move(j, TriggerEnd)
	if j.durable {
		c.ended = append(c.ended, j.id)
	}
	s.forget(j)
	if s.stopping {
		s.idle.Broadcast()
	}
}

// forward passes a packet about a job on to all its clients. Those who have not
// asked for exceptions hear of a failure.
func (c *conn) forward(j *job, t wire.Type, p *wire.Packet) {
	data := p.Raw()
	if len(data) > blockSize/2 && !c.in.own() && j.clients != nil {
		data = append([]byte(nil), data...)
	}
	j.tell(func(to *conn) {
		if t == wire.WorkException && !to.exceptions {
			to.answer(wire.WorkFail, p.Arg(0))
			return
		}
		head := to.begin(t, len(p.Arg(0))+1)
		at := len(head) - 12
		to.finish(append(append(head, p.Arg(0)...), 0), at, len(data))
		to.out.share(data)
	})
}

// atoi reads a number as C's atoi does for a worker's: what follows the digits is
// nothing, and what is too large is as large as possible.
func atoi(text []byte) uint32 {
	end := 0
	for end < len(text) && text[end] >= '0' && text[end] <= '9' {
		end++
	}
	n, err := strconv.ParseUint(string(text[:end]), 10, 32)
	if err != nil && end > 0 {
		return math.MaxUint32
	}
	return uint32(n)
}
