package worker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
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
	offers  []*function
	slots   chan struct{} // of the only function, if it has a limit of its own; else nil
	conn    net.Conn
	reader  *wire.Reader
	come    atomic.Int64 // bytes that have come
	answers chan *job    // what a grab has brought; nil: there is no job
	called  chan struct{}
	lost    chan struct{}  // closed when nothing more is read
	err     error          // why; valid after lost
	jobs    sync.WaitGroup // that came by this connection

	writing sync.Mutex
}

func newSession(l *link, conn net.Conn) *session {
	s := &session{
		w: l.w, server: l.server, offers: l.functions, slots: l.functions[0].slots, conn: conn,
		answers: make(chan *job, 1), called: make(chan struct{}, 1), lost: make(chan struct{}),
	}
	s.reader = wire.NewReader(counter{s}, wire.Response, 0)
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
	_ = s.conn.Close()
	<-s.lost
}

// wake lets it ask again if it sleeps.
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
		return fmt.Errorf("%s to a worker", p.Type)
	}
}

// answer hands over what a grab has brought.
func (s *session) answer(j *job) error {
	select {
	case s.answers <- j:
		return nil
	default:
		return errors.New("nobody has asked for a job")
	}
}

// failed says what an error of the connection means.
func (s *session) failed(err error) error { return s.w.cfg.Broken(s.server, err) }

// register tells the server who is there and what it can do.
func (s *session) register() error {
	names := make([]string, len(s.offers))
	for i, f := range s.offers {
		names[i] = f.name
	}
	about := registerData{Worker: s.w.id, Server: string(s.server), Functions: names}
	eventBeforeRegister.Publish(s.w.deps.Bus, s.w.id, about)
	packets, err := wire.Append(nil, wire.Request, wire.SetClientID, s.w.id)
	if err != nil {
		return err
	}
	for _, f := range s.offers {
		if packets, err = appendAbility(packets, f); err != nil {
			return err
		}
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

// appendAbility appends what tells a server of a function.
func appendAbility(packets []byte, f *function) ([]byte, error) {
	limit := f.cfg.Timeout.Std()
	if limit == 0 {
		return wire.Append(packets, wire.Request, wire.CanDo, f.name)
	}
	// The server's clock runs from when it hands the job out, in milliseconds.
	ms := int64(f.cfg.Retries) * (limit + f.cfg.RetryDelay.Std()).Milliseconds()
	ms += (limit + f.cfg.Stop.Grace.Std() + timeLimitMargin).Milliseconds()
	return wire.Append(packets, wire.Request, wire.CanDoTimeout, f.name, strconv.FormatInt(min(ms, math.MaxInt32), 10))
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
			s.release()
			return err
		}
		if j == nil {
			s.release()
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

// grab asks for a job; nil: there is none.
func (s *session) grab() (*job, error) {
	packet, err := wire.Append(nil, wire.Request, wire.GrabJobAll)
	if err == nil {
		err = s.write(packet, nil)
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
		case <-s.w.running.Done():
			return nil, context.Cause(s.w.running) // who has no time any more does not wait for an answer
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
