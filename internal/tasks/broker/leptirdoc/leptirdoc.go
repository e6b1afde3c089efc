// Package leptirdoc makes leptir's documents of messages and back, for each broker whose
// queue is shared with programs that use leptir.
//
// What a document has no place for the broker keeps beside it: how often the message was
// claimed and what came of that.
package leptirdoc

import (
	"encoding/json"
	"fmt"
	"time"

	"procops/internal/tasks/broker"
	"procops/internal/tasks/leptir"
)

// Format turns messages into documents and back.
type Format struct {
	Classes leptir.Classes // which class stands for which type
}

// Encode returns the document of a message, as leptir writes it.
func (f Format) Encode(m *broker.Message) ([]byte, error) {
	d, err := f.Document(m)
	if err != nil {
		return nil, err
	}
	data, err := d.Encode()
	if err != nil {
		return nil, fmt.Errorf("task %q: %w", m.ID, err)
	}
	return data, nil
}

// Document returns the document of a message. Only one that is to come later has a time.
func (f Format) Document(m *broker.Message) (leptir.Document, error) {
	var b broker.Body
	if err := json.Unmarshal(m.Body, &b); err != nil {
		return leptir.Document{}, fmt.Errorf("task %q has no parameters that leptir can read: %w", m.ID, err)
	}
	d := leptir.Document{
		Class: f.Classes.Class(m.Type), Priority: m.Priority, ID: m.ID, Parameters: b.Params,
		TimeLimit: time.Duration(b.TimeLimit * float64(time.Second)),
	}
	if m.RunAt.After(time.Now()) {
		d.At = m.RunAt
	}
	return d, nil
}

// Decode reads a document. Where that fails the message has its Type, if that could be read,
// and no body.
func (f Format) Decode(data []byte) (broker.Message, error) {
	d, err := leptir.Decode(data)
	m := f.Message(d)
	if err != nil {
		m.Body = nil
	}
	return m, err
}

// Message returns the message of a document. Type is empty if the class has none that is
// valid, ID if the producer has set none, RunAt the zero time if the document has none.
func (f Format) Message(d leptir.Document) broker.Message {
	m := broker.Message{ID: d.ID, Priority: d.Priority, RunAt: d.At}
	if typ, valid := f.Classes.Type(d.Class); valid {
		m.Type = typ
	}
	b := broker.Body{Params: d.Parameters, TimeLimit: d.TimeLimit.Seconds()}
	if len(b.Params) == 0 {
		b.Params = json.RawMessage("{}")
	}
	b.Pushed, _ = leptir.IDTime(d.ID)
	m.Body, _ = json.Marshal(b) // the parameters are valid JSON: Decode has read them
	return m
}
