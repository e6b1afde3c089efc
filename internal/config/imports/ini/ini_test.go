package ini_test

import (
	"testing"

	"procops/internal/config/imports/ini"
)

// That texts are read as Python reads them is tested in package supervisord,
// where there is a Python to ask.

func TestSeveralFiles(t *testing.T) {
	var d ini.Document
	for _, f := range [][2]string{
		{"a", "[x]\nk = 1\nl = 2\n  more\n"},
		{"b", "[DEFAULT]\nd = default\n[y]\n[x]\n  K = 3 ; c\n"},
	} {
		if problems := d.Read(f[0], f[1]); len(problems) > 0 {
			t.Fatal(problems[0])
		}
	}
	x := d.Section("x")
	if len(d.Sections) != 2 || x == nil || x.At.String() != "a:1:1" || d.Section("z") != nil {
		t.Fatalf("sections %v", d.Sections)
	}
	for key, want := range map[string][2]string{"k": {"3", "b:5:3"}, "l": {"2\nmore", "a:3:1"}, "d": {"default", "b:2:1"}} {
		k := x.Get(key)
		if k == nil || k.Value != want[0] || k.At.String() != want[1] {
			t.Errorf("%s: got %+v, want %v", key, k, want)
		}
	}
	var none *ini.Section
	if x.Get("none") != nil || none.Get("k") != nil {
		t.Error("there are keys that nobody set")
	}
}
