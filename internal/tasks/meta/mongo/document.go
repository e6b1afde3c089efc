package mongo

import (
	"encoding/json"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"procops/internal/tasks/leptir"
	"procops/internal/tasks/mongodb"
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
		value, err := mongodb.FromJSON(extra.Value)
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

// read reads a document, of whatever types its values are.
func read(d bson.D) (leptir.Info, error) {
	data, err := json.Marshal(mongodb.ToJSON(d))
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
