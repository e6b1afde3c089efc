package phpserial

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestToJSON(t *testing.T) {
	for data, want := range map[string]string{
		"N;": "null", "b:1;": "true", "b:0;": "false", "i:-5;": "-5", "i:007;": "7", "i:+3;": "3",
		"d:0.5;": "0.5", "d:1;": "1.0", "d:1.0E+25;": "1e+25",
		"s:3:\"a\"\x00\";": "a\"\x00", `s:0:"";`: "",
		"a:0:{}": "[]", "a:2:{i:0;i:1;i:1;s:1:\"b\";}": `[1,"b"]`,
		"a:2:{i:1;i:1;i:0;i:2;}":                 `{"1":1,"0":2}`,
		`a:2:{s:1:"b";a:1:{i:0;N;}s:1:"a";b:1;}`: `{"b":[null],"a":true}`,
		`a:1:{i:0;s:6:"<é" ` + "\n\";}":          `["<é\" \n"]`,
	} {
		got, err := ToJSON([]byte(data))
		if err != nil || string(got) != want {
			t.Errorf("%q: %q (%v), want %q", data, got, err, want)
		}
	}
}

func TestToJSONRefuses(t *testing.T) {
	for _, data := range []string{
		"", "N", "x", "i:;", "i:1", "i:x;", "b:2;", "d:INF;", "d:NAN;", "d:0x1p4;", `s:5:"a";`, `s:1:"ab";`, `s:-1:"";`,
		"s:99999999999999999999:\"\";", "a:1:{}", "a:1:{N;N;}", "a:1:{i:0;}", "a:0:{", "i:1;i:2;", "a:1:{i:0;s:1:\"\xff\";}",
		`O:1:"A":0:{}`, "R:1;", strings.Repeat("a:1:{i:0;", maxDepth+1),
	} {
		if got, err := ToJSON([]byte(data)); err == nil {
			t.Errorf("%q passes as %q", data, got)
		}
	}
}

func TestFromOutput(t *testing.T) {
	for output, want := range map[string]string{
		"text\n": "s:5:\"text\n\";", "": `s:0:"";`, "\xff": "s:1:\"\xff\";", "5\n": "i:5;", "1.0": "d:1.0;", "1e2": "d:100.0;", "null": "N;", "true": "b:1;",
		`"a"`: `s:1:"a";`, "[]": "a:0:{}", `[1,[false]]`: "a:2:{i:0;i:1;i:1;a:1:{i:0;b:0;}}",
		`{"a":1,"5":2,"05":3,"-0":4}`: `a:4:{s:1:"a";i:1;i:5;i:2;s:2:"05";i:3;s:2:"-0";i:4;}`,
		"99999999999999999999":        "d:1e+20;", "1e999": `s:5:"1e999";`, "{": `s:1:"{";`,
	} {
		if got := FromOutput([]byte(output)); string(got) != want {
			t.Errorf("%q: %q, want %q", output, got, want)
		}
	}
}

// FuzzToJSON: what is read is JSON, unless it was a string, and comes back as the same.
func FuzzToJSON(f *testing.F) {
	for _, seed := range []string{"N;", `a:2:{i:0;i:1;s:1:"b";d:0.5;}`, `s:1:"a";`, "b:1;", `a:1:{i:5;a:0:{}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		out, err := ToJSON(data)
		if err != nil || data[0] == 's' {
			return
		}
		if !json.Valid(out) {
			t.Fatalf("%q becomes %q", data, out)
		}
		again, err := ToJSON(FromOutput(out))
		if err != nil || !bytes.Equal(again, out) {
			t.Errorf("%q becomes %q, and then %q (%v)", data, out, again, err)
		}
	})
}

// FuzzFromOutput: whatever a program writes, PHP gets something that it can read.
func FuzzFromOutput(f *testing.F) {
	for _, seed := range []string{"text", `{"a":[1,2.5,null,"x"]}`, "5", "\xff"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, output []byte) {
		if _, err := ToJSON(FromOutput(output)); err != nil && !strings.Contains(err.Error(), "nested") {
			t.Errorf("%q: %v", output, err)
		}
	})
}
