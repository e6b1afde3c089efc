package sqs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"procops/internal/tasks/broker"
)

// Format is how a message is written.
type Format interface {
	// Encode returns the text of a message, and what else goes along with it as
	// attributes. had is the text that it had before; empty, if it is new or was changed.
	Encode(m broker.Message, had string) (text string, attributes map[string]string, err error)
	// Decode reads a message. id is what SQS calls it, for one that has no ID of its own.
	Decode(id, text string, attributes map[string]string) (broker.Message, error)
}

// envelopes is our own format: a JSON object that people can read.
type envelopes struct{}

type envelope struct {
	ID       string          `json:"id"`
	Type     string          `json:"type"`
	Priority int             `json:"priority,omitempty"`
	RunAt    time.Time       `json:"run_at"`
	Number   int64           `json:"number,omitempty"`
	Attempts int             `json:"attempts,omitempty"`
	Crashes  int             `json:"crashes,omitempty"`
	Body     json.RawMessage `json:"body,omitempty"`
	Bytes    []byte          `json:"bytes,omitempty"` // a body that would not come back as it is
}

// Encode writes a message.
func (envelopes) Encode(m broker.Message, _ string) (text string, attributes map[string]string, err error) {
	e := envelope{
		ID: m.ID, Type: m.Type, Priority: m.Priority, RunAt: m.RunAt.UTC(),
		Number: m.Number, Attempts: m.Attempts, Crashes: m.Crashes,
	}
	if isPlain(m.Body) {
		e.Body = m.Body
	} else {
		e.Bytes = m.Body
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(e); err != nil {
		return "", nil, err
	}
	return string(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), nil, nil
}

// isPlain reports whether a body can stand in an envelope as it is: it is JSON without
// blanks, of characters that SQS lets pass.
func isPlain(body []byte) bool {
	var compact bytes.Buffer
	return utf8.Valid(body) && !bytes.ContainsAny(body, "\uFFFE\uFFFF") &&
		json.Compact(&compact, body) == nil && bytes.Equal(compact.Bytes(), body)
}

// Decode reads a message.
func (envelopes) Decode(_, text string, _ map[string]string) (broker.Message, error) {
	var e envelope
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		return broker.Message{}, fmt.Errorf("it is not a task of procops: %w", err)
	}
	if e.ID == "" || e.Type == "" {
		return broker.Message{}, errors.New("it is not a task of procops: it has no id or no type")
	}
	body := e.Bytes
	if e.Body != nil {
		body = e.Body
	}
	return broker.Message{
		ID: e.ID, Type: e.Type, Priority: e.Priority, RunAt: e.RunAt,
		Number: e.Number, Attempts: e.Attempts, Crashes: e.Crashes, Body: body,
	}, nil
}
