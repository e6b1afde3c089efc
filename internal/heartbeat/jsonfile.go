package heartbeat

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"procops/internal/fault"
	"procops/internal/store"
)

// jsonFile is the path of a file that holds the last beat of a heartbeat for
// programs that know nothing of the state, such as clients and monitors of php
// component_heartbeat; "" means that the heartbeat has none:
//
//	{"timestamp":1772366400,"uptime":87,"memoryUsage":2097152}
//
// Whoever writes it may be anybody: nothing in it is believed that is not
// complete and plausible.
type jsonFile string

const (
	// maxFileSize is far more than a beat with some fields of the client's own.
	maxFileSize = 64 << 10
	// maxAhead is how far clocks of two machines may be apart. A beat further
	// ahead would hide for as long that its client has died.
	maxAhead = time.Minute
	// A file that makes no sense is read again if somebody has just written to
	// it: he may be between emptying and filling it.
	readTries    = 3
	readPause    = time.Millisecond
	justWritten  = time.Second
	newFilePerm  = 0o644 // before umask
	shownOfField = 32    // bytes of a wrong field in a message
)

// withFile adds what the file of a heartbeat says: its beat, if that is newer
// than the one in the state, or why it cannot be read.
func (l *List) withFile(tx *store.Tx, h Heartbeat) Heartbeat {
	dir := h.Target.Storage
	if dir == "" {
		dir = l.cfg.Storage
	}
	if dir == "" {
		return h
	}
	h.file = jsonFile(filepath.Join(dir, h.Name+".json"))
	b, err := h.file.read(tx.Now())
	switch {
	case err != nil:
		h.unread = err
	case h.Last == nil:
		h.Last = &b
	case b.Time.After(h.Last.Time):
		b.Number = h.Last.Number // only procops counts
		h.Last = &b
	}
	return h
}

// unknowable reports whether nobody can say how the heartbeat is, and why. A
// command that is known to have failed has failed, whatever the file says.
func (h Heartbeat) unknowable() (why string, is bool) {
	if h.unread == nil || h.Last != nil && h.Last.Outcome == Bad {
		return "", false
	}
	return h.unread.Error(), true
}

// tornError is the cause when a file may be a beat that is being written.
type tornError string

func (e tornError) Error() string { return string(e) }

// read reads the beat of the file at a time.
func (f jsonFile) read(now time.Time) (Beat, error) {
	return f.readPatiently(now, func() { <-time.After(readPause) })
}

func (f jsonFile) readPatiently(now time.Time, pause func()) (Beat, error) {
	for try := 1; ; try++ {
		raw, written, err := f.load()
		var b Beat
		if err == nil {
			b, err = parseBeat(raw, now)
		}
		if err == nil {
			return b, nil
		}
		_, torn := errors.AsType[tornError](err)
		if !torn || try == readTries || time.Since(written) > justWritten {
			return Beat{}, fmt.Errorf("cannot read the beat in %q: %w", string(f), err)
		}
		pause()
	}
}

// load reads the file as it is and says when it was last written to.
func (f jsonFile) load() (raw []byte, written time.Time, err error) {
	// Without O_NONBLOCK opening a named pipe waits for its writer.
	file, err := os.OpenFile(string(f), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, time.Time{}, errors.New("it is a symbolic link")
	}
	if err != nil {
		return nil, time.Time{}, withoutPath(err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, time.Time{}, withoutPath(err)
	}
	if !info.Mode().IsRegular() {
		return nil, time.Time{}, errors.New("it is not a regular file")
	}
	raw, err = io.ReadAll(io.LimitReader(file, maxFileSize+1))
	if err != nil {
		return nil, time.Time{}, withoutPath(err)
	}
	if len(raw) > maxFileSize {
		return nil, time.Time{}, fmt.Errorf("it is larger than %d kB", maxFileSize>>10)
	}
	return raw, info.ModTime(), nil
}

// withoutPath returns the cause of an error of package os, whose path the
// message names already.
func withoutPath(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return e.Err
	}
	return err
}

// parseBeat reads the content of a file at a time.
func parseBeat(raw []byte, now time.Time) (Beat, error) {
	if len(bytes.TrimSpace(raw)) == 0 {
		return Beat{}, tornError("it is empty")
	}
	if !json.Valid(raw) {
		return Beat{}, tornError("it is not complete JSON")
	}
	// Not a struct: encoding/json would take "TIMESTAMP" for "timestamp".
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return Beat{}, errors.New("it is not a JSON object")
	}
	at, given, err := number(fields, "timestamp")
	if err != nil {
		return Beat{}, err
	}
	if !given {
		return Beat{}, errors.New("it has no timestamp")
	}
	uptime, _, err := number(fields, "uptime")
	if err != nil {
		return Beat{}, err
	}
	memory, _, err := number(fields, "memoryUsage")
	if err != nil {
		return Beat{}, err
	}
	if at <= 0 {
		return Beat{}, fmt.Errorf("its timestamp %.17g is not a time", at)
	}
	if at > float64(now.Add(maxAhead).UnixMicro())/1e6 {
		return Beat{}, fmt.Errorf("its timestamp %.17g is in the future", at)
	}
	return Beat{
		Time: time.UnixMicro(int64(at * 1e6)),
		Client: Client{
			Uptime: time.Duration(bounded(uptime, time.Duration(longest).Seconds()) * float64(time.Second)),
			Memory: int64(bounded(memory, 1<<62)),
		},
		Outcome: Good,
	}, nil
}

// bounded keeps a number between 0, for clients whose clock was set back, and most.
func bounded(n, most float64) float64 { return min(max(0, n), most) }

// number reads a field that is a number or, as PHP has it, a numeric string;
// given is false if it is missing or null.
func number(fields map[string]json.RawMessage, name string) (n float64, given bool, err error) {
	raw := fields[name]
	text := string(raw)
	if text == "" || text == "null" {
		return 0, false, nil
	}
	if raw[0] == '"' {
		if err := json.Unmarshal(raw, &text); err != nil {
			return 0, false, err
		}
		text = strings.Trim(text, " \t\n\r\v\f") // as PHP does
	}
	n, err = strconv.ParseFloat(text, 64)
	// ParseFloat also knows infinities and hexadecimal numbers.
	if err != nil || strings.Trim(text, "+-.0123456789eE") != "" {
		return 0, false, fmt.Errorf("its %s is %s, want a number", name, shortened(string(raw), shownOfField))
	}
	return n, true, nil
}

// contents is what procops writes into a file: whole numbers, as the clients of
// the seed do, which keep other fields that they find.
type contents struct {
	Timestamp   int64  `json:"timestamp"`
	Uptime      *int64 `json:"uptime"` // null: not known, as the next
	MemoryUsage *int64 `json:"memoryUsage"`
}

// write makes a beat the content of the file. Whoever reads it at the same time
// sees the one before or this one, whole.
func (f jsonFile) write(b Beat) error {
	if f == "" {
		return nil
	}
	err := f.replace(b)
	if err == nil {
		return nil
	}
	e := fault.Wrap(fault.Failure, withoutPath(err), "cannot write the beat to %q", string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return e.WithHint("the directory %q must exist; procops does not make it", filepath.Dir(string(f)))
	}
	return e
}

func (f jsonFile) replace(b Beat) (err error) {
	c := contents{Timestamp: b.Time.Unix()}
	if b.Client != (Client{}) {
		uptime := int64(b.Client.Uptime / time.Second)
		c.Uptime, c.MemoryUsage = &uptime, &b.Client.Memory
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return err
	}
	before, err := os.Lstat(string(f))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && !before.Mode().IsRegular() {
		return errors.New("it is not a regular file")
	}
	dir, name := filepath.Split(string(f))
	// The name does not end in ".json", so that nobody takes it for a heartbeat.
	temporary := filepath.Join(dir, "."+name+"."+rand.Text())
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, newFilePerm)
	if err != nil {
		return err
	}
	_, err = file.Write(append(raw, '\n'))
	if err == nil && before != nil {
		err = dressAs(file, before)
	}
	err = errors.Join(err, file.Close())
	if err == nil {
		err = os.Rename(temporary, string(f))
	}
	if err != nil {
		_ = os.Remove(temporary)
	}
	return err
}

// dressAs gives a file the mode of another and, where the kernel allows it, its
// owner: a client that does not rename must be able to write to it still.
func dressAs(file *os.File, other fs.FileInfo) error {
	if s, ok := other.Sys().(*syscall.Stat_t); ok {
		_ = file.Chown(int(s.Uid), int(s.Gid))
	}
	return file.Chmod(other.Mode().Perm())
}
