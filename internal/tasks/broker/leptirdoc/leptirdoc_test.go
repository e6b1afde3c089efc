package leptirdoc

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"procops/internal/tasks/broker"
	"procops/internal/tasks/leptir"
)

func TestBothWays(t *testing.T) {
	f := Format{Classes: leptir.NewClasses(map[string]string{"mail": `App\Mail`})}
	at := time.Now().Add(time.Hour).Truncate(time.Second)
	id := leptir.NewID(7, time.Unix(1386125013, 0), 0.5)
	for _, c := range []struct {
		message broker.Message
		has     string
	}{
		{broker.Message{ID: "x", Type: "a.b", Body: []byte(`{"params":{}}`)}, `{"cn":"a\\b","pr":0,"tl":0,"toex":"","td":{"id":"x","parameters":[]}}`},
		{broker.Message{ID: "x", Type: "mail", Priority: 3, RunAt: at, Body: []byte(`{"params":{"to":"ann"},"time_limit":2}`)}, `{"cn":"App\\Mail","pr":3,"tl":2,"toex":`},
		{broker.Message{ID: id, Type: "a", Body: []byte(`{"params":{"n":1},"pushed_at":"` + time.Unix(1386125013, 0).Format(time.RFC3339) + `"}`)}, `"parameters":{"n":1}}}`},
	} {
		data, err := f.Encode(&c.message)
		if err != nil || !strings.Contains(string(data), c.has) {
			t.Errorf("%+v: %s (%v), want %s", c.message, data, err, c.has)
			continue
		}
		if got, err := f.Decode(data); err != nil || !reflect.DeepEqual(got, c.message) {
			t.Errorf("%s: %+v (%v), want %+v", data, got, err, c.message)
		}
	}
}

func TestWhatCannotBe(t *testing.T) {
	var f Format
	for _, body := range []string{"", "x", `{"params":[1]}`} {
		if data, err := f.Encode(&broker.Message{ID: "x", Type: "a", Body: []byte(body)}); err == nil || !strings.Contains(err.Error(), `task "x"`) {
			t.Errorf("%q: %s (%v)", body, data, err)
		}
	}
	for data, typ := range map[string]string{`{"cn":"A\\B","td":1}`: "A.B", `{"cn":"ä","td":1}`: "", "?": ""} {
		if m, err := f.Decode([]byte(data)); err == nil || m.Type != typ || m.Body != nil {
			t.Errorf("%s: %+v (%v)", data, m, err)
		}
	}
	if m, err := f.Decode([]byte(`{"cn":"ä"}`)); err != nil || m.Type != "" || m.ID != "" {
		t.Errorf("%+v (%v)", m, err)
	}
}
