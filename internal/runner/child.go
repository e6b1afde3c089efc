package runner

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"procops/internal/proc"
)

// Cause is why a co-process has ended, or was ended.
type Cause string

// The causes.
const (
	CauseStart     Cause = "start"     // it could not be started, or said no hello
	CauseExited    Cause = "exited"    // it has ended by itself
	CauseProtocol  Cause = "protocol"  // it has written what it may not
	CauseTimeout   Cause = "timeout"   // its unit took too long
	CauseCancelled Cause = "cancelled" // its unit was stopped
	CauseUnits     Cause = "units"     // it has done max_units
	CauseMemory    Cause = "memory"    // it uses more than memory_threshold
	CauseClosed    Cause = "closed"    // it is not needed any more
)

// ending is why a co-process is to end; without a cause it is not.
type ending struct {
	cause  Cause
	reason string // for people
}

// child is one co-process. What the pool's lock guards is said so.
type child struct {
	process *proc.Process
	talk    *talk
	notes   *notes
	meter   *proc.Meter
	base64  bool   // it wants all input so
	serial  uint64 // of its last unit

	exited atomic.Bool // the process has
	halted atomic.Bool // Close does not wait for its unit any longer
	limit  *time.Timer // of the unit; wakes its reader

	ready   chan struct{} // closed when it has said hello, or will not
	failure error         // why it will not; valid after ready
	doomed  chan struct{} // closed when it is to end
	over    chan struct{} // closed when nothing is left of it

	// The pool's lock guards:
	state  State
	ending ending
	units  int   // that it has done
	memory int64 // after the last
}

func newChild() *child {
	return &child{state: StateStarting, ready: make(chan struct{}), doomed: make(chan struct{}), over: make(chan struct{})}
}

// start starts the process.
func (c *child) start(o *Options) error {
	spec, err := o.Start()
	if err != nil {
		return err
	}
	talk, theirs, err := newTalk(int(o.Coprocess.MaxLine.Bytes()))
	if err != nil {
		return err
	}
	defer closeAll(theirs[:]...)
	spec.Stdin, spec.Stdout, spec.Stderr = theirs[0], theirs[1], theirs[2]
	process, err := o.Host.Start(spec)
	if err != nil {
		closeAll(talk.in, talk.out, talk.err)
		return err
	}
	c.process, c.talk = process, talk
	c.notes = newNotes(talk.err, talk.errConn, o.Output)
	c.limit = time.AfterFunc(time.Hour, talk.wake)
	c.limit.Stop()
	if c.meter, err = process.Meter(); err != nil {
		c.meter = nil // it has ended already, which will be seen
	}
	return nil
}

// greet waits for the hello. Somebody wakes it when that is in vain.
func (c *child) greet() error {
	line, err := c.talk.next()
	switch {
	case errors.Is(err, errTooLong):
		return fmt.Errorf("it has written no hello: %w", err)
	case err != nil && len(bytes.TrimSpace(c.talk.rest())) > 0:
		return fmt.Errorf("it has written %q instead of a hello", short(bytes.TrimSpace(c.talk.rest())))
	case err != nil:
		return errNoHello
	}
	if c.base64, err = parseHello(line); err != nil {
		return fmt.Errorf("it has written %q instead of a hello: %w", short(line), err)
	}
	if more := c.talk.rest(); len(more) > 0 {
		return fmt.Errorf("it has written %q after its hello, without having work", short(more))
	}
	return nil
}

// errNoHello says that nothing at all has come.
var errNoHello = errors.New("it has said no hello")

// rss returns the resident memory as it is now; 0: not known.
func (c *child) rss() int64 {
	if c.meter == nil {
		return 0
	}
	return c.meter.RSS()
}

// release closes what is open to a process that has ended.
func (c *child) release() {
	c.limit.Stop()
	if c.meter != nil {
		c.meter.Close()
	}
	closeAll(c.talk.in, c.talk.out)
	c.notes.close()
}

// notes reads what a co-process writes to standard error, and gives it to the unit of
// work that it has.
type notes struct {
	file  *os.File
	conn  syscall.RawConn
	stray func(proc.Stream, []byte) // gets what belongs to no unit; may be nil
	ended chan struct{}             // closed when the goroutine that reads has ended

	mu    sync.Mutex
	work  *Work      // nil: none
	tail  *proc.Tail // of the unit; nil: nothing came
	other *proc.Tail // of what belongs to no unit; nil: nothing came
	buf   [4 << 10]byte
}

// strayKept is how much is kept, in bytes, of what belongs to no unit: it tells why a
// co-process did not start.
const strayKept = 1 << 10

func newNotes(file *os.File, conn syscall.RawConn, stray func(proc.Stream, []byte)) *notes {
	n := &notes{file: file, conn: conn, stray: stray, ended: make(chan struct{})}
	go func() {
		defer close(n.ended)
		n.run()
	}()
	return n
}

// run reads to the end.
func (n *notes) run() {
	over := false
	read := func(fd uintptr) bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		got, err := n.take(fd)
		over = got <= 0
		return !errors.Is(err, syscall.EAGAIN)
	}
	for !over {
		if err := n.conn.Read(read); err != nil {
			return
		}
	}
}

// take reads once and hands on what came. The lock is held.
func (n *notes) take(fd uintptr) (int, error) {
	got, err := readFD(int(fd), n.buf[:])
	if got > 0 {
		n.deliver(n.buf[:got])
	}
	return got, err
}

func (n *notes) deliver(data []byte) {
	tail, size, tell := &n.other, strayKept, n.stray
	if n.work != nil {
		tail, size, tell = &n.tail, diagnosticsSize, n.work.Output
	}
	if *tail == nil {
		*tail = proc.NewTail(size)
	}
	(*tail).Write(proc.Stderr, data)
	if tell != nil {
		tell(proc.Stderr, data)
	}
}

// begin gives what comes from now on to a unit.
func (n *notes) begin(w *Work) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.catchUp()
	n.work, n.tail = w, nil
}

// finish takes what was written up to now and returns the end of what the unit got.
func (n *notes) finish() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.catchUp()
	tail := n.tail
	n.work, n.tail = nil, nil
	if tail == nil {
		return ""
	}
	return tail.Text(proc.Stderr)
}

// catchUp takes what is in the pipe, without waiting. The lock is held.
func (n *notes) catchUp() {
	_ = n.conn.Control(func(fd uintptr) {
		for total := 0; total < lastRead; {
			got, _ := n.take(fd)
			if got <= 0 {
				return
			}
			total += got
		}
	})
}

// lastWords returns the last line that belonged to no unit, for people.
func (n *notes) lastWords() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.other == nil {
		return ""
	}
	for _, line := range slices.Backward(n.other.Lines(proc.Stderr, 0)) {
		if words := strings.TrimSpace(line); words != "" {
			return short([]byte(words))
		}
	}
	return ""
}

// close takes what is left and ends the reading.
func (n *notes) close() {
	n.mu.Lock()
	n.catchUp()
	n.mu.Unlock()
	_ = n.file.Close()
	<-n.ended
}

// lastBreath is how long one that has closed its output may take to end, so that it can
// be told how it has ended.
const lastBreath = time.Second

// expire waits a little for the end of the process.
func (c *child) expire() bool {
	timer := time.NewTimer(lastBreath)
	defer timer.Stop()
	select {
	case <-c.process.Exited():
		return true
	case <-timer.C:
		return false
	}
}
