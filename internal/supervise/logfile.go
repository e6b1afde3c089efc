package supervise

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// The format of a log file's lines is that of the container runtime interface
// (CRI): time, stream, tag, text, parted by single spaces. The tag is F for a
// full line and P for a part of a line that goes on in the next one of its
// stream. https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md
const (
	timeLayout = "2006-01-02T15:04:05.000000Z"
	tagFull    = "F"
	tagPart    = "P"
)

// The values of OutputConfig.Format and the special one of OutputConfig.File.
const (
	formatText = "text"
	formatJSON = "json"
	noFile     = "none"
)

// maxTailRead is how much of a log file's end is read for its last lines.
const maxTailRead = 8 << 20

// stamp is the last time that was written: all lines of one read have the same,
// and formatting it would be a fifth of the cost of a flood.
type stamp struct {
	at   time.Time
	text []byte
}

func (s *stamp) of(at time.Time) []byte {
	if !s.at.Equal(at) || s.text == nil {
		s.at, s.text = at, at.UTC().AppendFormat(s.text[:0], timeLayout)
	}
	return s.text
}

func appendText(dst, at []byte, stream string, part bool, text []byte) []byte {
	dst = append(dst, at...)
	dst = append(append(dst, ' '), stream...)
	if part {
		dst = append(dst, " "+tagPart+" "...)
	} else {
		dst = append(dst, " "+tagFull+" "...)
	}
	return append(append(dst, text...), '\n')
}

// Logged returns the config with its instances in it, and further ones as long as
// they have left a log file: how many an operator has asked for is not in the
// config.
func Logged(cfg Config, logDir string) Config {
	counts := map[string]int{}
	for _, n := range cfg.scalable() {
		for counts[n] = cfg.count(n, nil); counts[n] < MaxInstances; counts[n]++ {
			next := counts[n] + 1
			path := logPath(instanceName(n, next), cfg.Process[n].instance(n, next).Output, logDir)
			if _, err := os.Stat(path); err != nil {
				break
			}
		}
	}
	return cfg.expand(counts)
}

// LastLines returns the last n lines of output that the log file of a process
// holds, and none when there is no file.
func LastLines(process string, cfg OutputConfig, logDir string, n int) ([]LogLine, error) {
	return lastLines(process, logPath(process, cfg, logDir), n)
}

func lastLines(process, path string, n int) ([]LogLine, error) {
	if path == "" || n <= 0 {
		return nil, nil
	}
	raw, err := readEnd(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the log of %q: %w", process, err)
	}
	var lines []LogLine
	for record := range bytes.Lines(raw) {
		if l, ok := parseRecord(bytes.TrimSuffix(record, []byte("\n")), process); ok {
			lines = append(lines, l)
		}
	}
	return lines[max(0, len(lines)-n):], nil
}

// readEnd returns the last whole records of a file.
func readEnd(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	from := max(0, size-maxTailRead)
	raw, err := io.ReadAll(io.NewSectionReader(f, from, size-from))
	if err == nil && from > 0 {
		_, raw, _ = bytes.Cut(raw, []byte("\n"))
	}
	return raw, err
}

// parseRecord reads what format has written, in either format.
func parseRecord(record []byte, process string) (LogLine, bool) {
	if len(record) > 0 && record[0] == '{' {
		var j jsonLine
		if err := json.Unmarshal(record, &j); err != nil {
			return LogLine{}, false
		}
		return LogLine{Time: j.Time, Name: process, Stream: j.Stream, Text: j.Text}, true
	}
	fields := bytes.SplitN(record, []byte(" "), 4)
	if len(fields) != 4 {
		return LogLine{}, false
	}
	at, err := time.Parse(timeLayout, string(fields[0]))
	if err != nil {
		return LogLine{}, false
	}
	return LogLine{Time: at, Name: process, Stream: string(fields[1]), Text: string(fields[3])}, true
}
