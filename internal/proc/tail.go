package proc

import (
	"bytes"
	"strings"
	"sync"
)

// Tail keeps the last lines of a process per stream, for the report of a failure.
// It never blocks. The zero Tail keeps nothing; make one with NewTail.
type Tail struct {
	size int

	mu    sync.Mutex
	rings map[Stream]*ring
}

// NewTail returns a Tail that keeps up to size bytes of each stream.
func NewTail(size int) *Tail {
	return &Tail{size: size, rings: make(map[Stream]*ring)}
}

// Add appends a line or a piece of one. It may be used as Spec.Output.
func (t *Tail) Add(l Line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.add(l)
}

// AddAll appends lines. It may be used as Spec.Lines.
func (t *Tail) AddAll(lines []Line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range lines {
		t.add(l)
	}
}

func (t *Tail) add(l Line) {
	r := t.ring(l.Stream)
	r.write(l.Text)
	if !l.Partial {
		r.write([]byte{'\n'})
	}
}

// Write appends bytes as they are. It may be used as Spec.Raw.
func (t *Tail) Write(stream Stream, data []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ring(stream).write(data)
}

func (t *Tail) ring(stream Stream) *ring {
	r := t.rings[stream]
	if r == nil {
		r = &ring{limit: t.size}
		if t.rings == nil {
			t.rings = make(map[Stream]*ring)
		}
		t.rings[stream] = r
	}
	return r
}

// Text returns what is kept of a stream: whole lines, unless the last line alone
// is longer than what is kept.
func (t *Tail) Text(stream Stream) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.rings[stream]
	if r == nil {
		return ""
	}
	text := r.bytes()
	if r.cut {
		if i := bytes.IndexByte(text, '\n'); i >= 0 && i < len(text)-1 {
			text = text[i+1:]
		}
	}
	return string(text)
}

// Lines returns the last n lines of a stream; all that are kept if n is 0 or less.
func (t *Tail) Lines(stream Stream, n int) []string {
	text := t.Text(stream)
	if text == "" {
		return nil
	}
	if text[len(text)-1] == '\n' {
		text = text[:len(text)-1]
	}
	lines := strings.Split(text, "\n")
	if n > 0 && len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return lines
}

// ring is the end of a stream of bytes. It grows with what it holds.
type ring struct {
	limit int
	data  []byte
	next  int  // where the oldest byte is, once data is full
	cut   bool // the first line kept is not whole
}

func (r *ring) write(p []byte) {
	if over := len(p) - r.limit; over > 0 {
		p = p[over:]
		r.cut = true
	}
	if room := r.limit - len(r.data); room > 0 {
		n := min(room, len(p))
		r.data = append(r.data, p[:n]...)
		p = p[n:]
	}
	for len(p) > 0 {
		r.cut = true
		n := copy(r.data[r.next:], p)
		r.next = (r.next + n) % r.limit
		p = p[n:]
	}
}

func (r *ring) bytes() []byte {
	return append(append(make([]byte, 0, len(r.data)), r.data[r.next:]...), r.data[:r.next]...)
}
