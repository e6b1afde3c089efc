package server

import (
	"context"
	"errors"
	"hash/maphash"
	"net"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"procops/internal/fault"
	"procops/internal/gearman"
	"procops/internal/states"
	"procops/internal/store"
)

// Options say what a server is.
type Options struct {
	Config gearman.ServerConfig
	// Store is where durable jobs and the next number of a job are. Without it jobs
	// are in memory only, whatever Config says.
	Store *store.Store
	Log   zerolog.Logger
}

// Server is a job server.
type Server struct {
	cfg     gearman.ServerConfig
	log     zerolog.Logger
	store   *store.Store
	durable bool
	prefix  []byte // of handles, the colon before the number included
	machine states.Table[State, Trigger]
	seed    maphash.Seed
	blocks  sync.Pool
	quit    chan struct{} // closed when an operator has asked it to stop
	loading sync.RWMutex  // held while jobs come from the disk; for reading, while jobs are recorded that may be there

	mu        sync.Mutex
	room      sync.Cond // memory, of mu
	idle      sync.Cond // a job has ended, of mu
	functions map[string]*function
	serials   int
	jobs      index
	conns     map[*conn]struct{}
	clock     clock
	memory    int64 // bytes of all jobs in memory
	onDisk    int   // jobs that are only there
	numbers   numbers
	stopping  bool
	quitting  bool
	watch     time.Time     // when the clock looks whether work waits beside sleepers; zero: never
	patience  time.Duration // of questions for a job
	questions []question    // that are or were open, the oldest first
	dirty     []*conn       // connections with output that nobody has begun to write
	changes   []change
	stats     totals

	work sync.WaitGroup
}

// New returns a server that does not listen yet.
func New(opt Options) (*Server, error) {
	s := &Server{
		cfg: opt.Config, log: opt.Log, store: opt.Store,
		durable:   opt.Store != nil && opt.Config.Durability != gearman.DurableNone,
		machine:   machine(),
		patience:  patienceForJob,
		seed:      maphash.MakeSeed(),
		quit:      make(chan struct{}),
		functions: map[string]*function{},
		jobs:      index{pages: map[uint64]*page{}},
		conns:     map[*conn]struct{}{},
		clock:     clock{alarm: make(chan struct{}, 1)},
	}
	s.blocks.New = func() any { return new(block) }
	s.room.L, s.idle.L = &s.mu, &s.mu
	prefix := opt.Config.HandlePrefix
	if prefix == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fault.Wrap(fault.Failure, err, "cannot begin job handles with the name of this machine").
				WithHint("set handle_prefix in [worker.server]")
		}
		prefix = "H:" + host[:min(len(host), maxHost)]
	}
	s.prefix = []byte(prefix + ":")
	return s, nil
}

// maxHost leaves room for a number in gearmand's 64 bytes of a handle.
const maxHost = 40

// Serve answers what comes through the listeners until ctx ends; it closes them.
// Then no more jobs are handed out, and those that run have the grace, or until
// hurry is closed. Durable jobs are there again with the next server on the same
// store. It is to be called once.
func (s *Server) Serve(ctx context.Context, hurry <-chan struct{}, listeners ...net.Listener) error {
	if err := s.recover(ctx); err != nil {
		if ctx.Err() != nil {
			err = nil // it is to end before it has begun
		}
		return errors.Join(err, closeAll(listeners))
	}
	clock, stopClock := context.WithCancel(context.WithoutCancel(ctx))
	s.work.Go(func() { s.tick(clock) })
	for _, l := range listeners {
		s.work.Go(func() { s.accept(ctx, l) })
	}
	select {
	case <-ctx.Done():
	case <-s.quit:
	}
	s.mu.Lock()
	s.stopping = true
	s.room.Broadcast()
	s.mu.Unlock()
	err := closeAll(listeners)
	s.drain(hurry)
	s.hangUp()
	stopClock()
	s.work.Wait()
	return errors.Join(err, s.giveBackNumbers(context.WithoutCancel(ctx)))
}

func closeAll(listeners []net.Listener) error {
	var errs []error
	for _, l := range listeners {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// drain waits until no job runs, until the grace is over or until hurry is closed.
func (s *Server) drain(hurry <-chan struct{}) {
	grace := time.NewTimer(s.cfg.StopGrace.Std())
	defer grace.Stop()
	over := make(chan struct{})
	go func() {
		defer close(over)
		s.mu.Lock()
		defer s.mu.Unlock()
		for s.running() > 0 && !s.quitting {
			s.idle.Wait()
		}
	}()
	select {
	case <-over:
	case <-hurry:
	case <-grace.C:
	}
	s.mu.Lock()
	s.quitting = true
	s.idle.Broadcast()
	s.mu.Unlock()
	<-over
}

func (s *Server) running() (n int) {
	for _, f := range s.functions {
		n += f.running
	}
	return n
}

// hangUp closes all connections once what they are still to hear is written.
func (s *Server) hangUp() {
	s.mu.Lock()
	all := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	s.mu.Unlock()
	var closing sync.WaitGroup
	for _, c := range all {
		closing.Go(c.out.finish)
	}
	closing.Wait()
}

// accept takes connections until the listener is closed.
func (s *Server) accept(ctx context.Context, l net.Listener) {
	wait := time.Duration(0)
	for {
		nc, err := l.Accept()
		if err == nil {
			wait = 0
			s.admit(nc)
			continue
		}
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		// No more files, most likely: some come back.
		wait = min(max(2*wait, acceptAgain), time.Second)
		s.log.Error().Err(err).Msg("cannot accept a connection")
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

const acceptAgain = 5 * time.Millisecond

// admit begins a connection, if there are not too many.
func (s *Server) admit(nc net.Conn) {
	c := newConn(s, nc)
	s.mu.Lock()
	if s.stopping || len(s.conns) >= s.cfg.MaxConnections {
		s.stats.refused++
		s.mu.Unlock()
		_ = nc.Close()
		return
	}
	s.stats.connections++
	s.conns[c] = struct{}{}
	s.work.Add(1)
	s.mu.Unlock()
	go func() {
		defer s.work.Done()
		c.serve()
	}()
}

// makeRoom tells those who wait for memory that there is some.
func (s *Server) makeRoom() { s.room.Broadcast() }

// takeDirty returns the connections with new output, for whoever unlocks.
func (s *Server) takeDirty() []*conn {
	if len(s.dirty) == 0 {
		return nil
	}
	dirty := append([]*conn(nil), s.dirty...)
	s.clean()
	return dirty
}

func (s *Server) clean() {
	for _, c := range s.dirty {
		c.dirty = false
	}
	clear(s.dirty)
	s.dirty = s.dirty[:0]
}

// flush writes what waits for connections, as far as their kernel takes it at
// once.
func flush(dirty []*conn) {
	for _, c := range dirty {
		c.flush()
	}
}

// pause has others get at the server while wait waits for something.
func (s *Server) pause(wait func()) {
	dirty := s.takeDirty()
	s.mu.Unlock()
	flush(dirty)
	wait()
	s.mu.Lock()
}
