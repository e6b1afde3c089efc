package event

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Type is a kind of event whose data is a T. T is a struct of plain values
// with json tags; a `doc` tag on a field explains it in docs/events.md.
type Type[T any] struct {
	name string
	doc  string
}

// Define declares an event type. The name is dotted, lower case, and starts
// with the concern: "heartbeat.missed". doc is one sentence for docs/events.md.
func Define[T any](name, doc string) Type[T] {
	return Type[T]{name: name, doc: doc}
}

// Name returns the dotted name.
func (t Type[T]) Name() string { return t.name }

// New makes an event of this type that happens now.
func (t Type[T]) New(subject string, data T) Event {
	return Event{Time: time.Now(), Type: t.name, Subject: subject, Data: data}
}

// Publish publishes an event of this type that happens now. With nobody
// listening it costs nanoseconds and does not allocate, because data becomes
// an interface value only for a listener.
func (t Type[T]) Publish(bus *Bus, subject string, data T) {
	if !bus.listening(t.name) {
		return
	}
	bus.Publish(t.New(subject, data))
}

// maxType is the length of the longest name of a type.
const maxType = 100

// CheckType returns an error if name cannot be the name of an event type: at
// least two words of lower-case letters, digits and "_", with dots between.
func CheckType(name string) error {
	words := strings.Split(name, ".")
	if len(name) > maxType {
		return fmt.Errorf("the type of an event has at most %d characters", maxType)
	}
	if len(words) < 2 || slices.ContainsFunc(words, badWord) {
		return errors.New("the type of an event is dotted and in lower case, such as \"deploy.done\"")
	}
	return nil
}

func badWord(word string) bool {
	return word == "" || strings.ContainsFunc(word, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_'
	})
}

// Field describes one field of an event's data.
type Field struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // as JSON calls it; "time" is a string as in RFC 3339
	Doc  string `json:"doc"`
}

// Description is what docs/events.md says about a type.
type Description struct {
	Name   string  `json:"name"`
	Doc    string  `json:"doc"`
	Fields []Field `json:"fields"`
}

// Describe returns the description of the type, its fields in order.
func (t Type[T]) Describe() Description {
	d := Description{Name: t.name, Doc: t.doc, Fields: []Field{}}
	typ := reflect.TypeFor[T]()
	if typ.Kind() != reflect.Struct {
		return d
	}
	for f := range typ.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		d.Fields = append(d.Fields, Field{Name: name, Kind: jsonKind(f.Type), Doc: f.Tag.Get("doc")})
	}
	return d
}

// jsonKind names how a Go type looks in JSON.
func jsonKind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.String:
		return "string"
	case reflect.Slice, reflect.Array:
		return "array of " + jsonKind(t.Elem())
	case reflect.Map, reflect.Interface:
		return "object"
	case reflect.Pointer:
		return jsonKind(t.Elem())
	case reflect.Struct:
		if t == reflect.TypeFor[time.Time]() {
			return "time"
		}
		return "object"
	default:
		return "number"
	}
}
