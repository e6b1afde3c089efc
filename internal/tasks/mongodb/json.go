package mongodb

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// FromJSON returns a value in JSON as PHP's driver would write it.
func FromJSON(raw json.RawMessage) (any, error) {
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
		value, err := json.Marshal(ToJSON(e.Value))
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, key...), ':'), value...)
	}
	return append(b, '}'), nil
}

// ToJSON returns what JSON has for a value of BSON.
func ToJSON(value any) any {
	switch v := value.(type) {
	case bson.D:
		return object(v)
	case bson.A:
		list := make([]any, len(v))
		for i := range v {
			list[i] = ToJSON(v[i])
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
