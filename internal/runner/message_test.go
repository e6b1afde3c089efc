package runner

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestWorkMessage(t *testing.T) {
	for _, c := range []struct {
		work   Work
		always bool
		want   string
	}{
		{Work{}, false, `{"type":"work","id":"7","input":""}`},
		{Work{Input: []byte("ä\"\\\n\r\t\x00\x1f\x7f/<")}, false, `{"type":"work","id":"7","input":"ä\"\\\n\r\t\u0000\u001f` + "\x7f" + `/<"}`},
		{Work{Input: []byte("a\xff")}, false, `{"type":"work","id":"7","input_base64":"Yf8="}`},
		{Work{Input: []byte("a")}, true, `{"type":"work","id":"7","input_base64":"YQ=="}`},
		{Work{Meta: []Meta{{"turn", "1"}, {"b", "\"\xff"}}}, false, `{"type":"work","id":"7","input":"","meta":{"turn":"1","b":"\"` + "\ufffd" + `"}}`},
	} {
		got := string(appendWork(nil, 7, &c.work, c.always))
		if got != c.want+"\n" || !json.Valid([]byte(got)) {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

// FuzzAppendString: what is written is read by others as what it was.
func FuzzAppendString(f *testing.F) {
	f.Add("a\"\\\n\x00\x1fä\u2028")
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return // is sent as base64
		}
		var back string
		if err := json.Unmarshal(appendString(nil, []byte(text)), &back); err != nil || back != text {
			t.Errorf("%q came back as %q, %v", text, back, err)
		}
	})
}

func TestHello(t *testing.T) {
	for line, want := range map[string]string{
		`{"type":"hello","protocol":1}`:                               "",
		`{"type":"hello","protocol":1,"encoding":"text"}`:             "",
		`{"type":"hello","protocol":1,"encoding":"base64"}`:           "base64",
		`{ "protocol" : 1 , "x":[{}], "type" : "hello" }`:             "",
		`{"type":"hello"}`:                                            "it does not say which protocol",
		`{"type":"hello","protocol":2}`:                               "it speaks protocol 2, and procops protocol 1",
		`{"type":"hello","protocol":"1"}`:                             "its values have the wrong types",
		`{"type":"hello","protocol":1,"encoding":"utf-16"}`:           `there is no encoding "utf-16", only text and base64`,
		`{"type":"result","id":"1"}`:                                  `its type is "result"`,
		`{"protocol":1}`:                                              "it has no type",
		`{"type":1}`:                                                  "its type is no string",
		`hello`:                                                       "it is no JSON object",
		`{"type":"hello","protocol":1}}`:                              "it is no JSON object",
		`{"type":"hello","protocol":1,}`:                              "it is no JSON object",
		`{"type":"` + strings.Repeat("long", 100) + `","protocol":1}`: `its type is "` + strings.Repeat("long", 20) + `…"`,
	} {
		base64Always, err := parseHello([]byte(line))
		got := map[bool]string{true: "base64"}[base64Always]
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
}

func TestMessages(t *testing.T) {
	m, err := parseMessage([]byte(`{"type":"result","id":"1","outcome":null,"output":"\u00e4\ud83d\ude00\ud800x\"\\\/\b\f\n\r\t\u0000","n":-1.5e3,"o":{"a":[1,true,null,{"b":"}"}]},"message":"m"}`))
	if err != nil {
		t.Fatal(err)
	}
	output, err := m.result()
	if want := "ä😀\ufffdx\"\\/\b\f\n\r\t\x00"; string(output) != want || err != nil || m.outcome.raw != nil || m.reason.copied() != "m" {
		t.Errorf("output %q, %v, %+v", output, err, m)
	}
	for _, line := range []string{
		"", " ", "{", "[]", "null", `"x"`, `{"type"}`, `{"type":}`, `{"type":"x"`, `{"type":"x",}`, `{,}`, `{"type":"x"}x`, `{"type":"x" "id":"1"}`,
		`{"type":"\x"}`, `{"type":"\u12"}`, `{"type":"\u12g4"}`, `{"type":"\`, `{"type":"x","a":[}`, `{"type":"x","a":[1,]}`, `{"type":"x","a":{"b"}}`,
		`{"type":"x","a":01}`, `{"type":"x","a":tru}`, "{\"type\":\"a\tb\"}", `{"type":"x","a":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + "}",
		`{"id":"1"}`, `{"type":"x","id":1}`, `{"type":"x","output":["a"]}`,
	} {
		if m, err := parseMessage([]byte(line)); err == nil {
			t.Errorf("%s is read as %+v", line, m)
		}
	}
}

// FuzzMessage: what is accepted is JSON and means what encoding/json takes it for; what
// that accepts is refused only if a value is no string or is nested too deeply.
func FuzzMessage(f *testing.F) {
	for _, seed := range []string{
		`{"type":"hello","protocol":1,"encoding":"base64"}`, `{"type":"result","id":"1","outcome":"retry","output":"a\u00e4\ud83d\ude00","message":"m"}`,
		`{"type":"data","id":"1","output_base64":"Yf8="}`, `{"type":"progress","id":"1","done":3,"total":10}`, `{"\u0074ype":"\n","a":[{},[],"",1,null]}`,
		`{"type":"x","output":"\ud800\u0041\udc00"}`, "{\"type\":\"\xff\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var others map[string]json.RawMessage
		valid := json.Unmarshal(line, &others) == nil && others != nil
		if bytes.Count(line, []byte("[")) > maxDepth || bytes.Count(line, []byte("{")) > maxDepth {
			return
		}
		m, err := parseMessage(line)
		if err == nil && !valid {
			t.Fatalf("%q is accepted", line)
		}
		if err != nil {
			if valid && errors.Is(err, errNoJSON) {
				t.Fatalf("%q is refused: %v", line, err)
			}
			return
		}
		for name, got := range map[string]text{
			"type": m.kind, "id": m.id, "outcome": m.outcome, "message": m.reason, "output": m.output, "output_base64": m.output64,
		} {
			var want *string
			if raw, ok := others[name]; ok {
				if err := json.Unmarshal(raw, &want); err != nil {
					t.Fatalf("%q: its %s is no string: %v", line, name, err)
				}
			}
			if (want == nil) != (got.raw == nil) {
				t.Fatalf("%q: its %s is %+v", line, name, got)
			}
			if want != nil && known(got.copied()) != known(*want) {
				t.Fatalf("%q: its %s is %q, want %q", line, name, got.copied(), *want)
			}
		}
		_, _ = m.result() // must not panic
	})
}

// known returns a text without what is no UTF-8, which encoding/json replaces and
// procops leaves as it is.
func known(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, ""), "\ufffd", "")
}
