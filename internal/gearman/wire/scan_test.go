package wire

import (
	"bytes"
	"errors"
	"testing"
)

// scanAll takes packets from a stream that comes in pieces of the given size, and
// returns what was taken and why it ended.
func scanAll(t *testing.T, stream []byte, m Magic, piece int) (taken []string, err error) {
	t.Helper()
	var (
		p    Packet
		have int
	)
	for begin := 0; ; {
		size, err := p.Scan(stream[begin:have], m, 1<<20)
		switch {
		case err != nil && !errors.Is(err, ErrArguments) && !errors.Is(err, ErrDirection):
			return taken, err
		case begin+int(size) > len(stream):
			return taken, nil
		case size > int64(have-begin):
			have = min(len(stream), have+piece)
			continue
		case err != nil:
			taken = append(taken, err.Error())
		default:
			taken = append(taken, argsOf(t, &p))
		}
		begin += int(size)
	}
}

// TestScan compares with what a Reader reads, whatever the pieces.
func TestScan(t *testing.T) {
	for _, m := range []Magic{Request, Response} {
		var stream []byte
		for _, typ := range knownTypes(m) {
			stream = appended(t, stream, m, typ, sample(typ)...)
			stream = appendHeader(stream, m, typ, 1) // one argument, which is not always what is wanted
			stream = append(stream, 'x')
		}
		stream = appended(t, stream, Request, EchoReq, large(3*bufferSize))
		want := readStream(t, stream, m)
		for _, piece := range []int{1, 7, 12, 4096, len(stream)} {
			got, err := scanAll(t, stream, m, piece)
			if m == Response && !errors.Is(err, ErrMagic) || m == Request && err != nil {
				t.Errorf("pieces of %d: %v", piece, err)
			}
			if len(got) != len(want) {
				t.Fatalf("pieces of %d: %d packets, want %d", piece, len(got), len(want))
			}
			for i := range got {
				if got[i] != want[i] {
					t.Errorf("pieces of %d: %s, want %s", piece, got[i], want[i])
				}
			}
		}
	}
}

// readStream returns what a Reader takes from a stream.
func readStream(t *testing.T, stream []byte, m Magic) (read []string) {
	t.Helper()
	r := NewReader(bytes.NewReader(stream), m, 1<<20)
	for {
		p, err := r.Next()
		switch {
		case errors.Is(err, ErrArguments) || errors.Is(err, ErrDirection):
			read = append(read, err.Error())
		case err != nil:
			return read
		default:
			read = append(read, argsOf(t, p))
		}
	}
}

func TestScanRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		raw  string
		want error
	}{
		"magic":     {"\x00RES", ErrMagic},
		"type 5":    {string(appendHeader(nil, Request, 5, 0)), ErrType},
		"type 43":   {string(appendHeader(nil, Request, 43, 0)), ErrType},
		"too large": {string(appendHeader(nil, Request, EchoReq, 1<<20+1)), ErrSize},
	} {
		var p Packet
		if size, err := p.Scan([]byte(c.raw), Request, 1<<20); !errors.Is(err, c.want) || size != 0 {
			t.Errorf("%s: %d, %v, want %v", name, size, err, c.want)
		}
	}
}

func TestScanAllocatesNothing(t *testing.T) {
	raw := appended(t, nil, Request, SubmitJobBg, "function", "unique", "workload")
	out := make([]byte, 0, 64)
	var p Packet
	if n := testing.AllocsPerRun(100, func() {
		_, _ = p.Scan(raw, Request, MaxBody)
		out = append(AppendHeader(out[:0], Response, JobCreated, 3), "H:1"...)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
