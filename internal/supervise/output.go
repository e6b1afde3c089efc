package supervise

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"procops/internal/logging"
	"procops/internal/proc"
)

const (
	// queueLimit is how many bytes of output may wait for a slow disk; what
	// comes beyond is dropped and counted, see Overflow.
	queueLimit = 4 << 20
	// tailLimit is how many bytes of each stream a failure shows.
	tailLimit = 4 << 10
)

// output takes the output of one process, from the goroutines that read its
// pipes: into the log file, the tail for failures, the readiness check, and to
// those who follow.
type output struct {
	name    string
	path    string // of the log file; empty when there is none
	json    bool
	wait    time.Duration // for room in the queue
	file    *logging.File
	queue   *logging.Queue
	before  uint64                    // lines that former supervisors in this process have dropped
	tail    atomic.Pointer[proc.Tail] // of the present run
	hear    func(LogLine)             // of the supervisor; may be nil
	pattern atomic.Pointer[pattern]

	audience *audience
	stamp    stamp // of the last line
}

// audience are those who follow the output of a process. Its lock also makes
// the order in the log file that in which they hear.
type audience struct {
	mu        sync.Mutex
	followers []*follower
}

// follower hears the lines of one who follows a log.
type follower struct{ hear func(LogLine) }

// pattern is an armed readiness check.
type pattern struct {
	expr    *regexp.Regexp
	matched chan struct{}
}

func (p *pattern) matches(l proc.Line) bool { return p.expr.Match(l.Text) }

func newOutput(name string, cfg OutputConfig, deps Deps) (*output, error) {
	o := &output{name: name, json: cfg.Format == formatJSON, wait: cfg.Overflow.patience(), hear: deps.Output, audience: &audience{}}
	o.tail.Store(proc.NewTail(tailLimit))
	if cfg.File == noFile {
		return o, nil
	}
	o.path = logPath(name, cfg, deps.LogDir)
	file, err := logging.OpenFile(o.path, logging.Rotation{
		MaxSize: cfg.MaxSize, MaxFiles: cfg.MaxFiles, MaxAge: cfg.MaxAge.Std(), Compress: cfg.Compress,
		OnError: func(err error) { deps.Log.Warn().Err(err).Str("process", name).Msg("log rotation") },
	})
	if err != nil {
		return nil, err
	}
	o.file = file
	o.queue = logging.NewQueue(file, queueLimit)
	o.queue.OnGap = o.gap
	o.queue.OnError = func(err error) {
		deps.Log.Error().Err(err).Str("process", name).Msg("cannot write the log; output is dropped until it can be written again")
	}
	return o, nil
}

// logPath returns where the output of a process is logged.
func logPath(name string, cfg OutputConfig, dir string) string {
	switch {
	case cfg.File == noFile:
		return ""
	case cfg.File == "":
		return filepath.Join(dir, name+".log")
	case filepath.IsAbs(cfg.File):
		return cfg.File
	default:
		return filepath.Join(dir, cfg.File)
	}
}

// line takes one line.
func (o *output) line(l proc.Line) { o.lines([]proc.Line{l}) }

// lines takes the lines of one read. It is called by one goroutine for each
// stream; the lock makes the order in the log file that in which followers hear.
func (o *output) lines(batch []proc.Line) {
	if o.queue != nil {
		o.queue.Await(o.wait) // before the lock, which those need who follow
	}
	o.audience.mu.Lock()
	defer o.audience.mu.Unlock()
	if o.queue != nil {
		o.queue.AppendAll(len(batch), func(dst []byte, i int) []byte { return o.format(dst, &o.stamp, batch[i]) })
	}
	o.tail.Load().AddAll(batch)
	if p := o.pattern.Load(); p != nil && slices.ContainsFunc(batch, p.matches) && o.pattern.CompareAndSwap(p, nil) {
		close(p.matched)
	}
	if o.hear == nil && len(o.audience.followers) == 0 {
		return
	}
	for _, l := range batch {
		o.tell(l)
	}
}

// bytes returns what takes output as it comes, from one goroutine for each stream.
func (o *output) bytes() func(proc.Stream, []byte) {
	rests := map[proc.Stream][]byte{proc.Stdout: nil, proc.Stderr: nil}
	var mu sync.Mutex
	return func(stream proc.Stream, data []byte) {
		mu.Lock()
		rest := slices.Concat(rests[stream], data)
		end := bytes.LastIndexByte(rest, '\n') + 1
		if end == 0 && len(rest) >= proc.MaxLine {
			end = len(rest)
		}
		rests[stream] = slices.Clone(rest[end:])
		mu.Unlock()
		now := time.Now()
		var batch []proc.Line
		for text := range bytes.Lines(rest[:end]) {
			batch = append(batch, proc.Line{Time: now, Stream: stream, Text: bytes.TrimSuffix(text, []byte{'\n'})})
		}
		if len(batch) > 0 {
			o.lines(batch)
		}
	}
}

// tell lets those hear who want each line. The audience's lock is held.
func (o *output) tell(l proc.Line) {
	line := LogLine{Time: l.Time, Name: o.name, Stream: l.Stream.String(), Text: string(l.Text)}
	if o.hear != nil {
		o.hear(line)
	}
	for _, f := range o.audience.followers {
		f.hear(line)
	}
}

// format appends a line as it stands in the log file.
func (o *output) format(dst []byte, s *stamp, l proc.Line) []byte {
	if o.json {
		return appendJSON(dst, o.name, l)
	}
	return appendText(dst, s.of(l.Time), l.Stream.String(), l.Partial, l.Text)
}

// gap appends the record that stands for dropped ones.
func (o *output) gap(dst []byte, dropped uint64) []byte {
	text := []byte("procops dropped " + strconv.FormatUint(dropped, 10) + " lines here: the log could not be written as fast")
	return o.format(dst, new(stamp), proc.Line{Time: time.Now(), Stream: proc.Stderr, Text: text})
}

// arm prepares for a new run: its tail is empty, and the returned channel is
// closed when a line matches. It is nil without an expression.
func (o *output) arm(expr *regexp.Regexp) <-chan struct{} {
	o.tail.Store(proc.NewTail(tailLimit))
	if expr == nil {
		o.pattern.Store(nil)
		return nil
	}
	p := &pattern{expr: expr, matched: make(chan struct{})}
	o.pattern.Store(p)
	return p.matched
}

// follow calls hear with each line from now on, until the returned function is
// called. hear must not block.
func (o *output) follow(hear func(LogLine)) (cancel func()) {
	a, f := o.audience, &follower{hear: hear}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.followers = append(a.followers, f)
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.followers = slices.DeleteFunc(a.followers, func(x *follower) bool { return x == f })
	}
}

// flush waits until what was said so far is in the log file.
func (o *output) flush(ctx context.Context) error {
	if o.queue == nil {
		return nil
	}
	return o.queue.Flush(ctx)
}

func (o *output) dropped() uint64 {
	if o.queue == nil {
		return o.before
	}
	return o.before + o.queue.Dropped()
}

// reopen closes the log file and opens it again, for log rotation from outside.
func (o *output) reopen() error {
	if o.file == nil {
		return nil
	}
	return o.file.Reopen()
}

func (o *output) close(ctx context.Context) error {
	if o.queue == nil {
		return nil
	}
	return errors.Join(o.queue.Close(ctx), o.file.Close())
}

// jsonLine is a line in a log file of format json.
type jsonLine struct {
	Time    time.Time `json:"time"`
	Process string    `json:"process"`
	Stream  string    `json:"stream"`
	Text    string    `json:"text"`
	Partial bool      `json:"partial,omitempty"`
}

func appendJSON(dst []byte, name string, l proc.Line) []byte {
	// Strings, a time and a boolean cannot fail to encode.
	raw, _ := json.Marshal(jsonLine{Time: l.Time.UTC(), Process: name, Stream: l.Stream.String(), Text: string(l.Text), Partial: l.Partial})
	return append(append(dst, raw...), '\n')
}
