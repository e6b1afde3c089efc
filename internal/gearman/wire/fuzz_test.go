package wire

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// FuzzRead reads any bytes. What is read as packets is, written again, the same
// bytes; and it does not matter in which pieces they come. The seeds in
// testdata are what Debian's clients and workers and gearmand said to each
// other (integration/gearman_traffic_test.go).
func FuzzRead(f *testing.F) {
	f.Add([]byte{}, true)
	f.Add([]byte("status\n"), true)
	for _, m := range []Magic{Request, Response} {
		for _, typ := range knownTypes(m) {
			stream := appended(f, nil, m, typ, sample(typ)...)
			f.Add(stream, m == Request)
			f.Add(stream[:len(stream)-1], m == Request)
		}
	}
	f.Add(appended(f, nil, Request, SubmitJob, "f", "u", large(2*bufferSize)), true)
	f.Fuzz(func(t *testing.T, stream []byte, request bool) {
		m := Response
		if request {
			m = Request
		}
		whole, first := readAgain(t, NewReader(bytes.NewReader(stream), m, 1<<20), m)
		pieces, second := readAgain(t, NewReader(iotest.OneByteReader(bytes.NewReader(stream)), m, 1<<20), m)
		if !bytes.Equal(whole, pieces) || first.Error() != second.Error() {
			t.Errorf("%q (%v), in pieces %q (%v)", whole, first, pieces, second)
		}
		if !bytes.HasPrefix(stream, whole) || errors.Is(first, io.EOF) && len(whole) != len(stream) {
			t.Errorf("read %q (%v) from %q", whole, first, stream)
		}
	})
}

// readAgain reads packets up to the first error, and writes them again.
func readAgain(t *testing.T, r *Reader, m Magic) ([]byte, error) {
	t.Helper()
	var again []byte
	for {
		p, err := r.Next()
		if err != nil {
			return again, err
		}
		args := make([]string, 0, maxArgs)
		for i := range p.Type.Args() - 1 {
			args = append(args, string(p.Arg(i)))
		}
		if p.Type.Args() > 0 {
			data, err := p.Data()
			if err != nil {
				return again, err
			}
			args = append(args, string(data))
		}
		again = appended(t, again, m, p.Type, args...)
	}
}
