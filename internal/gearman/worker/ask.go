package worker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"procops/internal/fault"
	"procops/internal/gearman/wire"
)

// questions are those for a job that a server has not answered yet. It answers them in
// their order.
type questions struct {
	mu   sync.Mutex
	open []*asker
	none atomic.Bool // the server has said last that it has no job, and has not called since

	waiting atomic.Int32 // 1 while the session waits for a place for a job
}

// errNotAsked says that a server answers what nobody has asked.
var errNotAsked = errors.New("nobody has asked for a job")

// answer hands what the server says to the one who has asked first: a job, or nil.
func (q *questions) answer(j *job) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.open) == 0 {
		return errNotAsked
	}
	first := q.open[0]
	copy(q.open, q.open[1:])
	q.open = q.open[:len(q.open)-1]
	first.answer <- j // there is room: he asks once at a time
	return nil
}

func (q *questions) add(a *asker) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open = append(q.open, a)
}

// asker is one who asks for a job at a time.
type asker struct {
	answer   chan *job
	patience *time.Timer
}

func newAsker() *asker { return &asker{answer: make(chan *job, 1)} }

// ask asks for a job.
func (s *session) ask(a *asker) error {
	grab, err := wire.Append(nil, wire.Request, wire.GrabJobAll)
	if err != nil {
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	s.asleep = false
	s.queue.add(a)
	return s.writeHeld(grab, nil, nil)
}

// sayAndAsk sends the last packet about a job, and with it asks for the next one, if the
// place of the job may be kept: nobody else waits for one, and the server has not been told
// to call first. asked reports whether it did; then await is to follow.
func (s *session) sayAndAsk(a *asker, t wire.Type, data []byte, args ...string) (asked bool, err error) {
	packet, err := wire.AppendHead(nil, wire.Request, t, int64(len(data)), args...)
	if err != nil {
		return false, err
	}
	var grab []byte
	s.writing.Lock()
	defer s.writing.Unlock()
	if !s.asleep && !s.queue.none.Load() && s.w.taking.Err() == nil && s.w.alone(s) {
		if grab, err = wire.Append(nil, wire.Request, wire.GrabJobAll); err != nil {
			return false, err
		}
		s.queue.add(a)
	}
	return grab != nil, s.writeHeld(packet, data, grab)
}

// await waits for the answer to a question; nil: there is no job.
func (s *session) await(a *asker) (*job, error) {
	limit := s.w.cfg.AnswerTimeout.Std()
	if a.patience == nil {
		a.patience = time.NewTimer(limit)
	} else {
		a.patience.Reset(limit)
	}
	defer a.patience.Stop()
	for come := s.come.Load(); ; {
		select {
		case j := <-a.answer:
			if j == nil {
				eventNoJobs.Publish(s.w.deps.Bus, s.w.id, serverData{Worker: s.w.id, Server: string(s.server)})
			}
			return j, nil
		case <-s.lost:
			return nil, s.err
		case <-s.w.running.Done():
			return nil, context.Cause(s.w.running) // who has no time any more does not wait for an answer
		case <-a.patience.C:
			now := s.come.Load()
			if now == come {
				_ = s.conn.Close()
				return nil, fault.New(fault.Unreachable, "%s: no answer within %s", s.server, s.w.cfg.AnswerTimeout)
			}
			come = now // a large job on a slow line is no dead server
			a.patience.Reset(limit)
		}
	}
}

// work does jobs until the connection is lost, which is an error, or the worker takes no
// more. Then it waits for those that have come by this connection.
func (s *session) work() error {
	for me := newAsker(); s.w.taking.Err() == nil; {
		if !s.reserve() {
			break
		}
		j, err := s.next(me)
		if err != nil {
			s.release()
			return err
		}
		if j != nil {
			s.begin(j)
			continue
		}
		s.release()
		if err := s.sleep(); err != nil {
			return err
		}
	}
	if s.isLost() {
		return s.err
	}
	s.jobs.Wait()
	s.settle()
	if s.isLost() {
		return s.err
	}
	return nil
}

// next asks for a job, unless somebody has just been told that there is none.
func (s *session) next(me *asker) (*job, error) {
	if s.queue.none.Load() {
		return nil, nil //nolint:nilnil // there is none, and that is no error
	}
	if err := s.ask(me); err != nil {
		return nil, err
	}
	return s.await(me)
}

// begin does a job in a goroutine of its own, which does those as well that the server has
// next for the place of it, and then gives that back.
func (s *session) begin(j *job) {
	s.jobs.Add(1)
	s.w.jobs.Go(func() {
		defer s.jobs.Done()
		defer s.release()
		for me := newAsker(); j != nil; {
			j = s.w.do(j, s.w.functions[j.function], me)
		}
	})
}

func (s *session) isLost() bool {
	select {
	case <-s.lost:
		return true
	default:
		return false
	}
}

// reserve waits until there may be another job, here and in the worker as a whole; false:
// the connection is lost, or no more is taken.
func (s *session) reserve() bool {
	if s.slots != nil && !s.put(s.slots) {
		return false
	}
	if s.put(s.w.slots) {
		if s.w.taking.Err() == nil {
			return true
		}
		<-s.w.slots
	}
	if s.slots != nil {
		<-s.slots
	}
	return false
}

// put puts one in as soon as there is room.
func (s *session) put(slots chan struct{}) bool {
	select {
	case slots <- struct{}{}:
		return true
	default:
	}
	s.w.waits(s, 1)
	defer s.w.waits(s, -1)
	select {
	case slots <- struct{}{}:
		return true
	case <-s.lost:
		return false
	case <-s.w.taking.Done():
		return false
	}
}

// release gives back what reserve has taken.
func (s *session) release() {
	<-s.w.slots
	if s.slots != nil {
		<-s.slots
	}
}

// waits notes that a session waits for a place, or does so no more.
func (w *Worker) waits(s *session, n int32) {
	s.queue.waiting.Add(n)
	w.waiting.Add(n)
}

// alone reports whether no other session waits for a place.
func (w *Worker) alone(s *session) bool { return w.waiting.Load() <= s.queue.waiting.Load() }

// sleep waits until there may be a job.
func (s *session) sleep() error {
	packet, err := wire.Append(nil, wire.Request, wire.PreSleep)
	if err == nil {
		err = s.writeSleep(packet)
	}
	if err != nil {
		return err
	}
	eventIOWait.Publish(s.w.deps.Bus, s.w.id, serverData{Worker: s.w.id, Server: string(s.server)})
	select {
	case <-s.called:
		return nil
	case <-s.lost:
		return s.err
	case <-s.w.taking.Done():
		return nil
	}
}

func (s *session) writeSleep(packet []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.asleep = true
	return s.writeHeld(packet, nil, nil)
}
