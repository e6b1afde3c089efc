package proc

import (
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// maxSeats is how many processes are attended at once. Each of them blocks a thread, of
// which a Go program may have 10,000.
const maxSeats = 64

// seat is where a goroutine sits that attends a process.
type seat struct {
	bell int           // an eventfd, by which it is called away
	fds  []unix.PollFd // the bell, the pidfd, and one for each capture; negative: done with
	open []*capture    // one for each capture; nil: it has ended
}

// The places in seat.fds.
const (
	bellPlace = iota
	pidfdPlace
	firstCapture
)

// seats are those of a Host.
type seats struct {
	mu     sync.Mutex
	free   []*seat
	taken  int
	closed bool
}

// take returns a seat for a process that is about to be started, nil if there is none.
func (s *seats) take() *seat {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		one := s.free[n-1]
		s.free = s.free[:n-1]
		s.taken++
		return one
	}
	if s.taken == maxSeats || s.closed {
		return nil
	}
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil
	}
	s.taken++
	return &seat{bell: bell}
}

// giveBack takes a seat back that nobody needs any more; nil is none.
func (s *seats) giveBack(one *seat) {
	if one == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	if s.closed {
		_ = unix.Close(one.bell)
		return
	}
	s.free = append(s.free, one)
}

// close gives up the seats that are free, and the others when they are given back.
func (s *seats) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, one := range s.free {
		_ = unix.Close(one.bell)
	}
	s.free = nil
}

// sit prepares for a process that has been started.
func (s *seat) sit(pidfd int, captures []*capture) {
	s.fds = append(s.fds[:0], unix.PollFd{Fd: int32(s.bell), Events: unix.POLLIN}, unix.PollFd{Fd: int32(pidfd), Events: unix.POLLIN})
	for _, c := range captures {
		s.fds = append(s.fds, unix.PollFd{Fd: int32(c.fd), Events: unix.POLLIN})
	}
	s.open = append(s.open[:0], captures...)
}

// rise gives up what sit has taken, and returns the captures that have not ended.
func (s *seat) rise() []*capture {
	_ = unix.Close(int(s.fds[pidfdPlace].Fd))
	var ring [8]byte
	_, _ = unix.Read(s.bell, ring[:]) // it may have rung; it does not block
	open := slices.DeleteFunc(slices.Clone(s.open), func(c *capture) bool { return c == nil })
	clear(s.open)
	return open
}

// wait waits for the next thing to do; an error means that it cannot.
func (s *seat) wait() error {
	for {
		if _, err := unix.Poll(s.fds, -1); err != unix.EINTR {
			return err
		}
	}
}

// Attend reads the program's output and waits for its end, all in the calling goroutine:
// nothing goes from thread to thread, which is most of what a short program costs beside
// itself. It returns when the leader has ended and what it has written was read, or after
// Release; what is left of the group and the output then goes on as without it. It does
// nothing for a program that was started without Spec.Attended, or while too many others
// are attended.
func (p *Process) Attend() {
	s := p.seat
	if s == nil {
		return
	}
	for {
		if err := s.wait(); err != nil {
			break // then others do it
		}
		p.hear(s, 1)
		if s.fds[pidfdPlace].Revents != 0 {
			p.reaper.reap(p.PID())
			p.hear(s, lastLook/MaxLine)
			break
		}
		if s.fds[bellPlace].Revents != 0 {
			break
		}
	}
	p.leave(s)
}

// hear reads what is there of each stream, up to so many times.
func (p *Process) hear(s *seat, times int) {
	for i, c := range s.open {
		if c == nil || times == 1 && s.fds[firstCapture+i].Revents == 0 {
			continue
		}
		if !c.hear(times) {
			s.open[i], s.fds[firstCapture+i].Fd = nil, -1
			p.streamEnded()
		}
	}
}

// hear reads what is there without waiting for more, and reports whether more may come.
func (c *capture) hear(times int) bool {
	for range times {
		n, errno := c.read(c.fd)
		switch {
		case errno == unix.EAGAIN:
			return true
		case errno != 0 || n == 0:
			c.finish()
			c.close()
			return false
		default:
			c.deliver(n)
		}
	}
	return true
}

// leave hands over what is left.
func (p *Process) leave(s *seat) {
	open := p.rise(s)
	for _, c := range open {
		p.host.read(p, c)
	}
	p.host.seats.giveBack(s)
}

// rise ends the attendance, under the lock.
func (p *Process) rise(s *seat) []*capture {
	p.reaper.mu.Lock()
	defer p.reaper.mu.Unlock()
	p.seat = nil
	open := s.rise()
	for _, c := range open {
		c.open()
		if p.group.empty {
			c.abandon(abandonDelay)
		}
	}
	return open
}

// Release makes an Attend under way return.
func (p *Process) Release() {
	p.reaper.mu.Lock()
	defer p.reaper.mu.Unlock()
	if p.seat != nil {
		one := [8]byte{0: 1} // its value means nothing
		_, _ = unix.Write(p.seat.bell, one[:])
	}
}
