package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"procops/internal/event"
	"procops/internal/logging"
	"procops/internal/supervise"
)

const (
	// consoleQueue is how many bytes may wait for a reader who is slow or has
	// stopped; what comes beyond is dropped and the reader is told how much.
	consoleQueue = 4 << 20
	// widestName is the widest column of names; longer ones stick out.
	widestName = 24
	// lineTime is RFC 3339 with milliseconds.
	lineTime = "2006-01-02T15:04:05.000Z07:00"
)

// The marks between name and text say who speaks.
const (
	markStdout  = "|"
	markStderr  = "!"
	markProcops = "*"
)

// lineStyle says how a line of output is written.
type lineStyle struct {
	json     bool           // as JSON, whatever else is set
	bare     bool           // without the name
	times    bool           // with the time
	location *time.Location // of the times
	width    int            // of the column of names
	colours  palette
}

// newLineStyle returns a style whose column of names is wide enough for them.
func newLineStyle(names []string, bare bool) lineStyle {
	s := lineStyle{bare: bare, location: time.Local}
	for _, n := range names {
		s.width = min(max(s.width, len(n)), widestName)
	}
	return s
}

// line appends a line of a process's output.
func (s lineStyle) line(dst []byte, l supervise.LogLine) []byte {
	if s.json {
		return appendJSON(dst, l)
	}
	mark := markStdout
	if l.Stream == streamStderr {
		mark = markStderr
	}
	dst = s.begin(dst, l.Time, l.Name, mark)
	dst = append(dst, l.Text...)
	if s.colours.on && strings.ContainsRune(l.Text, '\x1b') {
		dst = append(dst, resetColour...)
	}
	return append(dst, '\n')
}

// streamStderr is how a LogLine names standard error.
const streamStderr = "stderr"

// begin appends what stands before the text of a line.
func (s lineStyle) begin(dst []byte, at time.Time, name, mark string) []byte {
	if s.times {
		dst = append(at.In(s.location).AppendFormat(dst, lineTime), ' ')
	}
	if s.bare {
		return dst
	}
	dst = s.colours.paint(dst, nameColour(name), name)
	for range s.width - len(name) {
		dst = append(dst, ' ')
	}
	markColour := dim
	if mark == markStderr {
		markColour = red
	}
	return append(s.colours.paint(append(dst, ' '), markColour, mark), ' ')
}

// note appends a line of procops' own about name.
func (s lineStyle) note(dst []byte, at time.Time, name, text string, c colour) []byte {
	if s.bare {
		dst = append(s.begin(dst, at, "", ""), "procops: "...)
		if name != procopsName {
			dst = append(append(dst, name...), ": "...)
		}
	} else {
		dst = s.begin(dst, at, name, markProcops)
	}
	return append(s.colours.paint(dst, c, text), '\n')
}

func appendJSON(dst []byte, v any) []byte {
	// What is written here are structs of strings, numbers and times, which
	// cannot fail to encode.
	raw, _ := json.Marshal(v)
	return append(append(dst, raw...), '\n')
}

// procopsName stands for procops itself in the column of names.
const procopsName = "procops"

// console is where `supervise run` writes: the output of the processes and what
// procops has to say about them. Nothing it does blocks.
type console struct {
	out, err           *logging.Queue // the same one if both lead to the same place
	outStyle, errStyle lineStyle
	quiet              bool
	describe           describer
}

// consoleStreams are the two ends of a console.
type consoleStreams struct {
	out, err               io.Writer
	outColours, errColours palette
	same                   bool // both lead to the same place
}

func newConsole(streams consoleStreams, style lineStyle, quiet bool, describe describer) *console {
	c := &console{outStyle: style, errStyle: style, quiet: quiet, describe: describe}
	c.outStyle.colours, c.errStyle.colours = streams.outColours, streams.errColours
	c.err = logging.NewQueue(streams.err, consoleQueue)
	c.err.OnGap = c.errStyle.gap
	c.out = c.err
	if !streams.same {
		c.out = logging.NewQueue(streams.out, consoleQueue)
		c.out.OnGap = c.outStyle.gap
	}
	return c
}

// gap appends the notice of lines that are missing.
func (s lineStyle) gap(dst []byte, dropped uint64) []byte {
	text := fmt.Sprintf("%d lines are missing here: they were not read as fast", dropped)
	if s.json {
		return s.line(dst, supervise.LogLine{Time: time.Now(), Name: procopsName, Stream: streamStderr, Text: text})
	}
	return s.note(dst, time.Now(), procopsName, text, yellow)
}

// line writes a line of a process's output, unless the console is quiet.
func (c *console) line(l supervise.LogLine) {
	if !c.quiet {
		c.show(l)
	}
}

// show writes a line of a process's output: what it wrote to its standard error
// to ours, except as JSON, which names the stream.
func (c *console) show(l supervise.LogLine) {
	switch {
	case l.Stream == streamStderr && !c.errStyle.json:
		c.err.Append(func(dst []byte) []byte { return c.errStyle.line(dst, l) })
	default:
		c.out.Append(func(dst []byte) []byte { return c.outStyle.line(dst, l) })
	}
}

// event writes what an event of the tree has to say.
func (c *console) event(e event.Event) {
	if c.errStyle.json {
		c.err.Append(func(dst []byte) []byte { return appendJSON(dst, e) })
		return
	}
	if n, ok := c.describe.event(e); ok {
		c.note(e.Time, e.Subject, n.text, n.colour)
	}
}

// say writes a line of procops' own about no process in particular.
func (c *console) say(format string, args ...any) {
	if !c.errStyle.json {
		c.note(time.Now(), procopsName, fmt.Sprintf(format, args...), bold)
	}
}

func (c *console) note(at time.Time, name, text string, paint colour) {
	if name == "" {
		name = procopsName
	}
	c.err.Append(func(dst []byte) []byte { return c.errStyle.note(dst, at, name, text, paint) })
}

// close writes out what is queued, until ctx ends.
func (c *console) close(ctx context.Context) error {
	return errors.Join(c.out.Close(ctx), c.err.Close(ctx))
}
