package server

import (
	"time"

	"procops/internal/gearman/wire"
)

// patienceForJob is how long a question for a job may stay open when there is none. With
// clients that submit a job as soon as they have the result of the last one the next job
// mostly comes within that time: then nobody has to say that there is none, to sleep, to be
// woken and to ask again.
const patienceForJob = time.Millisecond

// question is the open question of a worker for a job.
type question struct {
	conn   *conn
	number uint64 // of the question, on its connection
	end    time.Time
}

// hold keeps a question for a job open. Whatever the worker says next answers it.
func (c *conn) hold(t wire.Type) {
	s := c.server
	c.asked = t
	c.questions++
	for _, a := range c.abilities {
		a.fn.asking++
	}
	s.questions = append(s.questions, question{c, c.questions, c.now.Add(s.patience)})
	if len(s.questions) == 1 {
		s.clock.ring()
	}
}

// answered notes that a question is answered, and returns which it was.
func (c *conn) answered() (t wire.Type) {
	t, c.asked = c.asked, 0
	for _, a := range c.abilities {
		a.fn.asking--
	}
	return t
}

// noJob answers an open question, if there is one: there is no job.
func (c *conn) noJob() {
	if c.asked != 0 {
		c.answered()
		c.reply(wire.NoJob)
	}
}

// endQuestions answers the questions whose time is over.
func (s *Server) endQuestions(now time.Time) {
	for len(s.questions) > 0 {
		first := s.questions[0]
		open := first.conn.asked != 0 && first.conn.questions == first.number
		if open && first.end.After(now) && !s.stopping {
			return
		}
		if open {
			first.conn.noJob()
		}
		s.questions[0] = question{}
		s.questions = s.questions[1:]
	}
	s.questions = nil
}

// handOver gives a job that may run to a worker that has an open question, if there is one:
// then there is no other job for it.
func (s *Server) handOver(j *job) bool {
	f := j.fn
	if f.asking == 0 || s.stopping {
		return false
	}
	for p := range priorities {
		if f.disk[p].ready > 0 || s.head(&f.queue[p]) != nil {
			return false // they come first
		}
	}
	for _, q := range s.questions {
		if q.conn.asked == 0 || q.conn.questions != q.number {
			continue // it is answered
		}
		if a := q.conn.ability(f); a != nil {
			q.conn.give(q.conn.answered(), a, j, time.Now())
			return true
		}
	}
	return false
}
