package worker

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"procops/internal/fault"
	"procops/internal/gearman"
	"procops/internal/gearman/wire"
)

// session is one connection of the worker with a server. One goroutine decides what is
// asked for, another one reads, and those of the jobs write as well.
type session struct {
	w       *Worker
	server  gearman.Address
	conn    net.Conn
	reader  *wire.Reader
	come    atomic.Int64 // bytes that have come
	answers chan *job    // what a grab has brought; nil: there is no job
	called  chan struct{}
	lost    chan struct{} // closed when nothing more is read
	err     error         // why; valid after lost
	detach  func()
	jobs    sync.WaitGroup  // that came by this connection
	can     map[string]bool // functions that the server believes to be there

	writing sync.Mutex
}

func newSession(w *Worker, server gearman.Address, conn net.Conn) *session {
	s := &session{
		w: w, server: server, conn: conn, answers: make(chan *job, 1), called: make(chan struct{}, 1),
		lost: make(chan struct{}), can: make(map[string]bool, len(w.functions)),
	}
	s.reader = wire.NewReader(counter{s}, wire.Response, 0)
	s.detach = w.attach(s)
	go s.read()
	return s
}

// counter counts what comes.
type counter struct{ s *session }

// Read reads from the connection.
func (c counter) Read(p []byte) (int, error) {
	n, err := c.s.conn.Read(p)
	c.s.come.Add(int64(n))
	return n, err
}

// close closes the connection. Jobs that are under way go on; nobody will be told.
func (s *session) close() {
	s.detach()
	_ = s.conn.Close()
	<-s.lost
}

// wake lets one that sleeps ask again.
func (s *session) wake() {
	select {
	case s.called <- struct{}{}:
	default:
	}
}

// read reads until the connection is lost.
func (s *session) read() {
	defer close(s.lost)
	for {
		p, err := s.reader.Next()
		if err == nil {
			err = s.take(p)
		}
		if err != nil {
			s.err = s.failed(err)
			return
		}
	}
}

// take takes a packet.
func (s *session) take(p *wire.Packet) error {
	switch p.Type {
	case wire.Noop:
		s.wake()
		return nil
	case wire.NoJob:
		return s.answer(nil)
	case wire.JobAssign, wire.JobAssignUniq, wire.JobAssignAll:
		j, err := newJob(s, p)
		if err != nil {
			return err
		}
		return s.answer(j)
	case wire.Error:
		text, err := p.Data()
		s.w.deps.Log.Warn().Str("server", string(s.server)).Str("code", string(p.Arg(0))).Msgf("the server refuses something: %.200q", text)
		return err
	case wire.EchoRes, wire.OptionRes:
		return nil
	default:
		return fmt.Errorf("an answer that procops does not understand: %s to a worker", p.Type)
	}
}

// answer hands over what a grab has brought.
func (s *session) answer(j *job) error {
	select {
	case s.answers <- j:
		return nil
	default:
		return errors.New("an answer that procops does not understand: nobody has asked for a job")
	}
}

// failed says what an error of the connection means.
func (s *session) failed(err error) error {
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE):
		err = errors.New("it has closed the connection")
	default:
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			err = fmt.Errorf("no answer within %s", s.w.cfg.AnswerTimeout)
		} else if op, ok := errors.AsType[*net.OpError](err); ok {
			err = op.Err
		}
	}
	return fault.Wrap(fault.Unreachable, err, "%s", s.server)
}

// register tells the server who is there and what it can do.
func (s *session) register() error {
	names := s.w.cfg.FunctionNames()
	about := registerData{Worker: s.w.id, Server: string(s.server), Functions: names}
	eventBeforeRegister.Publish(s.w.deps.Bus, s.w.id, about)
	packets, err := wire.Append(nil, wire.Request, wire.SetClientID, s.w.id)
	if err != nil {
		return err
	}
	if packets, err = s.appendAbilities(packets); err != nil {
		return err
	}
	if err := s.write(packets, nil); err != nil {
		return err
	}
	eventAfterRegister.Publish(s.w.deps.Bus, s.w.id, about)
	return nil
}

// timeLimitMargin is how much later than the worker a server takes a job for lost that
// takes too long: first it is up to the worker to stop it.
const timeLimitMargin = 10 * time.Second

// appendAbilities appends what makes the server believe what is so: a function with all
// the jobs that it may have is not there for a while.
func (s *session) appendAbilities(packets []byte) (_ []byte, err error) {
	for name, f := range s.w.functions {
		free := !f.scarce || f.free()
		if free == s.can[name] {
			continue
		}
		switch {
		case !free:
			packets, err = wire.Append(packets, wire.Request, wire.CantDo, name)
		case f.cfg.Timeout > 0:
			// The server starts its clock when it hands the job out, and counts in milliseconds.
			limit := f.cfg.Timeout.Std()*time.Duration(f.cfg.Retries+1) + f.cfg.RetryDelay.Std()*time.Duration(f.cfg.Retries) + f.cfg.Stop.Grace.Std() + timeLimitMargin
			packets, err = wire.Append(packets, wire.Request, wire.CanDoTimeout, name, strconv.FormatInt(limit.Milliseconds(), 10))
		default:
			packets, err = wire.Append(packets, wire.Request, wire.CanDo, name)
		}
		if err != nil {
			return packets, err
		}
		s.can[name] = free
	}
	return packets, nil
}

// work does jobs until the connection is lost, which is an error, or the worker takes no
// more. Then it waits for those that have come by this connection.
func (s *session) work() error {
	for s.w.taking.Err() == nil {
		if !s.reserve() {
			break
		}
		j, err := s.grab()
		if err != nil {
			s.w.release()
			return err
		}
		if j == nil {
			s.w.release()
			if err := s.sleep(); err != nil {
				return err
			}
			continue
		}
		s.w.begin(j)
	}
	if s.isLost() {
		return s.err
	}
	s.jobs.Wait()
	return nil
}

func (s *session) isLost() bool {
	select {
	case <-s.lost:
		return true
	default:
		return false
	}
}

// reserve waits for a free slot; false: the connection is lost, or no more is taken.
func (s *session) reserve() bool {
	select {
	case s.w.slots <- struct{}{}:
	case <-s.lost:
		return false
	case <-s.w.taking.Done():
		return false
	}
	if s.w.taking.Err() != nil {
		s.w.release()
		return false
	}
	return true
}

// release gives back what reserve has taken.
func (w *Worker) release() { <-w.slots }

// grab asks for a job; nil: there is none.
func (s *session) grab() (*job, error) {
	packets, err := s.appendAbilities(nil)
	if err == nil {
		packets, err = wire.Append(packets, wire.Request, wire.GrabJobAll)
	}
	if err == nil {
		err = s.write(packets, nil)
	}
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(s.w.cfg.AnswerTimeout.Std())
	defer timer.Stop()
	for come := s.come.Load(); ; {
		select {
		case j := <-s.answers:
			if j == nil {
				eventNoJobs.Publish(s.w.deps.Bus, s.w.id, serverData{Worker: s.w.id, Server: string(s.server)})
			}
			return j, nil
		case <-s.lost:
			return nil, s.err
		case <-timer.C:
			now := s.come.Load()
			if now == come {
				return nil, fault.New(fault.Unreachable, "%s: no answer within %s", s.server, s.w.cfg.AnswerTimeout)
			}
			come = now // a large job on a slow line is no dead server
			timer.Reset(s.w.cfg.AnswerTimeout.Std())
		}
	}
}

// sleep waits until there may be a job.
func (s *session) sleep() error {
	packet, err := wire.Append(nil, wire.Request, wire.PreSleep)
	if err == nil {
		err = s.write(packet, nil)
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

const (
	// chunk is how much of a result is written within the time for an answer: a slow line
	// is no dead server.
	chunk = 1 << 20
	// together is the largest result that is copied behind its head, so that both leave in
	// one piece.
	together = 16 << 10
)

// write writes a packet in two parts, of which the second may be large.
func (s *session) write(head, data []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if len(data) <= together {
		head, data = append(head, data...), nil
	}
	err := s.writeSome(head)
	for err == nil && len(data) > 0 {
		n := min(len(data), chunk)
		err = s.writeSome(data[:n])
		data = data[n:]
	}
	if err != nil {
		_ = s.conn.Close() // half a packet is the end of the connection
		return s.failed(err)
	}
	return nil
}

func (s *session) writeSome(data []byte) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.w.cfg.AnswerTimeout.Std())); err != nil {
		return err
	}
	_, err := s.conn.Write(data)
	return err
}

// say sends a packet about a job whose last argument is data.
func (s *session) say(t wire.Type, data []byte, args ...string) error {
	head, err := wire.AppendHead(nil, wire.Request, t, int64(len(data)), args...)
	if err != nil {
		return err
	}
	return s.write(head, data)
}
