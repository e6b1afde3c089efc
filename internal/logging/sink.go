package logging

import (
	"bytes"
	"errors"
	"io"
	"os"
	"syscall"
)

// sink is the half of a Queue that only the writing goroutine touches. It keeps
// lines whole when writes fail in the middle of one.
type sink struct {
	w      io.Writer
	err    error  // of the last write
	torn   []byte // end of a record whose beginning is written; goes out first
	untold uint64 // records lost since the last notice
	notice []byte // buffer
}

// write writes a batch of records and returns how many of them are lost. What
// is missing before them is told first.
func (s *sink) write(batch []byte, onGap func([]byte, uint64) []byte) (lost uint64) {
	s.err = s.complete()
	if s.err == nil {
		s.err = s.tell(onGap)
	}
	n := 0
	if s.err == nil && len(batch) > 0 {
		n, s.err = s.writeOut(batch)
	}
	lost = uint64(bytes.Count(s.keepTorn(batch, n), []byte{'\n'}))
	s.skip(lost)
	return lost
}

// skip notes that n records are missing at this place.
func (s *sink) skip(n uint64) { s.untold += n }

// owesNotice reports whether there is a gap to tell of although no record
// follows. While writing fails, the notice waits for the next record.
func (s *sink) owesNotice() bool { return s.untold > 0 && s.err == nil }

// complete writes the rest of a record that a failed write has torn.
func (s *sink) complete() error {
	if len(s.torn) == 0 {
		return nil
	}
	n, err := s.writeOut(s.torn)
	s.torn = s.torn[n:]
	return err
}

// tell writes the notice of a gap.
func (s *sink) tell(onGap func([]byte, uint64) []byte) error {
	if s.untold == 0 {
		return nil
	}
	if onGap == nil {
		s.untold = 0
		return nil
	}
	s.notice = onGap(s.notice[:0], s.untold)
	n, err := s.writeOut(s.notice)
	if n > 0 {
		s.keepTorn(s.notice, n)
		s.untold = 0
	}
	return err
}

func (s *sink) writeOut(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return n, err
}

// keepTorn returns the records of p that are not written when n bytes are. If
// the first of them is written in part, its rest is kept instead.
func (s *sink) keepTorn(p []byte, n int) []byte {
	if n == 0 || n == len(p) || p[n-1] == '\n' {
		return p[n:]
	}
	end := len(p)
	if i := bytes.IndexByte(p[n:], '\n'); i >= 0 {
		end = n + i + 1
	}
	s.torn = append(s.torn[:0], p[n:end]...)
	return p[end:]
}

// isBroken reports whether no later write can succeed: the reader is gone.
func isBroken(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrClosed) || errors.Is(err, syscall.EBADF)
}
