package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
)

// headerSize is the size of a packet without its body.
const headerSize = 12

// MaxBody is the largest body that a header can announce.
const MaxBody = math.MaxUint32

// Append appends a packet to dst. It has as many arguments as its type wants;
// only the last one may hold NULs. The error is ErrArguments, ErrDirection,
// ErrType or ErrSize; dst is then returned as it was.
func Append(dst []byte, m Magic, t Type, args ...string) ([]byte, error) {
	if len(args) == 0 {
		return AppendHead(dst, m, t, 0)
	}
	last := args[len(args)-1]
	head, err := AppendHead(dst, m, t, int64(len(last)), args[:len(args)-1]...)
	if err != nil {
		return dst, err
	}
	return append(head, last...), nil
}

// AppendHead appends a packet without its last argument, of which size bytes
// are to follow: so a large workload goes out from where it is. The errors are
// those of Append.
func AppendHead(dst []byte, m Magic, t Type, size int64, args ...string) ([]byte, error) {
	if err := sendable(m, t, size, args); err != nil {
		return dst, err
	}
	body := size
	for _, arg := range args {
		body += int64(len(arg)) + 1
	}
	if body > MaxBody {
		return dst, fmt.Errorf("%w: %s with %d bytes", ErrSize, t, body)
	}
	dst = appendHeader(dst, m, t, uint32(body))
	for _, arg := range args {
		dst = append(append(dst, arg...), 0)
	}
	return dst, nil
}

// sendable returns an error if no packet of type t has such arguments, beside
// a last one of size bytes.
func sendable(m Magic, t Type, size int64, args []string) error {
	if !t.Known() {
		return fmt.Errorf("%w: %s", ErrType, t)
	}
	if !t.Goes(m) {
		return fmt.Errorf("%w: %s as a %s", ErrDirection, t, m)
	}
	if size < 0 || size > MaxBody {
		return fmt.Errorf("%w: %s with %d bytes", ErrSize, t, size)
	}
	want := max(0, t.Args()-1)
	if len(args) != want || t.Args() == 0 && size > 0 {
		return fmt.Errorf("%w: %s has %d arguments", ErrArguments, t, t.Args())
	}
	for i, arg := range args {
		if strings.IndexByte(arg, 0) >= 0 {
			return fmt.Errorf("%w: argument %d of %s has a NUL in it", ErrArguments, i+1, t)
		}
	}
	return nil
}

func appendHeader(dst []byte, m Magic, t Type, size uint32) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(m))
	dst = binary.BigEndian.AppendUint32(dst, uint32(t))
	return binary.BigEndian.AppendUint32(dst, size)
}
