package gearman

import (
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	for text, want := range map[string]Address{
		"queue":              "queue:4730",
		"queue:4731":         "queue:4731",
		"127.0.0.1":          "127.0.0.1:4730",
		"::1":                "[::1]:4730",
		"[::1]":              "[::1]:4730",
		"[::1]:5":            "[::1]:5",
		"fe80::1%eth0":       "[fe80::1%eth0]:4730",
		"/run/gearman.sock":  "/run/gearman.sock",
		"unix:/run//g/.sock": "/run/g/.sock",
	} {
		got, err := ParseAddress(text)
		if err != nil || got != want {
			t.Errorf("%q: %q (%v), want %q", text, got, err, want)
		}
		if again, err := ParseAddress(string(got)); err != nil || again != got {
			t.Errorf("%q again: %q (%v)", got, again, err)
		}
		h, err := ParseHandle(Handle{got, "H:x:1"}.String())
		if err != nil || h.Server != got || h.ID != "H:x:1" {
			t.Errorf("in a handle: %+v (%v)", h, err)
		}
	}
}

func TestParseAddressRefuses(t *testing.T) {
	for _, text := range []string{"", ":4730", "host:", "host:x", "host:0", "host:65536", "host:1:2", "a b", "a\x00b", "a/b", "unix:relative", "[host", "/run/\n", "ho\u0001st:1", "host:+1"} {
		if got, err := ParseAddress(text); err == nil {
			t.Errorf("%q passes as %q", text, got)
		}
	}
}

func TestParseHandle(t *testing.T) {
	for text, want := range map[string]Handle{
		"H:vm:12":                {ID: "H:vm:12"},
		"127.0.0.1:4730//H:vm:1": {Server: "127.0.0.1:4730", ID: "H:vm:1"},
		"queue//H:vm:1":          {Server: "queue:4730", ID: "H:vm:1"},
	} {
		if got, err := ParseHandle(text); err != nil || got != want {
			t.Errorf("%q: %+v (%v), want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "//", "//H:1", "a b//H:1", "host//", "H:1\n", "H 1", "host//H\x00", strings.Repeat("x", maxID+1)} {
		if got, err := ParseHandle(text); err == nil {
			t.Errorf("%q passes as %+v", text, got)
		}
	}
}
