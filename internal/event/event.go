package event

import (
	"encoding/json"
	"fmt"
	"time"
)

// Event is one thing that happened. It is a value: listeners may keep it, and
// must not change what Data refers to.
type Event struct {
	// ID is the event's number in the log of its state directory, ascending
	// in the order of commits; 0 while the event is not recorded.
	ID int64
	// Time is the wall time at which it happened.
	Time time.Time
	// Type is the dotted name, such as "supervise.process.exited".
	Type string
	// Source names the procops process that speaks: "supervise[4711]".
	Source string
	// Subject is what the event is about: the name of a process, a heartbeat.
	Subject string
	// Data holds the type's own fields: the struct given to Type.New, or a
	// json.RawMessage when the event was read back from the log. It may be nil.
	Data any
}

// wire is the JSON form of an event, the same in the log, in --json output and
// on the standard input of hooks.
type wire struct {
	ID      int64           `json:"id,omitempty"`
	Time    time.Time       `json:"time"`
	Type    string          `json:"type"`
	Source  string          `json:"source,omitempty"`
	Subject string          `json:"subject,omitempty"`
	Data    json.RawMessage `json:"data,omitempty"`
}

// DataJSON returns Data as JSON, nil when there is none.
func (e Event) DataJSON() (json.RawMessage, error) {
	switch d := e.Data.(type) {
	case nil:
		return nil, nil
	case json.RawMessage:
		return d, nil
	default:
		raw, err := json.Marshal(d)
		if err != nil {
			return nil, fmt.Errorf("cannot encode the data of event %s: %w", e.Type, err)
		}
		return raw, nil
	}
}

// MarshalJSON writes the event as one JSON object.
func (e Event) MarshalJSON() ([]byte, error) {
	data, err := e.DataJSON()
	if err != nil {
		return nil, err
	}
	return json.Marshal(wire{ID: e.ID, Time: e.Time, Type: e.Type, Source: e.Source, Subject: e.Subject, Data: data})
}

// UnmarshalJSON reads what MarshalJSON wrote; Data becomes a json.RawMessage.
func (e *Event) UnmarshalJSON(raw []byte) error {
	var w wire
	if err := json.Unmarshal(raw, &w); err != nil {
		return fmt.Errorf("cannot decode event: %w", err)
	}
	*e = Event{ID: w.ID, Time: w.Time, Type: w.Type, Source: w.Source, Subject: w.Subject}
	if len(w.Data) > 0 {
		e.Data = w.Data
	}
	return nil
}
