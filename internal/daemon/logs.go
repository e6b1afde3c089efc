package daemon

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"procops/internal/logging"
	"procops/internal/proc"
)

const (
	// queueLimit is how many bytes of output may wait for a slow disk.
	queueLimit = 4 << 20
	// logPatience is how long a turn is held up by a disk that takes nothing, before
	// its output is dropped and counted.
	logPatience = 10 * time.Second
	// maxLine is how many bytes of a line are written in one piece.
	maxLine = 64 << 10
)

// logs are the files that a daemon writes: its own, which its instances share, and the
// one that all daemons share. A line is
//
//	2026-11-22T10:54:12.345678Z 4711 1 out text
//
// with the time, the pid of the daemon, its instance, the stream (out, err, or "*" for
// what procops says) and the text.
type logs struct {
	own, common *logFile // common may be nil
	id          ID
	head        string // pid and instance
	tell        func(proc.Stream, []byte)

	mu    sync.Mutex
	lines map[proc.Stream]*bytes.Buffer // begun and not ended
}

// logFile is a file and the queue before it.
type logFile struct {
	file  *logging.File
	queue *logging.Queue
}

// LogPath returns the path of the log that the instances of a daemon share.
func (c Config) LogPath(id ID, stateDir string) string {
	dir := c.LogDir
	if dir == "" {
		dir = filepath.Join(stateDir, "logs")
	}
	id.Instance = 0
	return filepath.Join(dir, id.String()+".log")
}

func openLogs(cfg Config, id ID, deps Deps) (*logs, error) {
	l := &logs{
		id: id, head: strconv.Itoa(os.Getpid()) + " " + strconv.Itoa(id.Number()) + " ", tell: deps.Output,
		lines: map[proc.Stream]*bytes.Buffer{proc.Stdout: {}, proc.Stderr: {}},
	}
	var err error
	if l.own, err = openLog(cfg.LogPath(id, deps.StateDir), cfg.Rotation, deps); err != nil {
		return nil, err
	}
	if cfg.CommonLog != "" {
		if l.common, err = openLog(cfg.CommonLog, cfg.Rotation, deps); err != nil {
			return nil, errors.Join(err, l.own.close(context.Background()))
		}
	}
	return l, nil
}

func openLog(path string, cfg RotationConfig, deps Deps) (*logFile, error) {
	file, err := logging.OpenFile(path, logging.Rotation{
		Shared:  true, // by instances, and by daemons
		MaxSize: cfg.MaxSize, MaxFiles: cfg.MaxFiles, MaxAge: cfg.MaxAge.Std(), Compress: cfg.Compress,
		OnError: func(err error) { deps.Log.Warn().Err(err).Msg("log rotation") },
	})
	if err != nil {
		return nil, err
	}
	f := &logFile{file: file, queue: logging.NewQueue(file, queueLimit)}
	f.queue.OnError = func(err error) {
		deps.Log.Error().Err(err).Msg("cannot write the log; output is dropped until it can be written again")
	}
	return f, nil
}

// output takes what a turn writes. It is called from one goroutine for each stream.
func (l *logs) output(stream proc.Stream, data []byte) {
	if l.tell != nil {
		l.tell(stream, data)
	}
	l.own.queue.Await(logPatience)
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	rest := l.lines[stream]
	for len(data) > 0 {
		line, after, ended := bytes.Cut(data, []byte{'\n'})
		if room := maxLine - rest.Len(); len(line) > room {
			line, after, ended = data[:room], data[room:], true
		}
		data = after
		if !ended {
			rest.Write(line)
			return
		}
		l.own.line(now, l.head, streamWord(stream), rest.Bytes(), line)
		rest.Reset()
	}
}

// endTurn ends the lines that a turn has left unfinished.
func (l *logs) endTurn() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, stream := range []proc.Stream{proc.Stdout, proc.Stderr} {
		if rest := l.lines[stream]; rest.Len() > 0 {
			l.own.line(time.Now(), l.head, streamWord(stream), rest.Bytes())
			rest.Reset()
		}
	}
}

func streamWord(s proc.Stream) string {
	if s == proc.Stderr {
		return "err"
	}
	return "out"
}

// say writes what procops has to say of the daemon into its log and the common one.
func (l *logs) say(what, text string) {
	if text != "" {
		what += ": " + text
	}
	now := time.Now()
	l.own.line(now, l.head, "*", []byte(what))
	if l.common != nil {
		l.common.line(now, l.head, "*", []byte(l.id.String()+" "+what))
	}
}

func (f *logFile) line(at time.Time, head, stream string, text ...[]byte) {
	f.queue.Append(func(dst []byte) []byte {
		dst = at.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000Z")
		dst = append(dst, ' ')
		dst = append(append(dst, head...), stream...)
		dst = append(dst, ' ')
		for _, part := range text {
			dst = append(dst, part...)
		}
		return append(dst, '\n')
	})
}

// reopen opens the files again, for log rotation from outside.
func (l *logs) reopen() error {
	err := l.own.file.Reopen()
	if l.common != nil {
		err = errors.Join(err, l.common.file.Reopen())
	}
	return err
}

func (l *logs) close(ctx context.Context) error {
	err := l.own.close(ctx)
	if l.common != nil {
		err = errors.Join(err, l.common.close(ctx))
	}
	return err
}

func (f *logFile) close(ctx context.Context) error {
	return errors.Join(f.queue.Close(ctx), f.file.Close())
}
