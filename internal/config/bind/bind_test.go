package bind_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"

	"procops/internal/config/bind"
	"procops/internal/config/source"
	"procops/internal/unit"
)

// section has a field of each kind.
type section struct {
	Text     string            `toml:"text" default:"x"`
	Kind     kind              `toml:"kind" default:"plain"`
	Level    string            `toml:"level" enum:"low,high"`
	Count    int               `toml:"count" default:"3" min:"1" max:"9"`
	Share    float64           `toml:"share" min:"0.5"`
	Flag     bool              `toml:"flag" default:"true"`
	Wait     unit.Duration     `toml:"wait" default:"1m" max:"1h"`
	Size     unit.Size         `toml:"size"`
	List     []string          `toml:"list" default:"a,b"`
	None     []string          `toml:"none" default:""`
	Numbers  []int             `toml:"numbers" max:"5"`
	Maybe    *int              `toml:"maybe" min:"0"`
	Words    *words            `toml:"words"`
	Env      map[string]string `toml:"env"`
	Inner    inner             `toml:"inner"`
	Optional *inner            `toml:"optional"`
	Entries  []entry           `toml:"entries"`
	Named    map[string]inner  `toml:"named"`
	Others   map[string]inner  `toml:"*"`
	Ignored  string            `toml:"-"`
	Untagged string
}

type inner struct {
	Must  string        `toml:"must" required:"true"`
	Delay unit.Duration `toml:"delay" default:"2s"`
}

// entry can be written as a string.
type entry struct {
	Name  string `toml:"name" required:"true"`
	Extra int    `toml:"extra" default:"7"`
}

// UnmarshalList reads it from a list.
func (e *entry) UnmarshalList(list []any) error {
	e.Name = fmt.Sprint(list...)
	return nil
}

func (e *entry) UnmarshalString(text string) error {
	if strings.Contains(text, " ") {
		return errors.New("no spaces")
	}
	e.Name = text
	return nil
}

// kind reads itself from a string.
type kind string

func (k *kind) UnmarshalText(text []byte) error {
	if string(text) == "bad" {
		return errors.New("it is bad")
	}
	*k = kind(strings.ToUpper(string(text)))
	return nil
}

// words reads itself from whatever stands there.
type words []string

func (w *words) UnmarshalTOML(v any) error {
	switch v := v.(type) {
	case string:
		*w = strings.Fields(v)
	case []any:
		*w = words{"a list"}
	default:
		return errors.New("no words")
	}
	return nil
}

// bindText binds a document and returns the problems, in order.
func bindText(t *testing.T, text string, into any) []string {
	t.Helper()
	var tree map[string]any
	if _, err := toml.Decode(text, &tree); err != nil {
		t.Fatal(err)
	}
	root, _ := source.Scan("f", text)
	var problems []string
	bind.Table(tree, root, into, func(p *source.Error) { problems = append(problems, p.Error()) })
	slices.Sort(problems)
	return problems
}

func TestDefaults(t *testing.T) {
	want := section{
		Text: "x", Kind: "PLAIN", Count: 3, Flag: true, Wait: unit.Duration(time.Minute),
		List: []string{"a", "b"}, None: []string{}, Inner: inner{Delay: unit.Duration(2 * time.Second)},
	}
	var got section
	if problems := bindText(t, "", &got); problems != nil {
		t.Errorf("problems %q", problems)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	var absent section
	bind.Table(nil, nil, &absent, func(p *source.Error) { t.Error(p) })
	if !reflect.DeepEqual(absent, want) {
		t.Errorf("without a file: got\n%+v\nwant\n%+v", absent, want)
	}
}

func TestValues(t *testing.T) {
	var got section
	problems := bindText(t, `
text = "y"
kind = "odd"
level = "high"
count = 9
share = 1
flag = false
wait = 90
size = 1.5
list = []
none = ["n"]
numbers = [5, -5]
maybe = 0
words = "to be"
env = {A = "1", "b.c" = ""}
inner.must = "m"
optional = {must = "o", delay = "1s"}
entries = ["one", {name = "two", extra = 2}, ["1", "2"]]
[named."a.b"]
must = "x"
[other]
must = "y"
`, &got)
	if problems != nil {
		t.Errorf("problems %q", problems)
	}
	two := unit.Duration(2 * time.Second)
	want := section{
		Text: "y", Kind: "ODD", Level: "high", Count: 9, Share: 1, Wait: unit.Duration(90 * time.Second), Size: 1,
		List: []string{}, None: []string{"n"}, Numbers: []int{5, -5}, Maybe: new(int), Words: &words{"to", "be"},
		Env: map[string]string{"A": "1", "b.c": ""}, Inner: inner{"m", two}, Optional: &inner{"o", two / 2},
		Entries: []entry{{"one", 7}, {"two", 2}, {"12", 7}},
		Named:   map[string]inner{"a.b": {"x", two}}, Others: map[string]inner{"other": {"y", two}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

func TestProblems(t *testing.T) {
	for text, want := range map[string][]string{
		"kind = 'bad'":                          {`f:1:8: "kind": it is bad`},
		"kind = 1":                              {`f:1:8: "kind": want a string, have an integer`},
		"level = 'hihg'":                        {`f:1:9: "level": invalid value "hihg": want "low" or "high"; did you mean "high"?`},
		"count = 0":                             {`f:1:9: "count": must be from 1 to 9`},
		"share = 0.4":                           {`f:1:9: "share": must be at least 0.5`},
		"share = nan":                           {`f:1:9: "share": must be at least 0.5`},
		"wait = '61m'":                          {`f:1:8: "wait": must be at most 1h`},
		"maybe = -1":                            {`f:1:9: "maybe": must be at least 0`},
		"numbers = [1, 6, 'x', 7]":              {`f:1:15: "numbers[1]": must be at most 5`, `f:1:18: "numbers[2]": want an integer, have a string`, `f:1:23: "numbers[3]": must be at most 5`},
		"words = 1":                             {`f:1:9: "words": no words`},
		"optional = 'x'":                        {`f:1:12: "optional": want a table, have a string`},
		"optional = {}":                         {`f:1:12: missing key "must" in [optional]`},
		"inner.must = ''":                       {`f:1:14: "must" in [inner]: it is empty`},
		"[inner]":                               {`f:1:2: missing key "must" in [inner]`},
		"entries = ['a b', {}, 5]":              {`f:1:12: "entries[0]": no spaces`, `f:1:19: missing key "entries[1].name"`, `f:1:23: "entries[2]": want a string, a list or a table, have an integer`},
		"[other]\nmust = 1":                     {`f:2:8: "must" in [other]: want a string, have an integer`},
		"[[other]]":                             {`f:1:3: unknown key "other"`},
		"other = 1":                             {`f:1:1: unknown key "other"`},
		"[named.-x]\nmust = 'x'":                {`f:1:8: "-x" in [named]: the name "-x" cannot begin with "-"`},
		"named = {a = 1}":                       {`f:1:14: "a" in [named]: want a table, have an integer`},
		"Ignored = 'x'\nUntagged = 'x'":         {`f:1:1: unknown key "Ignored"`, `f:2:1: unknown key "Untagged"`},
		"flag = 1\ncuont = 1":                   {`f:1:8: "flag": want true or false, have an integer`, `f:2:1: unknown key "cuont"; did you mean "count"?`},
		"size = true\nlist = {}\nenv = {A = 1}": {`f:1:8: "size": want a size such as "256M", have a boolean`, `f:2:8: "list": want a list, have a table`, `f:3:12: "A" in [env]: want a string, have an integer`},
	} {
		var into section
		if got := bindText(t, text, &into); !slices.Equal(got, want) {
			t.Errorf("%s:\n got %q\nwant %q", text, got, want)
		}
	}
}

// TestMistakesInTags checks that a default or limit that cannot be is found:
// it is a mistake in the program, but must not go unseen.
func TestMistakesInTags(t *testing.T) {
	var wrongDefault struct {
		N int `toml:"n" default:"x"`
	}
	if got := bindText(t, "", &wrongDefault); len(got) != 1 || !strings.Contains(got[0], `"n": cannot use the default "x"`) {
		t.Errorf("problems %q", got)
	}
	var wrongLimit struct {
		N int `toml:"n" min:"x"`
	}
	if got := bindText(t, "n = 1", &wrongLimit); len(got) != 1 || !strings.Contains(got[0], `"n": cannot use the limit "x"`) {
		t.Errorf("problems %q", got)
	}
	var wrongType struct {
		C chan int `toml:"c"`
	}
	if got := bindText(t, "c = 1", &wrongType); len(got) != 1 || !strings.Contains(got[0], `"c": cannot be set: its type is chan int`) {
		t.Errorf("problems %q", got)
	}
}

func TestMissingError(t *testing.T) {
	var into inner
	var missing *bind.MissingError
	bind.Table(map[string]any{}, nil, &into, func(p *source.Error) {
		if !errors.As(p, &missing) {
			t.Errorf("%v is no MissingError", p)
		}
	})
	if missing == nil || missing.Error() != `missing key "must"` {
		t.Errorf("error %v", missing)
	}
}

// parent has sections that check themselves.
type parent struct {
	First  checked `toml:"first"`
	Second struct {
		Third checked `toml:"third"`
	} `toml:"second"`
}

type checked struct {
	A []int `toml:"a"`
}

func (c *checked) Check(report func(err error, path ...string)) {
	if len(c.A) == 0 {
		report(errors.New("no numbers"))
	}
	for i, n := range c.A {
		if n > 1 {
			report(errors.New("too much"), "a", string(rune('0'+i)))
		}
	}
}

func TestCheck(t *testing.T) {
	var (
		into parent
		got  []string
		text = "[first]\na = [1, 2]\n[second.third]\n"
	)
	if problems := bindText(t, text, &into); problems != nil {
		t.Fatal(problems)
	}
	root, _ := source.Scan("f", text)
	bind.Check(&into, root, func(p *source.Error) { got = append(got, p.Error()) })
	if want := []string{`f:2:9: "a[1]" in [first]: too much`, `f:3:9: "third" in [second]: no numbers`}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
