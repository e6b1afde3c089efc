package worker

import (
	"fmt"
	"math"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"procops/internal/gearman"
	"procops/internal/gearman/wire"
)

// session is one connection of the worker with a server. One goroutine decides what is
// asked for, another one reads, and those of the jobs write as well.
type session struct {
	w      *Worker
	server gearman.Address
	offers []*function
	slots  chan struct{} // of the only function, if it has a limit of its own; else nil
	conn   net.Conn
	reader *wire.Reader
	come   atomic.Int64 // bytes that have come
	called chan struct{}
	echoed chan struct{}  // the server has heard all that was said before settle
	spoken atomic.Bool    // a job has said its last word
	lost   chan struct{}  // closed when nothing more is read
	err    error          // why; valid after lost
	jobs   sync.WaitGroup // that came by this connection

	writing sync.Mutex
	asleep  bool // of writing: the server was told that nobody asks until it calls

	queue questions
}

func newSession(l *link, conn net.Conn) *session {
	s := &session{
		w: l.w, server: l.server, offers: l.functions, slots: l.functions[0].slots, conn: conn,
		called: make(chan struct{}, 1), echoed: make(chan struct{}, 1), lost: make(chan struct{}),
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
		s.queue.none.Store(false)
		s.wake()
		return nil
	case wire.NoJob:
		s.queue.none.Store(true)
		return s.queue.answer(nil)
	case wire.JobAssign, wire.JobAssignUniq, wire.JobAssignAll:
		j, err := newJob(s, p)
		if err != nil {
			return err
		}
		s.queue.none.Store(false)
		return s.queue.answer(j)
	case wire.Error:
		text, err := p.Data()
		s.w.deps.Log.Warn().Str("server", string(s.server)).Str("code", string(p.Arg(0))).Msgf("the server refuses something: %.200q", text)
		return err
	case wire.EchoRes:
		select {
		case s.echoed <- struct{}{}:
		default:
		}
		return nil
	case wire.OptionRes:
		return nil
	default:
		return fmt.Errorf("%s to a worker", p.Type)
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

const (
	// chunk is how much of a result is written within the time for an answer: a slow line
	// is no dead server.
	chunk = 1 << 20
	// together is the largest result that is copied behind its head, so that both leave in
	// one piece.
	together = 16 << 10
)

// write writes packets, of which the last argument of the last one may be large and is in
// two parts with what is before it.
func (s *session) write(head, data []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.writeHeld(head, data, nil)
}

// writeHeld writes packets, and others behind the large argument. The lock is held.
func (s *session) writeHeld(head, data, more []byte) error {
	if len(data) <= together {
		head, data, more = append(append(head, data...), more...), nil, nil
	}
	err := s.writeSome(head)
	for err == nil && len(data) > 0 {
		n := min(len(data), chunk)
		err = s.writeSome(data[:n])
		data = data[n:]
	}
	if err == nil && len(more) > 0 {
		err = s.writeSome(more)
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

// settlePatience is how long a server may take at the end to hear what was said last.
const settlePatience = time.Second

// settle waits until the server has heard what the jobs have said last. gearmand throws away
// what it has read and not yet looked at when a connection ends, and has such a job done
// again.
func (s *session) settle() {
	if !s.spoken.Load() || s.write(echo(), nil) != nil {
		return
	}
	timer := time.NewTimer(settlePatience)
	defer timer.Stop()
	select {
	case <-s.echoed:
	case <-s.lost:
	case <-timer.C:
	}
}

func echo() []byte { return wire.AppendHeader(nil, wire.Request, wire.EchoReq, 0) }
