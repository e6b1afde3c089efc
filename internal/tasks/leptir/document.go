package leptir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxDepth is how deep a task may be nested, the document itself included. PHP reads
// nothing that is deeper.
const MaxDepth = 512

// maxID is how many bytes an id may have: it becomes part of keys, and of the
// environment of a handler.
const maxID = 256

// Document is a task as leptir keeps it.
type Document struct {
	Class      string          // the PHP class that runs it
	Priority   int             // lower comes first
	TimeLimit  time.Duration   // whole seconds when written, rounded up; 0: the default of who runs it
	At         time.Time       // not before this; whole seconds when written, rounded up; the zero time: at once
	ID         string          // empty if the producer has set none
	Parameters json.RawMessage // a JSON object; nil: none
}

// Encode returns the document as PHP's json_encode writes it. The error says which part
// cannot be written.
func (d Document) Encode() ([]byte, error) {
	parameters, err := d.parameters()
	if err != nil {
		return nil, fmt.Errorf("cannot write the parameters: %w", err)
	}
	b := append(make([]byte, 0, 96+len(parameters)), `{"cn":`...)
	b = appendString(b, d.Class)
	b = strconv.AppendInt(append(b, `,"pr":`...), int64(d.Priority), 10)
	b = strconv.AppendInt(append(b, `,"tl":`...), d.limit(), 10)
	b = append(b, `,"toex":`...)
	if at := d.Score(); at != 0 {
		b = strconv.AppendInt(b, at, 10)
	} else {
		b = append(b, `""`...)
	}
	b = appendString(append(b, `,"td":{"id":`...), d.ID)
	b = append(append(b, `,"parameters":`...), parameters...)
	return append(b, "}}"...), nil
}

// Score returns the time of the task in Unix seconds, and 0 if it has none.
func (d Document) Score() int64 {
	if d.At.IsZero() {
		return 0
	}
	seconds := d.At.Unix()
	if d.At.Nanosecond() > 0 {
		seconds++
	}
	return seconds
}

// limit returns the time limit in seconds.
func (d Document) limit() int64 {
	if d.TimeLimit <= 0 {
		return 0
	}
	return int64((d.TimeLimit + time.Second - 1) / time.Second)
}

// parameters returns the parameters as PHP writes them: it knows no empty object.
func (d Document) parameters() ([]byte, error) {
	raw := bytes.TrimSpace(d.Parameters)
	if len(raw) == 0 {
		return []byte("[]"), nil
	}
	if raw[0] != '{' {
		return nil, errors.New("they are not a JSON object")
	}
	out, err := appendValue(nil, raw, MaxDepth-2)
	if err == nil && string(out) == "{}" {
		return []byte("[]"), nil
	}
	return out, err
}

// Decode reads a document as PHP does. Where it returns an error, what could be read is
// in the document beside it: Class, if nothing else.
func Decode(data []byte) (Document, error) {
	if !utf8.Valid(data) {
		return Document{}, errors.New("it is not valid UTF-8")
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(data, &keys); err != nil {
		return Document{}, fmt.Errorf("it is not a JSON object: %w", err)
	}
	var d Document
	_ = json.Unmarshal(keys["cn"], &d.Class)
	if d.Class = strings.TrimPrefix(d.Class, `\`); d.Class == "" { // with it or without, it is the same class
		return Document{}, errors.New(`"cn" is not the name of a class`)
	}
	d.Priority = int(clamp(number(keys["pr"]), math.MinInt32, math.MaxInt32))
	if limit := number(keys["tl"]); limit > 0 {
		d.TimeLimit = time.Duration(clamp(limit*float64(time.Second), 0, math.MaxInt64/2))
	}
	if at := math.Trunc(number(keys["toex"])); at != 0 {
		d.At = time.Unix(int64(clamp(at, -1<<40, 1<<40)), 0)
	}
	err := d.readData(keys["td"])
	return d, err
}

// readData reads the key td.
func (d *Document) readData(raw json.RawMessage) error {
	var data struct{ id, parameters json.RawMessage }
	switch kind(raw) {
	case object:
		var keys map[string]json.RawMessage
		if err := json.Unmarshal(raw, &keys); err != nil {
			return fmt.Errorf(`"td": %w`, err)
		}
		data.id, data.parameters = keys["id"], keys["parameters"]
	case nothing, array: // an array without keys
	default:
		return errors.New(`"td" is not an object`)
	}
	var err error
	if d.ID, err = readID(data.id); err != nil {
		return fmt.Errorf(`"id" in "td": %w`, err)
	}
	if d.Parameters, err = readParameters(data.parameters); err != nil {
		return fmt.Errorf(`"parameters" in "td": %w`, err)
	}
	return nil
}

// readID reads an id. PHP makes a string of a number where it needs one.
func readID(raw json.RawMessage) (id string, err error) {
	switch kind(raw) {
	case nothing:
		return "", nil
	case text:
		err = json.Unmarshal(raw, &id)
	case digits:
		id = string(raw)
	default:
		return "", errors.New("it is neither a string nor a number")
	}
	switch {
	case err != nil:
		return "", err
	case len(id) > maxID:
		return "", fmt.Errorf("it is longer than %d bytes", maxID)
	case strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", fmt.Errorf("%q has control characters", id)
	}
	return id, nil
}

// readParameters reads parameters. A PHP array without keys has the numbers from 0 as its
// keys; nil stands for an empty one.
func readParameters(raw json.RawMessage) (json.RawMessage, error) {
	switch kind(raw) {
	case nothing:
		return nil, nil
	case object:
		var b bytes.Buffer
		if err := json.Compact(&b, raw); err != nil || b.String() == "{}" {
			return nil, err
		}
		return b.Bytes(), nil
	case array:
		return numbered(raw)
	default:
		return nil, errors.New("they are neither an object nor an array")
	}
}

// numbered makes an object of an array.
func numbered(raw json.RawMessage) (json.RawMessage, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil || len(list) == 0 {
		return nil, err
	}
	var b bytes.Buffer
	for i, value := range list {
		b.WriteByte(",{"[btoi(i == 0)])
		b.WriteString(`"` + strconv.Itoa(i) + `":`)
		if err := json.Compact(&b, value); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func btoi(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// clamp returns the nearest value from least to most.
func clamp(n, least, most float64) float64 { return min(max(n, least), most) }
