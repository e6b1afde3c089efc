package proc

import (
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// attend attends a process in a goroutine and returns what is closed when that is over.
func attend(p *Process) <-chan struct{} {
	over := make(chan struct{})
	go func() {
		defer close(over)
		p.Attend()
	}()
	return over
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestAttend: when Attend returns a program that leaves nothing behind is gone, and all
// that it has written was read.
func TestAttend(t *testing.T) {
	h := newTestHost(t, HostOptions{Guard: true, Subreaper: true})
	for range 100 {
		out := newOutput()
		s := shSpec("echo one; echo two >&2; echo half >&3; printf three; exit 3")
		s.Output, s.Progress, s.Attended = out.add, out.add, true
		p := mustStart(t, h, s)
		p.Attend()
		await(t, "the end", p.Gone()) // the reaper may have been faster, and not be through
		if out.get(Stdout) != "one\nthree" || out.get(Stderr) != "two\n" || out.get(Progress) != "half\n" || p.Exit().Code != 3 {
			t.Fatalf("got %q, %q, %q, exit %+v", out.get(Stdout), out.get(Stderr), out.get(Progress), p.Exit())
		}
	}
}

func TestAttendReadsMuch(t *testing.T) {
	const size = 5 << 20
	h := newTestHost(t, HostOptions{})
	n := 0
	p := mustStart(t, h, Spec{
		Argv: []string{"/bin/sh", "-c", "yes | head -c 5242880"}, Attended: true, Raw: func(_ Stream, data []byte) { n += len(data) },
	})
	p.Attend()
	await(t, "the end", p.Gone())
	if n != size {
		t.Errorf("%d bytes were read, want %d", n, size)
	}
}

// TestAttendLeavesTheRest: what outlives the leader is not waited for, and goes on as it
// does without Attend.
func TestAttendLeavesTheRest(t *testing.T) {
	h := newTestHost(t, HostOptions{Subreaper: true})
	out := newOutput()
	s := shSpec(`(read line; echo "late $line"; exec sleep 1000) <"$0" & echo early`)
	fifo := t.TempDir() + "/fifo"
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Argv = append(s.Argv, fifo)
	s.Output, s.Attended = out.add, true
	p := mustStart(t, h, s)
	await(t, "the end of the leader", attend(p))
	if out.get(Stdout) != "early\n" || isClosed(p.Gone()) {
		t.Fatalf("the leader has ended, and: %q, gone %v", out.get(Stdout), isClosed(p.Gone()))
	}
	if err := os.WriteFile(fifo, []byte("word\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out.await(t, "late word")
	if err := p.Stop(t.Context(), Ladder{}); err != nil {
		t.Fatal(err)
	}
	await(t, "the end of the group", p.Gone())
}

// TestAttendStranger: one that has left the group and holds the pipe is given up.
func TestAttendStranger(t *testing.T) {
	h := newTestHost(t, HostOptions{Guard: true, Subreaper: true})
	s := shSpec(`setsid sleep 1000 & echo done`)
	s.Attended = true
	p := mustStart(t, h, s)
	await(t, "the end of the leader", attend(p))
	await(t, "the end", p.Gone())
}

// TestRelease: who attends is called away, and the output is read on.
func TestRelease(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	out := newOutput()
	s := shSpec("echo here; read line; echo on")
	in, word, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, in)
	s.Stdin, s.Output, s.Attended = in, out.add, true
	p := mustStart(t, h, s)
	over := attend(p)
	out.await(t, "here")
	if isClosed(over) {
		t.Fatal("it runs, and nobody attends it")
	}
	p.Release()
	await(t, "the end of Attend", over)
	if err := word.Close(); err != nil {
		t.Fatal(err)
	}
	out.await(t, "on")
	await(t, "the end", p.Gone())
	// The seat is as good as new: the bell does not ring any more.
	s = shSpec("sleep 0.1")
	s.Attended = true
	p = mustStart(t, h, s)
	p.Attend()
	if !isClosed(p.Exited()) {
		t.Error("the next one was left while it ran")
	}
}

// TestAttendMany: those who find no seat get the same by other means.
func TestAttendMany(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	in, word, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, in)
	var (
		all  sync.WaitGroup
		outs []*output
		done []*Process
	)
	for range maxSeats + 5 {
		out := newOutput()
		s := shSpec("echo here; cat; echo over")
		s.Stdin, s.Output, s.Attended = in, out.add, true
		p := mustStart(t, h, s)
		all.Go(p.Attend)
		outs, done = append(outs, out), append(done, p)
	}
	for _, out := range outs {
		out.await(t, "here")
	}
	if err := word.Close(); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	for i, p := range done {
		await(t, "the end", p.Gone())
		if outs[i].get(Stdout) != "here\nover\n" {
			t.Errorf("%d: %q", i, outs[i].get(Stdout))
		}
	}
	if h.seats.taken != 0 || len(h.seats.free) != maxSeats {
		t.Errorf("%d seats are taken and %d free, want none and %d", h.seats.taken, len(h.seats.free), maxSeats)
	}
}

// TestAttendWithoutPidfd: an old kernel has none.
func TestAttendWithoutPidfd(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	out := newOutput()
	s := shSpec("echo here")
	s.Output, s.Attended = out.add, true
	l, err := h.launch(&s)
	if err != nil {
		t.Fatal(err)
	}
	p := h.newProcess("sh")
	files, err := h.connect(&s, p)
	if err != nil {
		t.Fatal(err)
	}
	l.files = files.numbers()
	h.seat(&s, l, p)
	l.wantPidfd = false
	if err := h.spawn(l, p, true); err != nil {
		t.Fatal(err)
	}
	files.close()
	h.listen(l, p, files.captures)
	p.Attend() // nothing to do
	await(t, "the end", p.Gone())
	if out.get(Stdout) != "here\n" {
		t.Errorf("%q was read", out.get(Stdout))
	}
}

// TestAttendFailedStart: what cannot be started takes neither seat nor descriptor.
func TestAttendFailedStart(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	if _, err := h.Start(Spec{Argv: []string{"/bin/true"}, Dir: "/nowhere", Attended: true}); err == nil {
		t.Fatal("a program was started in a directory that is not there")
	}
	before := descriptors(t)
	for range 10 {
		_, err := h.Start(Spec{Argv: []string{"/bin/true"}, Dir: "/nowhere", Attended: true})
		if err == nil || !strings.Contains(err.Error(), "/nowhere") {
			t.Errorf("got %v", err)
		}
	}
	if after := descriptors(t); after != before || h.seats.taken != 0 {
		t.Errorf("%d descriptors are open, were %d; %d seats are taken", after, before, h.seats.taken)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestThreadsStay is about the Go runtime: the life of an attended program is tied to the
// thread that has started it, which must not end before procops does.
func TestThreadsStay(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	started := make(chan *Process)
	go func() {
		p, err := h.Start(Spec{Argv: []string{"/bin/sleep", "1000"}, Attended: true})
		if err != nil {
			t.Error(err)
		}
		started <- p
	}()
	p := <-started
	over := attend(p)
	// Many threads, which are idle afterwards.
	var crowd sync.WaitGroup
	for range 200 {
		crowd.Go(func() { _ = syscall.Nanosleep(&syscall.Timespec{Nsec: int64(10 * time.Millisecond)}, nil) })
	}
	crowd.Wait()
	for range 5 {
		runtime.GC()
	}
	if isClosed(p.Exited()) {
		t.Fatalf("the program has ended: %s", p.Exit().Text())
	}
	if err := p.Stop(t.Context(), Ladder{}); err != nil {
		t.Fatal(err)
	}
	await(t, "the end", over)
}
