package sqs

import (
	"cmp"
	"fmt"
	"strconv"
	"time"

	"procops/internal/tasks/broker"
	"procops/internal/tasks/broker/leptirdoc"
)

// Leptir is the format of queues that are shared with programs that use leptir: its
// document is the text. What that has no place for goes along as attributes, which those
// programs neither see nor keep when they send a message again.
//
// leptir lets SQS delay a message by 6 s at a time. Here it is as long as SQS can: leptir
// looks at the time in the document when it gets one, and each hop costs three calls.
type Leptir struct{ Documents leptirdoc.Format }

// The attributes of a document's message.
const (
	attributeNumber   = "procops.number"
	attributeAttempts = "procops.attempts"
	attributeCrashes  = "procops.crashes"
)

// Encode writes a message. One whose text is known goes on with that: the document may be
// for a class that only others know.
func (f Leptir) Encode(m broker.Message, had string) (text string, attributes map[string]string, err error) {
	if text = had; text == "" {
		data, err := f.Documents.Encode(&m)
		if err != nil {
			return "", nil, err
		}
		text = string(data)
	}
	for name, n := range map[string]int64{attributeNumber: m.Number, attributeAttempts: int64(m.Attempts), attributeCrashes: int64(m.Crashes)} {
		if n == 0 {
			continue
		}
		if attributes == nil {
			attributes = map[string]string{}
		}
		attributes[name] = strconv.FormatInt(n, 10)
	}
	return text, attributes, nil
}

// Decode reads a message. A document without an id gets the one of its message.
func (f Leptir) Decode(id, text string, attributes map[string]string) (broker.Message, error) {
	m, err := f.Documents.Decode([]byte(text))
	if err != nil {
		return broker.Message{}, fmt.Errorf("it is not a task of leptir: %w", err)
	}
	m.ID = cmp.Or(m.ID, id)
	if m.RunAt.IsZero() {
		m.RunAt = time.Now().Truncate(time.Microsecond)
	}
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(attributes[name], 10, 64) // none is 0
		return max(0, n)
	}
	m.Number, m.Attempts, m.Crashes = number(attributeNumber), int(number(attributeAttempts)), int(number(attributeCrashes))
	return m, nil
}
