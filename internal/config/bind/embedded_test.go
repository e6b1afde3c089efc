package bind_test

import (
	"reflect"
	"slices"
	"testing"

	"procops/internal/config/bind"
	"procops/internal/config/source"
)

// shared is a struct that sections embed.
type shared struct {
	Dir   string `toml:"dir" path:"true"`
	Nice  int    `toml:"nice" default:"4" max:"19"`
	Inner inner  `toml:"inner"`
}

type outer struct {
	shared

	Name string `toml:"name" required:"true"`
}

// TestEmbedded: the keys of an embedded struct are those of the table, behind its own.
func TestEmbedded(t *testing.T) {
	var keys []string
	for _, f := range bind.Fields(reflect.TypeFor[outer]()) {
		keys = append(keys, f.Name)
	}
	if want := []string{"name", "dir", "nice", "inner"}; !slices.Equal(keys, want) {
		t.Errorf("keys %q, want %q", keys, want)
	}
	var got outer
	if problems := bindText(t, "name = \"a\"\ninner.must = \"m\"", &got); problems != nil {
		t.Errorf("problems %q", problems)
	}
	if got.Nice != 4 || got.Inner.Must != "m" || got.Inner.Delay.Std().Seconds() != 2 {
		t.Errorf("got %+v", got)
	}
	want := []string{
		`f:1:8: "nice": must be at most 19`, `f:2:1: unknown key "nica"; did you mean "nice"?`, `f:3:1: unknown key "shared"`,
	}
	if problems := bindText(t, "nice = 20\nnica = 1\nshared = 1\nname = \"a\"", &got); !slices.Equal(problems, want) {
		t.Errorf("problems %q, want %q", problems, want)
	}
	bind.Check(&got, &source.Node{}, func(e *source.Error) { t.Error(e) })
}
