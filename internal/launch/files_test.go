package launch

import (
	"reflect"
	"testing"
)

func TestFiles(t *testing.T) {
	for _, c := range []struct {
		value any
		want  Files
	}{
		{"a", Files{"/d/a"}},
		{[]any{"a/../b", "-c", "/e", "-/f"}, Files{"/d/b", "-/d/c", "/e", "-/f"}},
		{[]any{}, Files{}},
	} {
		var f Files
		err := f.UnmarshalTOML(c.value)
		f.Anchor("/d")
		if err != nil || !reflect.DeepEqual(f, c.want) {
			t.Errorf("%v: %q, %v, want %q", c.value, f, err, c.want)
		}
	}
	for _, c := range []struct {
		value any
		want  string
	}{
		{"", `"" is no path`},
		{[]any{"a", "-"}, `"-" is no path`},
		{"a\x00", `"a\x00" is no path`},
		{int64(1), "want a path or a list of paths"},
		{[]any{"a", true}, "want a path or a list of paths"},
	} {
		var f Files
		if err := f.UnmarshalTOML(c.value); err == nil || err.Error() != c.want || f != nil {
			t.Errorf("%v: %v, want %s", c.value, err, c.want)
		}
	}
}
