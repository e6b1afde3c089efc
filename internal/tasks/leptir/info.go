package leptir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The statuses of a task.
const (
	StatusPending    = 1
	StatusInProgress = 2
	StatusCompleted  = 3
)

// The return codes of a task.
const (
	CodeSuccess   = 1
	CodeWarning   = 2
	CodeError     = 3
	CodeUnknown   = 4 // also before there is another
	CodeTimeLimit = 5
)

// Info is what leptir keeps of a task in its meta storage.
type Info struct {
	ID       string    // key "id"; in MongoDB "_id"
	Status   int       // "status": one of the statuses
	Code     int       // "retC": one of the return codes
	Seconds  float64   // "exTime": how long it ran
	Response string    // "respM": its lines, with blanks between them
	Class    string    // "type"
	Started  time.Time // "exStart": a date in MongoDB, an object in JSON; the zero time, which is null: not yet
	Extra    []Field   // what the task itself adds, after the others; one that is named like one of them takes its place
}

// Field is a further key of an Info.
type Field struct {
	Key   string
	Value json.RawMessage
}

// New reports whether nobody has begun the task yet. Whoever says so may be slower than the
// one who begins it: so this never takes the place of what is there already.
func (i *Info) New() bool { return i.Status == StatusPending && i.Started.IsZero() }

// Encode returns the information as PHP's json_encode writes it.
func (i *Info) Encode() ([]byte, error) {
	b := []byte("{")
	for n, field := range i.Fields() {
		if n > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, field.Key), ':')
		var err error
		if b, err = appendValue(b, field.Value, MaxDepth-1); err != nil {
			return nil, fmt.Errorf("cannot write %q of task %q: %w", field.Key, i.ID, err)
		}
	}
	return append(b, '}'), nil
}

// Fields returns all keys, in their order, with their values in JSON.
func (i *Info) Fields() []Field {
	fields := []Field{
		{"id", quoted(i.ID)},
		{"status", strconv.AppendInt(nil, int64(i.Status), 10)},
		{"retC", strconv.AppendInt(nil, int64(i.Code), 10)},
		{"exTime", appendFloat(nil, clamp(i.Seconds, 0, math.MaxInt64))},
		{"respM", quoted(i.Response)},
		{"type", quoted(i.Class)},
		{"exStart", date(i.Started)},
	}
	for _, extra := range i.Extra {
		at := slices.IndexFunc(fields, func(f Field) bool { return f.Key == extra.Key })
		if at < 0 {
			fields = append(fields, extra)
		} else if extra.Key != "id" { // under it the information is found
			fields[at].Value = extra.Value
		}
	}
	return fields
}

func quoted(s string) json.RawMessage { return appendString(nil, strings.ToValidUTF8(s, "\uFFFD")) }

// dateLayout is how PHP writes the date of a DateTime.
const dateLayout = "2006-01-02 15:04:05.000000"

// date returns a time as PHP's json_encode writes a DateTime.
func date(t time.Time) json.RawMessage {
	if t.IsZero() {
		return json.RawMessage("null")
	}
	return json.RawMessage(`{"date":"` + t.UTC().Format(dateLayout) + `","timezone_type":3,"timezone":"UTC"}`)
}

// DecodeInfo reads what leptir keeps of a task, of whatever types its values are.
func DecodeInfo(data []byte) (Info, error) {
	if !utf8.Valid(data) {
		return Info{}, errors.New("it is not valid UTF-8")
	}
	fields, err := readFields(data)
	if err != nil {
		return Info{}, err
	}
	var i Info
	for _, field := range fields {
		if err := i.set(field); err != nil {
			return Info{}, fmt.Errorf("%q: %w", field.Key, err)
		}
	}
	return i, nil
}

func (i *Info) set(f Field) (err error) {
	small := func() int { return int(clamp(number(f.Value), math.MinInt32, math.MaxInt32)) }
	switch f.Key {
	case "id", "_id":
		i.ID, err = readID(f.Value)
	case "status":
		i.Status = small()
	case "retC":
		i.Code = small()
	case "exTime":
		i.Seconds = number(f.Value)
	case "respM":
		i.Response = words(f.Value)
	case "type":
		i.Class = words(f.Value)
	case "exStart":
		i.Started, err = readDate(f.Value)
	default:
		i.Extra = append(i.Extra, f)
	}
	return err
}

// readFields reads the keys of an object in their order.
func readFields(data []byte) ([]Field, error) {
	if !json.Valid(data) || bytes.TrimSpace(data)[0] != '{' {
		return nil, errors.New("it is not a JSON object")
	}
	tokens := json.NewDecoder(bytes.NewReader(data))
	_, _ = tokens.Token() // the brace
	var fields []Field
	for tokens.More() {
		key, err := tokens.Token()
		if err != nil {
			return nil, err
		}
		f := Field{Key: fmt.Sprint(key)}
		if err := tokens.Decode(&f.Value); err != nil {
			return nil, err
		}
		fields = append(fields, f)
	}
	return fields, nil
}

// words returns a value as text.
func words(raw json.RawMessage) (s string) {
	if kind(raw) == nothing {
		return ""
	}
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// readDate reads a DateTime as PHP's json_encode writes it, or a number of seconds.
func readDate(raw json.RawMessage) (time.Time, error) {
	switch kind(raw) {
	case nothing:
		return time.Time{}, nil
	case digits:
		seconds, part := math.Modf(clamp(number(raw), -1<<40, 1<<40))
		return time.Unix(int64(seconds), int64(part*float64(time.Second))).UTC(), nil
	case object:
	default:
		return time.Time{}, errors.New("it is not a date of PHP")
	}
	var d struct {
		Date string          `json:"date"`
		Zone json.RawMessage `json:"timezone"`
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		return time.Time{}, fmt.Errorf("it is not a date of PHP: %w", err)
	}
	t, err := time.ParseInLocation(dateLayout, d.Date, zone(words(d.Zone)))
	if err != nil {
		return time.Time{}, fmt.Errorf("it is not a date of PHP: %w", err)
	}
	return t.UTC(), nil
}

// zone returns the time zone that PHP calls so: "Europe/Berlin", "+02:00", or "CET"; UTC for
// one that nobody here knows.
func zone(name string) *time.Location {
	if t, err := time.Parse("-07:00", name); err == nil {
		return t.Location()
	}
	if name != "" && name != "Local" {
		if l, err := time.LoadLocation(name); err == nil {
			return l
		}
	}
	return time.UTC
}
