package tasks

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"procops/internal/fault"
)

func mailConfig() Config {
	return Config{Types: map[string]Type{
		"mail.send": {Params: map[string]Param{
			"to":    {Type: TypeString, Required: true},
			"n":     {Type: TypeInt, Default: &Value{"3"}},
			"ratio": {Type: TypeFloat},
			"html":  {Type: TypeBool, Default: &Value{"false"}},
			"tags":  {Type: TypeArray, Default: &Value{`["a"]`}},
		}},
		"free": {},
	}}
}

func TestParams(t *testing.T) {
	for params, want := range map[string]string{
		`{"to": "x"}`: `{"html":false,"n":3,"tags":["a"],"to":"x"}`,
		`{"to": "", "n": -9223372036854775808, "html": true, "tags": [], "ratio": 1e3}`: `{"to":"","n":-9223372036854775808,"html":true,"tags":[],"ratio":1e3}`,
		` {"to":"<&>","ratio":7} `: `{"html":false,"n":3,"ratio":7,"tags":["a"],"to":"\u003c\u0026\u003e"}`,
	} {
		got, err := mailConfig().CheckParams("mail.send", json.RawMessage(params))
		if err != nil || string(got) != want {
			t.Errorf("%s became %s, %v; want %s", params, got, err, want)
		}
	}
	for _, params := range []string{"", "{}", `{"a":{"b":[null,1]}}`} {
		if got, err := mailConfig().CheckParams("free", json.RawMessage(params)); err != nil || len(got) < 2 {
			t.Errorf("type without declared parameters, %q: %s, %v", params, got, err)
		}
	}
}

func TestBadParams(t *testing.T) {
	for params, want := range map[string]string{
		`{}`:                                    `parameter "to" is missing`,
		`{"to": 5}`:                             `parameter "to": want a string, have a number`,
		`{"to": null}`:                          `parameter "to": want a string, have null`,
		`{"to": "x", "n": 1.5}`:                 `parameter "n": want an integer, have 1.5`,
		`{"to": "x", "n": "1"}`:                 `parameter "n": want an integer, have a string`,
		`{"to": "x", "n": 9223372036854775808}`: `parameter "n": want an integer, have 9223372036854775808`,
		`{"to": "x", "ratio": 1e999}`:           `parameter "ratio": want a number, have 1e999`,
		`{"to": "x", "html": 1}`:                `parameter "html": want true or false, have a number`,
		`{"to": "x", "tags": {}}`:               `parameter "tags": want an array, have an object`,
		`{"too": "x"}`:                          `there is no parameter "too"; did you mean "to"?; parameter "to" is missing`,
		`[]`:                                    `its parameters are not a JSON object`,
		`null`:                                  `its parameters are not a JSON object`,
		`{"to": "x"`:                            `its parameters are not a JSON object: unexpected end of JSON input at byte 10`,
		`{"to": "x"} {}`:                        `its parameters are not a JSON object: invalid character '{' after top-level value at byte 13`,
		"{\"to\": \"\xff\"}":                    `its parameters are not valid UTF-8; binary data can be given in base64`,
	} {
		got, err := mailConfig().CheckParams("mail.send", json.RawMessage(params))
		if err == nil || err.Error() != want {
			t.Errorf("%s: %s, %v; want the error %s", params, got, err, want)
		}
	}
	huge := `{"a":"` + strings.Repeat("x", MaxParams) + `"}`
	if _, err := mailConfig().CheckParams("free", json.RawMessage(huge)); err == nil || !strings.Contains(err.Error(), "at most 1048576 are allowed") {
		t.Errorf("parameters of more than a megabyte: %v", err)
	}
}

func TestUnknownType(t *testing.T) {
	cfg := mailConfig()
	if _, err := cfg.CheckParams("mial.send", nil); !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), `did you mean "mail.send"?`) {
		t.Errorf("a type that is nearly right: %v", err)
	}
	cfg.Unknown = Accept
	if _, err := cfg.CheckParams("mial.send", nil); err != nil {
		t.Errorf("unknown types are accepted, and yet: %v", err)
	}
	if _, err := (Config{}).CheckParams("anything", nil); err != nil {
		t.Errorf("no type is declared, and yet: %v", err)
	}
	for _, bad := range []string{"", "-x", "a b", "a/b", strings.Repeat("x", 65), "a\x00"} {
		if _, err := (Config{}).CheckParams(bad, nil); !fault.Is(err, fault.Usage) {
			t.Errorf("type %q: %v", bad, err)
		}
	}
}

func TestParseParam(t *testing.T) {
	for _, c := range [][3]string{
		{"to", "5", `"5"`},
		{"to", "", `""`},
		{"n", " 5", "5"},
		{"html", "true", "true"},
		{"tags", `["x"]`, `["x"]`},
		{"undeclared", "5", `"5"`},
	} {
		if got, err := mailConfig().ParseParam("mail.send", c[0], c[1]); err != nil || string(got) != c[2] {
			t.Errorf("%s=%s is %s, %v; want %s", c[0], c[1], got, err, c[2])
		}
	}
	for _, c := range [][2]string{{"n", ""}, {"n", "x"}, {"n", "0x10"}, {"html", "yes"}, {"tags", "a,b"}, {"ratio", "NaN"}} {
		if got, err := mailConfig().ParseParam("mail.send", c[0], c[1]); err == nil || !strings.Contains(err.Error(), `parameter "`+c[0]+`"`) {
			t.Errorf("%s=%s is %s, %v", c[0], c[1], got, err)
		}
	}
}

func TestID(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	seen := map[string]bool{}
	for range 1000 {
		id := newULID(now)
		if len(id) != 26 || seen[id] || strings.Trim(id, "0123456789ABCDEFGHJKMNPQRSTVWXYZ") != "" {
			t.Fatalf("bad id %q", id)
		}
		seen[id] = true
	}
	// The first ten characters are the milliseconds; this is the example of the
	// specification.
	if got := newULID(time.UnixMilli(1469918176385))[:10]; got != "01ARYZ6S41" {
		t.Errorf("the time is encoded as %q", got)
	}
}
