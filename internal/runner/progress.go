package runner

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"procops/internal/proc"
)

// Progress is how far a unit of work has got.
type Progress struct {
	Done, Total uint64  // "Done of Total"; Total is 100 where only a percentage was given, 0 where nothing was
	Percent     float64 // 0 to 100
	Message     string
	State       string                     // the name of the part that begins; empty: it does not say
	Meta        map[string]json.RawMessage // what else there is to know about the unit; nil: nothing new
}

// report is the JSON form of a line of progress.
type report struct {
	Percent *float64                   `json:"percent"`
	Done    *uint64                    `json:"done"`
	Total   *uint64                    `json:"total"`
	Message string                     `json:"message"`
	State   string                     `json:"state"`
	Meta    map[string]json.RawMessage `json:"meta"`
}

// parseProgress reads a line: a JSON object, or "N/M" or "P%" with an optional
// message behind it. Other lines are not progress.
func parseProgress(line []byte) (Progress, bool) {
	line = bytes.TrimSpace(line)
	if len(line) == 0 {
		return Progress{}, false
	}
	if line[0] == '{' {
		return parseReport(line)
	}
	figure, message, _ := strings.Cut(string(line), " ")
	message = strings.TrimSpace(message)
	if number, ok := strings.CutSuffix(figure, "%"); ok {
		percent, err := strconv.ParseFloat(number, 64)
		return fromPercent(percent, message, err == nil)
	}
	n, m, _ := strings.Cut(figure, "/")
	done, err := strconv.ParseUint(n, 10, 64)
	if err != nil {
		return Progress{}, false
	}
	total, err := strconv.ParseUint(m, 10, 64)
	return fromCount(done, total, message, err == nil)
}

func parseReport(line []byte) (Progress, bool) {
	var r report
	if err := json.Unmarshal(line, &r); err != nil {
		return Progress{}, false
	}
	p, ok := Progress{Message: r.Message}, r.Message != ""
	switch {
	case r.Done != nil && r.Total != nil:
		p, ok = fromCount(*r.Done, *r.Total, r.Message, true)
	case r.Percent != nil:
		p, ok = fromPercent(*r.Percent, r.Message, true)
	}
	p.State, p.Meta = r.State, r.Meta
	return p, ok || p.State != "" || len(p.Meta) > 0
}

func fromCount(done, total uint64, message string, ok bool) (Progress, bool) {
	if !ok || total == 0 || done > total {
		return Progress{}, false
	}
	return Progress{Done: done, Total: total, Percent: 100 * float64(done) / float64(total), Message: message}, true
}

func fromPercent(percent float64, message string, ok bool) (Progress, bool) {
	if !ok || math.IsNaN(percent) || percent < 0 || percent > 100 {
		return Progress{}, false
	}
	return Progress{Done: uint64(percent), Total: 100, Percent: percent, Message: message}, true
}

// progressLines returns what takes the lines on descriptor 3. Without a listener
// they are still read: the program need not know whether anybody listens.
func progressLines(tell func(Progress)) func(proc.Line) {
	return func(l proc.Line) {
		if tell == nil {
			return
		}
		if p, ok := parseProgress(l.Text); ok {
			tell(p)
		}
	}
}
