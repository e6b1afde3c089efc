package imports_test

import (
	"slices"
	"strings"
	"testing"

	"procops/internal/config/imports"
	"procops/internal/config/source"
)

func TestDraft(t *testing.T) {
	var d imports.Draft
	d.Comment("one %s", strings.Repeat("long ", 30))
	n := imports.Note{At: source.Position{File: "f", Line: 3, Column: 1}, Text: "with\x1b \x00 and\nlines"}
	d.Note(n)
	d.Note(n)
	d.Gap()
	d.Table("a", "b c")
	d.Set("${x} \"q\"", "s")
	d.Set(imports.Filled("${x}"), "stop", "signal")
	d.Set([]string{"a", "$${b}"}, "list")
	d.Set([]string{strings.Repeat("x", 60), strings.Repeat("y", 60)}, "long list")
	d.Set([]imports.Inline{{"settle", true, "retry", 3}}, "links")
	d.Set([]int{}, "none")
	r := d.Result()
	want := `# one ` + strings.TrimSpace(strings.Repeat("long ", 19)) + `
# ` + strings.TrimSpace(strings.Repeat("long ", 11)) + `
# NOTE f:3: with? ? and lines

[a."b c"]
s = "$${x} \"q\""
stop.signal = "${x}"
list = ["a", "$$${b}"]
"long list" = [
    "` + strings.Repeat("x", 60) + `",
    "` + strings.Repeat("y", 60) + `",
]
links = [{ settle = true, retry = 3 }]
none = []
`
	if r.TOML != want {
		t.Errorf("got\n%s\nwant\n%s", r.TOML, want)
	}
	if !slices.Equal(r.Notes, []imports.Note{n}) || n.String() != `f:3:1: with\x1b \x00 and\nlines` {
		t.Errorf("notes %q, %q", r.Notes, n.String())
	}
}
