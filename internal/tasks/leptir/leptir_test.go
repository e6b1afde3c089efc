package leptir

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestEncode(t *testing.T) {
	at := time.Unix(1386125013, 1)
	for _, c := range []struct {
		doc  Document
		want string
	}{
		{Document{Class: "A"}, `{"cn":"A","pr":0,"tl":0,"toex":"","td":{"id":"","parameters":[]}}`},
		{
			Document{Class: `App\Mail`, Priority: -3, TimeLimit: 1500 * time.Millisecond, At: at, ID: "1x.5", Parameters: []byte(` { "to" : "ä/b" , "n":1.50 , "l":[1,{}], "e":1e-5 } `)},
			`{"cn":"App\\Mail","pr":-3,"tl":2,"toex":1386125014,"td":{"id":"1x.5","parameters":{"to":"\u00e4\/b","n":1.5,"l":[1,{}],"e":1.0e-5}}}`,
		},
		{Document{Class: "A", At: at.Truncate(time.Second), Parameters: []byte("{ }")}, `{"cn":"A","pr":0,"tl":0,"toex":1386125013,"td":{"id":"","parameters":[]}}`},
	} {
		got, err := c.doc.Encode()
		if err != nil || string(got) != c.want {
			t.Errorf("%+v:\n%s (%v), want\n%s", c.doc, got, err, c.want)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	deep := func(n int) string { return `{"a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + "}" }
	for _, bad := range []string{"[]", "1", "null", `{"a"}`, `{"a":1,}`, `{"a" 1}`, `{"a":1}{}`, deep(MaxDepth - 2)} {
		if got, err := (Document{Class: "A", Parameters: []byte(bad)}).Encode(); err == nil || !strings.Contains(err.Error(), "cannot write the parameters: ") {
			t.Errorf("%.40s: %s (%v)", bad, got, err)
		}
	}
	if _, err := (Document{Class: "A", Parameters: []byte(deep(MaxDepth - 3))}).Encode(); err != nil {
		t.Errorf("of as many levels as PHP reads: %v", err)
	}
}

func TestDecode(t *testing.T) {
	unix := func(s int64) time.Time { return time.Unix(s, 0) }
	for data, want := range map[string]Document{
		`{"cn":"A","pr":0,"tl":0,"toex":"","td":{"id":"x","parameters":[]}}`:                      {Class: "A", ID: "x"},
		`{"cn":"A\\B","pr":2,"tl":30,"toex":1386125013,"td":{"id":"x","parameters":{"a":[ 1 ]}}}`: {Class: `A\B`, Priority: 2, TimeLimit: 30 * time.Second, At: unix(1386125013), ID: "x", Parameters: []byte(`{"a":[1]}`)},
		`{"cn":"\\A","pr":"7x","tl":"1.5","toex":"1386125013","td":{"id":12,"parameters":null}}`:  {Class: "A", Priority: 7, TimeLimit: 1500 * time.Millisecond, At: unix(1386125013), ID: "12"},
		`{"cn":"A","pr":1.9,"tl":-1,"toex":3.9,"td":{"id":null}}`:                                 {Class: "A", Priority: 1, At: unix(3)},
		`{"cn":"A","pr":true,"tl":null,"toex":[],"td":[]}`:                                        {Class: "A", Priority: 1},
		`{"cn":"A","pr":" -1.9e1x","tl":"x","toex":"now","x":{"y":1},"td":{"id":"","z":1}}`:       {Class: "A", Priority: -19},
		`{"cn":"A","pr":1e99,"tl":1e99,"toex":"+.5e1","td":{"parameters":["a",{"b":2}]}}`:         {Class: "A", Priority: math.MaxInt32, TimeLimit: math.MaxInt64/2 + 1, At: unix(5), Parameters: []byte(`{"0":"a","1":{"b":2}}`)},
		`{"cn":"A","pr":"-","tl":".","toex":"--1","CN":"B"}`:                                      {Class: "A"},
		`{"cn":"A","pr":"1e","tl":"1e+","toex":[0]}`:                                              {Class: "A", Priority: 1, TimeLimit: time.Second, At: unix(1)},
		`{"cn":"A","td":{"id":"x","parameters":{}}}`:                                              {Class: "A", ID: "x"},
	} {
		got, err := Decode([]byte(data))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n%+v (%v), want\n%+v", data, got, err, want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for data, want := range map[string]string{
		"":                                 "it is not a JSON object: ",
		"[]":                               "it is not a JSON object: ",
		"null":                             `"cn" is not the name of a class`,
		"{\"cn\":\"\xff\"}":                "it is not valid UTF-8",
		`{"cn":"A"`:                        "it is not a JSON object: ",
		`{"cn":1}`:                         `"cn" is not the name of a class`,
		`{"cn":"\\"}`:                      `"cn" is not the name of a class`,
		`{"CN":"A"}`:                       `"cn" is not the name of a class`,
		`{"cn":"A","td":"x"}`:              `"td" is not an object`,
		`{"cn":"A","td":{"id":[]}}`:        `"id" in "td": it is neither a string nor a number`,
		`{"cn":"A","td":{"id":"\n"}}`:      `"id" in "td": "\n" has control characters`,
		`{"cn":"A","td":{"id":"a\u007f"}}`: `has control characters`,
		`{"cn":"A","td":{"id":"` + strings.Repeat("x", maxID+1) + `"}}`: "it is longer than 256 bytes",
		`{"cn":"A","td":{"parameters":"x"}}`:                            `"parameters" in "td": they are neither an object nor an array`,
	} {
		d, err := Decode([]byte(data))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", data, err, want)
		}
		if strings.Contains(data, `"cn":"A",`) && d.Class != "A" {
			t.Errorf("%s: the class is %q", data, d.Class)
		}
	}
}

func TestIDs(t *testing.T) {
	at := time.Unix(0x529e96d5, 0xeb022*1000)
	if id := NewID(10577, at.Add(999), 0.550827478); id != "10577529e96d5eb0225.50827478" {
		t.Error(id)
	}
	if id := NewID(1, at, 1); id != "1529e96d5eb0229.99999990" {
		t.Error(id)
	}
	if got, ok := IDTime("10577529e96d5eb0225.50827478"); !ok || !got.Equal(at) {
		t.Error(got, ok)
	}
	for _, id := range []string{"", "529e96d5eb0225.50827478", "x529e96d5eb0225.50827478", "1529e96d5fffff5.50827478", "1529e96d5eb022x.50827478", "1529e96d5eb0225x50827478", "1529e96dxeb0225.50827478", "01KB0V6M3G7Q9WJ2Y4T8XN5RCE"} {
		if got, ok := IDTime(id); ok {
			t.Errorf("%q is of %s", id, got)
		}
	}
	if id := MongoID(at, 0.123456789); id != "529e96d50.12345679" {
		t.Error(id)
	}
	if id := MongoID(time.Unix(7, 0), 1); id != "000000070.99999999" {
		t.Error(id)
	}
	if got, ok := MongoTime("529e96d50.12345679"); !ok || got.Unix() != at.Unix() {
		t.Error(got, ok)
	}
	for _, id := range []string{"", "0.5", "529e96d50", "529e96dx0.12345679", "1529e96d50.1", "52a5b3f2e1382362a0000000"} {
		if got, ok := MongoTime(id); ok && id != "1529e96d50.1" {
			t.Errorf("%q is of %s", id, got)
		}
	}
}

func TestClasses(t *testing.T) {
	c := NewClasses(map[string]string{"Mail.Send": `App\Mail\Send`, "straße": "Straße"})
	for typ, class := range map[string]string{"Mail.Send": `App\Mail\Send`, "straße": "Straße", "mail.send": `mail\send`, "A_b": "A_b"} {
		if got := c.Class(typ); got != class {
			t.Errorf("%q has class %q", typ, got)
		}
		if got, ok := c.Type(class); !ok || got != typ {
			t.Errorf("%q has type %q", class, got)
		}
	}
	for _, class := range []string{`Mail\Send`, "Ärger", `\A`, strings.Repeat("A", 65), ""} {
		if typ, ok := c.Type(class); ok {
			t.Errorf("%q has type %q", class, typ)
		}
	}
	for class, good := range map[string]bool{`A\B_2\Ärger`: true, "A": true, "": false, `\A`: false, `A\`: false, "2": false, "a.b": false, `A\\B`: false} {
		if err := CheckClass(class); (err == nil) != good {
			t.Errorf("%q: %v", class, err)
		}
	}
}

// FuzzDecode: what can be read can be written, and is then read as the same.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"cn":"A\\B","pr":2,"tl":30,"toex":1386125013,"td":{"id":"x","parameters":{"a":[1,"\u00e4\/"]}}}`,
		`{"cn":"A","pr":"7x","tl":"1.5","toex":"","td":{"id":1.5,"parameters":[1.5e300,-0.0,[],{}]}}`, `{"cn":"A"}`, "[]", "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Decode(data)
		if err != nil {
			return
		}
		encoded, err := d.Encode()
		if err != nil {
			if strings.Contains(err.Error(), "levels") {
				return
			}
			t.Fatalf("%q cannot be written: %v", data, err)
		}
		again, err := Decode(encoded)
		if err != nil {
			t.Fatalf("%q, and it is not read: %v", encoded, err)
		}
		if again.Class != d.Class && again.Class != strings.TrimPrefix(d.Class, `\`) || again.ID != d.ID || again.Priority != d.Priority ||
			again.limit() != d.limit() || again.Score() != d.Score() || !sameJSON(again.Parameters, d.Parameters) {
			t.Fatalf("%+v became %+v", d, again)
		}
		twice, err := again.Encode()
		if err != nil || again.Class == d.Class && !strings.Contains(string(encoded), "-0") && // -0.0 becomes -0, as in PHP, and that is 0
			!bytes.Equal(twice, encoded) {
			t.Fatalf("%q became %q (%v)", encoded, twice, err)
		}
	})
}

func sameJSON(a, b json.RawMessage) bool {
	var x, y any
	if a != nil && json.Unmarshal(a, &x) != nil {
		return true // a number that Go has no room for
	}
	_ = json.Unmarshal(b, &y)
	return reflect.DeepEqual(x, y)
}
