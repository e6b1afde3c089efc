package leptir

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

// phpInfo writes what leptir keeps of a task, before, during and after its run.
const phpInfo = `function info($status, $code, $time, $response, $type, $start, $more) {
	echo json_encode(new ArrayObject(array_merge(['id' => '10577529e96d5eb0225.50827478', 'status' => $status, 'retC' => $code,
		'exTime' => $time, 'respM' => $response, 'type' => $type, 'exStart' => $start], $more))), "\n";
}
date_default_timezone_set('UTC');
info(1, 4, 0, '', 'Leptir\Task\Test\TestTask', null, []);
info(3, 1, 0.0005939006805419922, 'Test/task "done" ä.', 'App\Grüße', new DateTime('2013-12-04 02:43:35'), ['files' => 3, 'o' => ['a' => [1.5, null]], 'respM' => 'own']);
info(3, 5, 601.0, 'Time limit exceeded.', 'A', new DateTime('2013-12-04 02:43:35.25'), []);`

func TestInfoAsPHP(t *testing.T) {
	start := time.Date(2013, 12, 4, 2, 43, 35, 0, time.UTC)
	id := "10577529e96d5eb0225.50827478"
	want := []Info{
		{ID: id, Status: StatusPending, Code: CodeUnknown, Class: `Leptir\Task\Test\TestTask`},
		{
			ID: id, Status: StatusCompleted, Code: CodeSuccess, Seconds: 0.0005939006805419922, Response: "own", Class: `App\Grüße`, Started: start,
			Extra: []Field{{"files", json.RawMessage("3")}, {"o", json.RawMessage(`{"a":[1.5,null]}`)}},
		},
		{ID: id, Status: StatusCompleted, Code: CodeTimeLimit, Seconds: 601, Response: "Time limit exceeded.", Class: "A", Started: start.Add(250 * time.Millisecond)},
	}
	for i, line := range runPHP(t, phpInfo, "") {
		read, err := DecodeInfo([]byte(line))
		if err != nil || !reflect.DeepEqual(read, want[i]) {
			t.Errorf("%s:\n%+v (%v), want\n%+v", line, read, err, want[i])
		}
		if got, err := want[i].Encode(); err != nil || string(got) != line {
			t.Errorf("written:\n%s (%v), PHP writes\n%s", got, err, line)
		}
	}
}

func TestInfoOverridden(t *testing.T) {
	i := Info{ID: "x", Status: StatusCompleted, Response: "a", Extra: []Field{{"respM", []byte(`"b"`)}, {"id", []byte(`"y"`)}, {"n", []byte("1")}}}
	want := `{"id":"x","status":3,"retC":0,"exTime":0,"respM":"b","type":"","exStart":null,"n":1}`
	if got, err := i.Encode(); err != nil || string(got) != want {
		t.Errorf("%s (%v), want %s", got, err, want)
	}
	i.Extra = []Field{{"n", []byte("{")}}
	if got, err := i.Encode(); err == nil || !strings.Contains(err.Error(), `cannot write "n" of task "x"`) {
		t.Errorf("%s (%v)", got, err)
	}
}

func TestDecodeInfo(t *testing.T) {
	start := time.Date(2013, 12, 4, 2, 43, 35, 0, time.UTC)
	for data, want := range map[string]Info{
		`{}`: {},
		`{"_id":"x","status":"3","retC":1.0,"exTime":"0.5","respM":7,"type":null,"exStart":1386125015.5}`: {ID: "x", Status: 3, Code: 1, Seconds: 0.5, Response: "7", Started: start.Add(500 * time.Millisecond)},
		`{"exStart":{"date":"2013-12-04 03:43:35.000000","timezone_type":3,"timezone":"Europe\/Berlin"}}`: {Started: start},
		`{"exStart":{"date":"2013-12-04 00:43:35.000000","timezone_type":1,"timezone":"-02:00"}}`:         {Started: start},
		`{"exStart":{"date":"2013-12-04 02:43:35.000000","timezone_type":3,"timezone":"Nowhere"}}`:        {Started: start},
	} {
		if got, err := DecodeInfo([]byte(data)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n%+v (%v), want\n%+v", data, got, err, want)
		}
	}
	for data, want := range map[string]string{
		"": "it is not a JSON object", "[]": "it is not a JSON object", "{\"a\":\"\xff\"}": "it is not valid UTF-8",
		`{"exStart":"now"}`: `"exStart": it is not a date of PHP`, `{"exStart":{"date":1}}`: `"exStart": it is not a date of PHP: `, `{"exStart":{}}`: "it is not a date of PHP",
		`{"id":[]}`: `"id": it is neither`,
	} {
		if got, err := DecodeInfo([]byte(data)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v (%v), want %s", data, got, err, want)
		}
	}
}

// FuzzDecodeInfo: what can be read can be written, and is then read as the same.
func FuzzDecodeInfo(f *testing.F) {
	f.Add([]byte(`{"id":"x","status":3,"retC":1,"exTime":0.5,"respM":"a","type":"A\\B","exStart":{"date":"2013-12-04 02:43:35.000000","timezone_type":3,"timezone":"UTC"},"n":[1]}`))
	f.Add([]byte(`{"_id":7,"exStart":5,"exStart":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		i, err := DecodeInfo(data)
		if err != nil || strings.Contains(string(data), "-0") {
			return
		}
		encoded, err := i.Encode()
		if err != nil {
			if strings.Contains(err.Error(), "levels") {
				return
			}
			t.Fatalf("%q cannot be written: %v", data, err)
		}
		again, err := DecodeInfo(encoded)
		if err != nil {
			t.Fatalf("%q is not read: %v", encoded, err)
		}
		if twice, err := again.Encode(); err != nil || !bytes.Equal(twice, encoded) {
			t.Fatalf("%q became %q (%v)", encoded, twice, err)
		}
	})
}
