package mongo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"procops/internal/tasks/leptir"
)

// document returns the keys of the document of a task, in leptir's order and with the types
// that PHP's driver gives them, but for its _id. What the task has added and cannot be
// written is left out.
func document(i *leptir.Info) bson.D {
	var start any
	if !i.Started.IsZero() {
		start = bson.NewDateTimeFromTime(i.Started)
	}
	d := bson.D{
		{Key: "status", Value: int32(i.Status)}, //nolint:gosec // one of few
		{Key: "retC", Value: int32(i.Code)},     //nolint:gosec // one of few
		{Key: "exTime", Value: i.Seconds},
		{Key: "respM", Value: strings.ToValidUTF8(i.Response, "\uFFFD")},
		{Key: "type", Value: i.Class},
		{Key: keyStart, Value: start},
	}
	for _, extra := range i.Extra {
		value, err := valueOf(extra.Value)
		if err != nil || extra.Key == "id" || extra.Key == "_id" || extra.Key == "" || extra.Key[0] == '$' || strings.ContainsAny(extra.Key, ".\x00") {
			continue
		}
		if at := slices.IndexFunc(d, func(e bson.E) bool { return e.Key == extra.Key }); at >= 0 {
			d[at].Value = value
		} else {
			d = append(d, bson.E{Key: extra.Key, Value: value})
		}
	}
	return d
}

// valueOf returns a value in JSON as PHP's driver would write it.
func valueOf(raw json.RawMessage) (any, error) {
	tokens := json.NewDecoder(bytes.NewReader(raw))
	tokens.UseNumber()
	return readValue(tokens, 0)
}

// maxDepth is how deep a document may be nested.
const maxDepth = 90

func readValue(tokens *json.Decoder, depth int) (any, error) {
	token, err := tokens.Token()
	if err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("it is nested deeper than %d", maxDepth)
	}
	switch t := token.(type) {
	case json.Number:
		return numberOf(t)
	case json.Delim:
		if t == '[' {
			return readArray(tokens, depth)
		}
		return readObject(tokens, depth)
	default:
		return t, nil
	}
}

func numberOf(n json.Number) (any, error) {
	whole, err := n.Int64()
	switch {
	case err != nil:
		return n.Float64()
	case math.MinInt32 <= whole && whole <= math.MaxInt32:
		return int32(whole), nil
	default:
		return whole, nil
	}
}

func readArray(tokens *json.Decoder, depth int) (any, error) {
	list := bson.A{}
	for tokens.More() {
		value, err := readValue(tokens, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, value)
	}
	_, err := tokens.Token()
	return list, err
}

func readObject(tokens *json.Decoder, depth int) (any, error) {
	d := bson.D{}
	for tokens.More() {
		key, err := tokens.Token()
		if err != nil {
			return nil, err
		}
		value, err := readValue(tokens, depth+1)
		if err != nil {
			return nil, err
		}
		d = append(d, bson.E{Key: fmt.Sprint(key), Value: value})
	}
	_, err := tokens.Token()
	return d, err
}

// read reads a document, of whatever types its values are.
func read(d bson.D) (leptir.Info, error) {
	data, err := json.Marshal(jsonOf(d))
	if err != nil {
		return leptir.Info{}, err
	}
	info, err := leptir.DecodeInfo(data)
	for _, e := range d {
		if start, ok := e.Value.(bson.DateTime); ok && e.Key == keyStart {
			info.Started = start.Time().UTC()
		}
	}
	return info, err
}

// object is a document that keeps the order of its keys in JSON.
type object bson.D

// MarshalJSON writes the keys in their order.
func (o object) MarshalJSON() ([]byte, error) {
	b := []byte("{")
	for i, e := range o {
		if i > 0 {
			b = append(b, ',')
		}
		key, err := json.Marshal(e.Key)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(jsonOf(e.Value))
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, key...), ':'), value...)
	}
	return append(b, '}'), nil
}

// jsonOf returns what JSON has for a value of BSON.
func jsonOf(value any) any {
	switch v := value.(type) {
	case bson.D:
		return object(v)
	case bson.A:
		list := make([]any, len(v))
		for i := range v {
			list[i] = jsonOf(v[i])
		}
		return list
	case bson.DateTime: // as a number of seconds, which DecodeInfo reads as a date
		return float64(v) / float64(time.Second/time.Millisecond)
	case bson.ObjectID:
		return v.Hex()
	default:
		return v
	}
}
