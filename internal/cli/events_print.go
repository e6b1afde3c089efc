package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"procops/internal/event"
)

// eventPrinter writes events, one on each line.
type eventPrinter struct {
	w     io.Writer
	json  bool
	clock clock
	line  bytes.Buffer
}

func newEventPrinter(w io.Writer, asJSON bool, clock clock) *eventPrinter {
	return &eventPrinter{w: w, json: asJSON, clock: clock}
}

// print writes the events at once, so that whoever reads them gets each as soon
// as it is there.
func (p *eventPrinter) print(events []event.Event) error {
	p.line.Reset()
	encoder := json.NewEncoder(&p.line)
	encoder.SetEscapeHTML(false)
	for _, e := range events {
		if p.json {
			if err := encoder.Encode(e); err != nil {
				return err
			}
			continue
		}
		p.text(e)
	}
	_, err := p.w.Write(p.line.Bytes())
	if errors.Is(err, syscall.EPIPE) {
		// Nobody reads any more, as in `procops events -f | head`: no error, but
		// the end, as for every program in a pipe.
		return &signalError{syscall.SIGPIPE}
	}
	return err
}

// text writes time, type, subject and data. The widths are those of the longest
// types and of usual names; what is longer shifts its line only.
func (p *eventPrinter) text(e event.Event) {
	raw, _ := e.DataJSON() // it was read from JSON
	line := fmt.Sprintf("%s  %-29s  %-15s  %s", p.clock.format(e.Time), oneLine(e.Type), oneLine(e.Subject), flatten(raw))
	p.line.WriteString(strings.TrimRight(line, " "))
	p.line.WriteByte('\n')
}

// flatten writes the fields of a JSON object as key=value, in their order.
func flatten(raw json.RawMessage) string {
	if len(raw) == 0 {
		return ""
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return oneLine(strings.TrimSpace(string(raw)))
	}
	var fields []string
	for d.More() {
		key, err := d.Token()
		if err != nil {
			break
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			break
		}
		fields = append(fields, fmt.Sprintf("%s=%s", key, plain(value)))
	}
	return strings.Join(fields, " ")
}

// plain writes a JSON value without quotes where nobody could mistake it.
func plain(value json.RawMessage) string {
	var text string
	if err := json.Unmarshal(value, &text); err != nil {
		var compact bytes.Buffer
		if json.Compact(&compact, value) != nil {
			return oneLine(string(value))
		}
		return compact.String()
	}
	if text == "" || strings.ContainsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) || r == '"' || r == '=' }) {
		return strconv.Quote(text)
	}
	return text
}
