package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// sample returns arguments for a packet of a type, each different.
func sample(t Type) []string {
	args := make([]string, t.Args())
	for i := range args {
		args[i] = fmt.Sprintf("%s-%d", t, i)
	}
	if len(args) > 0 {
		args[len(args)-1] += "\x00\x00behind NULs\x00"
	}
	return args
}

// knownTypes returns all types that packets of magic m have.
func knownTypes(m Magic) (all []Type) {
	for t := range Type(len(forms)) {
		if t.Goes(m) {
			all = append(all, t)
		}
	}
	return all
}

func appended(tb testing.TB, dst []byte, m Magic, t Type, args ...string) []byte {
	tb.Helper()
	dst, err := Append(dst, m, t, args...)
	if err != nil {
		tb.Fatal(err)
	}
	return dst
}

// argsOf returns all arguments of a packet, and its type in front.
func argsOf(tb testing.TB, p *Packet) string {
	tb.Helper()
	text := p.Type.String()
	for i := range p.Type.Args() - 1 {
		text += fmt.Sprintf(" %q", p.Arg(i))
	}
	if p.Type.Args() == 0 {
		return text
	}
	data, err := p.Data()
	if err != nil {
		tb.Fatal(err)
	}
	return text + fmt.Sprintf(" %q", data)
}

func TestTypes(t *testing.T) {
	requests, responses := knownTypes(Request), knownTypes(Response)
	if len(requests) != 30 || len(responses) != 17 {
		t.Errorf("%d types of requests, %d of responses", len(requests), len(responses))
	}
	seen := map[string]Type{}
	for typ := range Type(len(forms)) {
		if typ.Known() == (typ == 0 || typ == 5) {
			t.Errorf("%d known: %v", typ, typ.Known())
		}
		if other, twice := seen[typ.String()]; twice {
			t.Errorf("%d and %d are both called %s", typ, other, typ)
		}
		seen[typ.String()] = typ
		if typ.Args() > maxArgs {
			t.Errorf("%s has %d arguments", typ, typ.Args())
		}
	}
	for _, typ := range []Type{0, 5, Type(len(forms)), 1 << 31} {
		if typ.Known() || typ.Goes(Request) || typ.Goes(Response) || typ.Args() != 0 || !strings.HasPrefix(typ.String(), "type ") {
			t.Errorf("%d passes for a known type", uint32(typ))
		}
	}
}

// TestBytes compares with packets written by hand.
func TestBytes(t *testing.T) {
	for _, c := range []struct {
		magic Magic
		typ   Type
		args  []string
		want  string
	}{
		{Request, SubmitJobBg, []string{"f", "u", "a\x00b"}, "\x00REQ\x00\x00\x00\x12\x00\x00\x00\x07f\x00u\x00a\x00b"},
		{Request, PreSleep, nil, "\x00REQ\x00\x00\x00\x04\x00\x00\x00\x00"},
		{Response, JobCreated, []string{"H:vm:1"}, "\x00RES\x00\x00\x00\x08\x00\x00\x00\x06H:vm:1"},
		{Response, Error, []string{"CODE", ""}, "\x00RES\x00\x00\x00\x13\x00\x00\x00\x05CODE\x00"},
	} {
		if got := appended(t, nil, c.magic, c.typ, c.args...); string(got) != c.want {
			t.Errorf("%s: %q, want %q", c.typ, got, c.want)
		}
	}
}

// TestSplit reads every type of packet, split at every byte, small and larger
// than the buffer.
func TestSplit(t *testing.T) {
	for _, m := range []Magic{Request, Response} {
		var (
			stream []byte
			want   []string
		)
		for _, typ := range knownTypes(m) {
			args := sample(typ)
			stream = appended(t, stream, m, typ, args...)
			text := typ.String()
			for _, arg := range args {
				text += fmt.Sprintf(" %q", arg)
			}
			want = append(want, text)
		}
		for cut := range stream {
			r := NewReader(io.MultiReader(bytes.NewReader(stream[:cut]), bytes.NewReader(stream[cut:])), m, 0)
			readsAll(t, r, want)
			// The stream ends here: all packets before are whole.
			r = NewReader(bytes.NewReader(stream[:cut]), m, 0)
			endsWith(t, r, cut, stream)
		}
		readsAll(t, NewReader(iotest.OneByteReader(bytes.NewReader(stream)), m, 0), want)
	}
}

func readsAll(t *testing.T, r *Reader, want []string) {
	t.Helper()
	for _, text := range want {
		p, err := r.Next()
		if err != nil {
			t.Fatalf("%v instead of %s", err, text)
		}
		if got := argsOf(t, p); got != text {
			t.Fatalf("%s, want %s", got, text)
		}
	}
	for range 2 {
		if _, err := r.Next(); !errors.Is(err, io.EOF) {
			t.Fatalf("at the end: %v", err)
		}
	}
}

// endsWith checks that the end of a stream is io.EOF between two packets only.
func endsWith(t *testing.T, r *Reader, cut int, stream []byte) {
	t.Helper()
	read := 0
	for {
		p, err := r.Next()
		if err == nil {
			size := 0
			for i := range p.Type.Args() - 1 {
				size += len(p.Arg(i)) + 1
			}
			read += headerSize + size + int(p.Size())
			continue
		}
		want := io.ErrUnexpectedEOF
		if read == cut {
			want = io.EOF
		}
		if !errors.Is(err, want) {
			t.Fatalf("cut at %d of %d, %d read: %v, want %v", cut, len(stream), read, err, want)
		}
		return
	}
}

// large is a workload that does not fit into the buffer.
func large(size int) string { return strings.Repeat("0123456789abcde\x00", size/16) }

func TestLarge(t *testing.T) {
	for _, size := range []int{bufferSize - 64, bufferSize, 3 << 20} {
		work := large(size)
		stream := appended(t, nil, Request, SubmitJob, "f", "u", work)
		stream = appended(t, stream, Request, EchoReq, "after")
		for name, read := range map[string]func(*Packet) (string, error){
			"data": func(p *Packet) (string, error) { d, err := p.Data(); return string(d), err },
			"stream": func(p *Packet) (string, error) {
				d, err := io.ReadAll(struct{ io.Reader }{p.Stream()})
				return string(d), err
			},
			"copy": func(p *Packet) (string, error) {
				var b strings.Builder
				n, err := io.Copy(&b, p.Stream())
				if err == nil && n != p.Size() {
					err = fmt.Errorf("%d bytes copied", n)
				}
				return b.String(), err
			},
			"stream, then data": func(p *Packet) (string, error) {
				begin := make([]byte, 100)
				if _, err := io.ReadFull(p.Stream(), begin); err != nil {
					return "", err
				}
				d, err := p.Data()
				return string(begin) + string(d), err
			},
			"nothing": func(*Packet) (string, error) { return work, nil },
		} {
			r := NewReader(iotest.HalfReader(bytes.NewReader(stream)), Request, 0)
			p, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if string(p.Arg(0)) != "f" || string(p.Arg(1)) != "u" || p.Size() != int64(len(work)) {
				t.Errorf("%s of %d: %q %q, size %d", name, size, p.Arg(0), p.Arg(1), p.Size())
			}
			if got, err := read(p); err != nil || got != work {
				t.Errorf("%s of %d: %d bytes, %v", name, size, len(got), err)
			}
			if string(p.Arg(0)) != "f" {
				t.Errorf("%s of %d: the function is %q after reading the workload", name, size, p.Arg(0))
			}
			p, err = r.Next()
			if err != nil || argsOf(t, p) != `ECHO_REQ "after"` {
				t.Errorf("%s of %d: then %v", name, size, err)
			}
		}
		cut := NewReader(bytes.NewReader(stream[:bufferSize-100]), Request, 0)
		p, err := cut.Next()
		if err == nil {
			_, err = p.Data()
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut off: %v", err)
		}
	}
}

// TestLyingHeader has a header announce 4 GiB: memory is for what comes.
func TestLyingHeader(t *testing.T) {
	head, err := AppendHead(nil, Request, EchoReq, MaxBody)
	if err != nil {
		t.Fatal(err)
	}
	r := NewReader(io.MultiReader(bytes.NewReader(head), strings.NewReader(large(bufferSize))), Request, 0)
	p, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	data, err := p.Data()
	if !errors.Is(err, io.ErrUnexpectedEOF) || len(data) != bufferSize || cap(data) > firstGrab {
		t.Errorf("%v, %d bytes in %d", err, len(data), cap(data))
	}
	if _, err := r.Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("then: %v", err)
	}
}

func TestRefuses(t *testing.T) {
	header := func(m Magic, typ Type, size uint32) string { return string(appendHeader(nil, m, typ, size)) }
	after := string(appendHeader(nil, Request, PreSleep, 0))
	for name, c := range map[string]struct {
		stream string
		want   error
		goesOn bool
	}{
		"magic":                 {"\x00RE", io.ErrUnexpectedEOF, false},
		"response":              {header(Response, JobCreated, 0), ErrMagic, false},
		"text":                  {"status\r\n", ErrMagic, false},
		"short text":            {"HTTP", ErrMagic, false},
		"type 0":                {header(Request, 0, 0), ErrType, false},
		"type 5":                {header(Request, 5, 0), ErrType, false},
		"type 43":               {header(Request, 43, 0), ErrType, false},
		"type 2^32-1":           {header(Request, 1<<32-1, 0), ErrType, false},
		"too large":             {header(Request, EchoReq, 101) + large(112)[:101], ErrSize, false},
		"direction":             {header(Request, JobCreated, 3) + "H:1", ErrDirection, true},
		"argument where none":   {header(Request, PreSleep, 1) + "x", ErrArguments, true},
		"too few":               {header(Request, SubmitJob, 3) + "f\x00u", ErrArguments, true},
		"none":                  {header(Request, SubmitJobSched, 0), ErrArguments, true},
		"cut off in the header": {header(Request, EchoReq, 10)[:11], io.ErrUnexpectedEOF, false},
		"cut off in the body":   {header(Request, EchoReq, 10) + "123", io.ErrUnexpectedEOF, false},
	} {
		stream := strings.NewReader(c.stream)
		from := io.Reader(stream)
		if c.goesOn {
			from = io.MultiReader(stream, strings.NewReader(after))
		}
		r := NewReader(from, Request, 100)
		if _, err := r.Next(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		p, err := r.Next()
		if c.goesOn && (err != nil || p.Type != PreSleep) || !c.goesOn && !errors.Is(err, c.want) {
			t.Errorf("%s, then: %v", name, err)
		}
	}
}

// TestRefusesLarge is TestRefuses for what does not fit into the buffer.
func TestRefusesLarge(t *testing.T) {
	const size = 3 * bufferSize
	after := appended(t, nil, Request, PreSleep)
	for name, c := range map[string]struct {
		typ  Type
		body string
		want error
	}{
		"direction":           {JobCreated, large(size), ErrDirection},
		"argument where none": {PreSleep, large(size), ErrArguments},
		"too few":             {SubmitJob, strings.Repeat("x", size), ErrArguments},
		"long function":       {SubmitJob, strings.Repeat("x", maxHead) + "\x00" + strings.Repeat("x", size-maxHead-1), ErrArguments},
	} {
		stream := appendHeader(nil, Request, c.typ, size)
		stream = append(append(stream, c.body...), after...)
		r := NewReader(bytes.NewReader(stream), Request, 0)
		if _, err := r.Next(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if p, err := r.Next(); err != nil || p.Type != PreSleep {
			t.Errorf("%s, then: %v", name, err)
		}
	}
}

func TestAppendRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		magic Magic
		typ   Type
		args  []string
		want  error
	}{
		"unknown type":        {Request, 5, nil, ErrType},
		"direction":           {Request, JobCreated, []string{"H:1"}, ErrDirection},
		"none of three":       {Request, SubmitJob, nil, ErrArguments},
		"two of three":        {Request, SubmitJob, []string{"f", "u"}, ErrArguments},
		"four of three":       {Request, SubmitJob, []string{"f", "u", "w", "x"}, ErrArguments},
		"argument where none": {Request, PreSleep, []string{"x"}, ErrArguments},
		"NUL":                 {Request, SubmitJob, []string{"f\x00", "u", "w"}, ErrArguments},
	} {
		got, err := Append([]byte("before"), c.magic, c.typ, c.args...)
		if !errors.Is(err, c.want) || string(got) != "before" {
			t.Errorf("%s: %v, want %v; %q", name, err, c.want, got)
		}
	}
	for _, size := range []int64{-1, MaxBody + 1, MaxBody - 3} {
		if _, err := AppendHead(nil, Request, SubmitJob, size, "f", "u"); !errors.Is(err, ErrSize) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

// TestSharedBuffer alternates text and packets on one connection, as the
// admin protocol does.
func TestSharedBuffer(t *testing.T) {
	stream := appended(t, []byte("status\n"), Request, EchoReq, "x")
	from := bufio.NewReaderSize(iotest.OneByteReader(bytes.NewReader(append(stream, "version\n"...))), bufferSize)
	r := NewReader(from, Request, 0)
	if line, err := from.ReadString('\n'); err != nil || line != "status\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if p, err := r.Next(); err != nil || argsOf(t, p) != `ECHO_REQ "x"` {
		t.Fatal(err)
	}
	if err := r.skip(); err != nil {
		t.Fatal(err)
	}
	if line, err := from.ReadString('\n'); err != nil || line != "version\n" {
		t.Fatalf("%q, %v", line, err)
	}
}

func TestSmallPacketsAllocateNothing(t *testing.T) {
	buf := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() {
		buf, _ = Append(buf[:0], Request, SubmitJobBg, "function", "unique", "workload")
	}); n > 0 {
		t.Errorf("writing allocates %v times", n)
	}
	again := &endless{packet: buf}
	r := NewReader(again, Request, 0)
	if n := testing.AllocsPerRun(1000, func() { readOne(t, r) }); n > 0 {
		t.Errorf("reading allocates %v times", n)
	}
}

// endless is a stream of one packet again and again.
type endless struct {
	packet []byte
	at     int
}

func (e *endless) Read(p []byte) (n int, _ error) {
	for n < len(p) {
		c := copy(p[n:], e.packet[e.at:])
		n += c
		e.at = (e.at + c) % len(e.packet)
	}
	return n, nil
}

func readOne(tb testing.TB, r *Reader) {
	p, err := r.Next()
	if err != nil {
		tb.Fatal(err)
	}
	if data, err := p.Data(); err != nil || len(p.Arg(0)) == 0 || int64(len(data)) != p.Size() {
		tb.Fatal("not what was written")
	}
}

func BenchmarkRead(b *testing.B) {
	for name, size := range map[string]int{"64B": 64, "4KB": 4 << 10, "5MB": 5 << 20} {
		b.Run(name, func(b *testing.B) {
			packet := appended(b, nil, Request, SubmitJobBg, "function", "unique", large(size))
			r := NewReader(&endless{packet: packet}, Request, 0)
			b.SetBytes(int64(len(packet)))
			b.ReportAllocs()
			for b.Loop() {
				p, err := r.Next()
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, p.Stream()); err != nil || n != int64(size) {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = Append(buf[:0], Request, SubmitJobBg, "function", "unique", "workload"); err != nil {
			b.Fatal(err)
		}
	}
}
