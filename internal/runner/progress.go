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
}

// report is the JSON form of a line of progress.
type report struct {
	Percent *float64 `json:"percent"`
	Done    *uint64  `json:"done"`
	Total   *uint64  `json:"total"`
	Message string   `json:"message"`
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
	switch {
	case r.Done != nil && r.Total != nil:
		return fromCount(*r.Done, *r.Total, r.Message, true)
	case r.Percent != nil:
		return fromPercent(*r.Percent, r.Message, true)
	default:
		return Progress{Message: r.Message}, r.Message != ""
	}
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
