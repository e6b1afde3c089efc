package logging

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"
)

// keptIdle is how much buffer, in bytes, a queue with nothing to write keeps.
// It is small because a supervisor has a queue for each of its processes, and
// large enough that one that prints a line now and then allocates nothing.
const keptIdle = 4 << 10

// Queue lets many goroutines write records to one slow writer without waiting
// for it, unless they ask to. A record is one line with its newline. Records are written in
// order, as many at a time as there are. A record that does not fit is dropped
// and counted, and so is one that could not be written.
//
// The goroutine that writes exists only while there is something to write.
type Queue struct {
	// OnGap, if set, appends to dst a record that tells the reader that dropped
	// records are missing at this place. Set it before the first Append.
	OnGap func(dst []byte, dropped uint64) []byte
	// OnError, if set, is told of the first of a row of write errors, from the
	// goroutine that writes. Set it before the first Append.
	OnError func(error)

	limit int
	sink  sink
	start func() // drain, kept as a value so that starting it allocates nothing

	mu      sync.Mutex
	pending []byte        // records that the writing goroutine has not taken yet
	spare   []byte        // the buffer that pending changes places with
	flying  int           // bytes taken and not yet written
	settled uint64        // bytes that were written, or lost in writing, ever
	flushes []flush       // calls of Flush that wait, by target
	gap     uint64        // records dropped after those in pending
	dropped uint64        // records dropped ever
	err     error         // of the last write
	broken  bool          // no later write can succeed
	closed  bool          // takes no more records
	running bool          // the writing goroutine exists
	ended   chan struct{} // made by Close, closed when that goroutine has ended

	room    chan struct{} // closed when there is room again; nil while nobody waits
	stalled bool          // somebody has waited in vain, and there was no room since

	// idle has large buffers of a queue with nothing to write. The next burst has
	// them again; the garbage collector frees them if that does not come soon.
	idle sync.Pool // of *[]byte
}

// flush waits until so many bytes are settled.
type flush struct {
	target uint64
	done   chan struct{}
}

// NewQueue returns a queue that holds at most limit bytes for w.
func NewQueue(w io.Writer, limit int) *Queue {
	q := &Queue{limit: limit, sink: sink{w: w}}
	q.start = q.drain
	return q
}

// Append lets record append one record to dst and queues it. It reports whether
// there was room; if not, the record is dropped. record must be quick: others
// wait for it. After Close everything is dropped.
func (q *Queue) Append(record func(dst []byte) []byte) bool {
	return q.AppendAll(1, func(dst []byte, _ int) []byte { return record(dst) }) == 1
}

// AppendAll does what n calls of Append would, for less: record appends the i-th
// record, i from 0. It returns how many there was room for.
func (q *Queue) AppendAll(n int, record func(dst []byte, i int) []byte) (kept int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.broken {
		q.dropped += uint64(n)
		return 0
	}
	for i := range n {
		if q.add(record, i) {
			kept++
		}
	}
	if !q.running && n > 0 {
		q.running = true
		go q.start()
	}
	return kept
}

// add puts a record behind the pending ones if there is room. Once one was
// dropped, all are until the pending ones are taken: so a gap is always behind
// what is pending, and its notice stands in its place.
func (q *Queue) add(record func(dst []byte, i int) []byte, i int) bool {
	if q.gap == 0 {
		if q.pending == nil {
			q.pending = q.buffer()
		}
		before := len(q.pending)
		q.pending = record(q.pending, i)
		if len(q.pending)+q.flying <= q.limit {
			return true
		}
		q.pending = q.pending[:before]
	}
	q.gap++
	q.dropped++
	return false
}

// Await waits until half of the queue is free, for at most patience; whoever
// appends may do so before, to be held up for a moment instead of losing a
// record to a hiccup of the writer. After a wait in vain nobody waits until there
// was room again, so that a writer that stands still holds nobody up twice.
func (q *Queue) Await(patience time.Duration) {
	room := q.awaited()
	if room == nil {
		return
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-room:
	case <-timer.C:
		q.mu.Lock()
		q.stalled = q.room == room
		q.mu.Unlock()
	}
}

// awaited returns what is closed when there is room, nil if nothing is to be
// waited for.
func (q *Queue) awaited() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.hasRoom() || q.stalled || q.closed {
		return nil
	}
	if q.room == nil {
		q.room = make(chan struct{})
	}
	return q.room
}

func (q *Queue) hasRoom() bool { return q.broken || len(q.pending)+q.flying <= q.limit/2 }

// release lets those go on who wait for room.
func (q *Queue) release() {
	q.stalled = false
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
}

// Write queues p as one record, so that a queue can stand where an io.Writer
// is wanted. A dropped record is no error: nobody there could do anything
// about it.
func (q *Queue) Write(p []byte) (int, error) {
	q.Append(func(dst []byte) []byte { return append(dst, p...) })
	return len(p), nil
}

// Terminal reports whether the queue writes to a terminal.
func (q *Queue) Terminal() bool { return isTerminal(q.sink.w) }

// Dropped returns how many records were dropped so far.
func (q *Queue) Dropped() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}

// Err returns the error of the last write, nil if it succeeded.
func (q *Queue) Err() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// Flush waits until all records that were queued before the call are written,
// or lost. The error is that of ctx if the writer takes too long.
func (q *Queue) Flush(ctx context.Context) error {
	select {
	case <-q.flush():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cannot write out what is queued: %w", context.Cause(ctx))
	}
}

func (q *Queue) flush() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	f := flush{target: q.settled + uint64(q.flying+len(q.pending)), done: make(chan struct{})}
	if f.target == q.settled {
		close(f.done)
	} else {
		q.flushes = append(q.flushes, f)
	}
	return f.done
}

// Close takes no more records and waits until all are written. It returns the
// error of the last write, or that of ctx if the writer takes too long; then
// the goroutine stays until the writer lets it go. Close does not close the
// writer. It may be called again.
func (q *Queue) Close(ctx context.Context) error {
	select {
	case <-q.close():
		return q.Err()
	case <-ctx.Done():
		return fmt.Errorf("cannot write out what is queued: %w", context.Cause(ctx))
	}
}

// close returns a channel that is closed when nothing is being written.
func (q *Queue) close() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.release()
	if q.ended == nil {
		q.ended = make(chan struct{})
		if !q.running {
			close(q.ended)
		}
	}
	return q.ended
}

// drain writes until there is nothing left.
func (q *Queue) drain() {
	for {
		batch, gap, more := q.take()
		if !more {
			return
		}
		lost := q.sink.write(batch, q.OnGap)
		q.sink.skip(gap)
		q.settle(lost)
		// Whoever appends gets to go on first: larger batches cost a third of
		// the time at full load.
		runtime.Gosched()
	}
}

// take hands all pending records to the writing goroutine, with the number of
// records dropped after them. With nothing pending it ends that goroutine.
func (q *Queue) take() (batch []byte, gap uint64, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.pending) == 0 && q.gap == 0 && !q.sink.owesNotice() {
		q.rest()
		return nil, 0, false
	}
	batch, gap = q.pending, q.gap
	q.pending, q.spare, q.gap = q.spare[:0], batch, 0
	q.flying = len(batch)
	return batch, gap, true
}

// rest marks the end of the writing goroutine and gives large buffers back.
func (q *Queue) rest() {
	q.running = false
	q.pending, q.spare = q.putAway(q.pending), q.putAway(q.spare)
	if q.ended != nil {
		close(q.ended)
	}
}

// putAway returns what a queue at rest keeps of a buffer.
func (q *Queue) putAway(buf []byte) []byte {
	if cap(buf) <= keptIdle {
		return buf
	}
	q.idle.Put(&buf)
	return nil
}

// buffer returns an empty buffer that was put away, if there is one.
func (q *Queue) buffer() []byte {
	if buf, ok := q.idle.Get().(*[]byte); ok {
		return (*buf)[:0]
	}
	return nil
}

// settle notes the outcome of a write.
func (q *Queue) settle(lost uint64) {
	err := q.sink.err
	q.mu.Lock()
	first := err != nil && q.err == nil
	q.settled += uint64(q.flying)
	q.flying = 0
	for len(q.flushes) > 0 && q.flushes[0].target <= q.settled {
		close(q.flushes[0].done)
		q.flushes = q.flushes[1:]
	}
	q.dropped += lost
	q.err, q.broken = err, isBroken(err)
	if q.hasRoom() {
		q.release()
	}
	q.mu.Unlock()
	if first && q.OnError != nil {
		q.OnError(err)
	}
}
