package source_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/BurntSushi/toml"

	"procops/internal/config/source"
)

// document has every construct in which a key or a value can stand.
const document = `# comment
title = "x" # more
"quoted key" = 'it''s'
a.b . "c d".e = 1
[table]
    "é\u00e8\"" = "\"#=" ; x = 2
[ table . sub ]
long = """
first ""quoted"" \""" # no comment
last"""""
raw = '''
[not.a.table]
''''
list = [ 1, # one
  [ "]", '[' ],
  { k = { l = [ 3 ] }, m.n = 1979-05-27 07:32:00 },
]
  [[rows]]
  id = 1
  [rows.detail]
  x = true
[[rows]]
id = 2
[[rows.cells]]
[[rows.cells]]
v = inf
`

func TestScan(t *testing.T) {
	text := strings.NewReplacer(" ; x = 2", "\nx = 2", "'it''s'", "'its'").Replace(document)
	root := scan(t, text)
	for path, want := range map[string]string{
		"title":                 "2:1 2:9",
		"quoted key":            "3:1 3:16",
		"a":                     "4:1 4:1",
		"a/b/c d":               "4:7 4:7",
		"a/b/c d/e":             "4:13 4:17",
		"table":                 "5:2 5:2",
		"table/éè\"":            "6:5 6:19",
		"table/x":               "7:1 7:5",
		"table/sub":             "8:11 8:11",
		"table/sub/long":        "9:1 9:8",
		"table/sub/raw":         "12:1 12:7",
		"table/sub/list":        "15:1 15:8",
		"table/sub/list/0":      "15:10 15:10",
		"table/sub/list/1":      "16:3 16:3",
		"table/sub/list/1/1":    "16:10 16:10",
		"table/sub/list/2":      "17:3 17:3",
		"table/sub/list/2/k/l":  "17:11 17:15",
		"table/sub/list/2/m/n":  "17:26 17:30",
		"rows":                  "19:5 19:5",
		"rows/0/id":             "20:3 20:8",
		"rows/0/detail/x":       "22:3 22:7",
		"rows/1":                "23:3 23:3",
		"rows/1/id":             "24:1 24:6",
		"rows/1/cells/1/v":      "27:1 27:5",
		"rows/1/cells/0":        "25:8 25:8",
		"rows/1/cells/2":        "none",
		"rows/2":                "none",
		"rows/x":                "none",
		"table/sub/list/2/none": "none",
	} {
		got := "none"
		if n := root.Get(strings.Split(path, "/")...); n != nil {
			got = fmt.Sprintf("%d:%d %d:%d", n.Key.Line, n.Key.Column, n.Value.Line, n.Value.Column)
		}
		if got != want {
			t.Errorf("%s at %s, want %s", path, got, want)
		}
	}
	if err := compare(mustDecode(t, text), root); err != nil {
		t.Error(err)
	}
}

func TestScanEndsOfLines(t *testing.T) {
	root := scan(t, "a = 1\r\n\r\n[t]\r\n\tb = 2\r\n")
	if got := root.Near("t", "b").String(); got != "f:4:6" {
		t.Errorf("t.b at %s", got)
	}
}

func TestNear(t *testing.T) {
	root := scan(t, "[a]\nb = [1, {c = 2}]\n")
	for path, want := range map[string]string{
		"a/x/y":   "f:1:2",
		"a/b/1/c": "f:2:14",
		"a/b/1/d": "f:2:9",
		"a/b/7":   "f:2:5",
		"z":       "f:1:1",
	} {
		if got := root.Near(strings.Split(path, "/")...).String(); got != want {
			t.Errorf("%s near %s, want %s", path, got, want)
		}
	}
	var none *source.Node
	if got := none.Near("a").String(); got != "default" {
		t.Errorf("without a file: %s", got)
	}
}

func TestLabel(t *testing.T) {
	root := scan(t, "[a.\"b.c\"]\nlist = [[1], {c.d = 2}]\n")
	for path, want := range map[string]string{
		"":               `the file`,
		"a":              `"a"`,
		"a/b.c":          `"b.c" in [a]`,
		"a/b.c/list":     `"list" in [a."b.c"]`,
		"a/b.c/list/0/0": `"list[0][0]" in [a."b.c"]`,
		"a/b.c/list/1/c": `"list[1].c" in [a."b.c"]`,
		"a/b.c/0/x":      `"x" in [a."b.c".0]`,
	} {
		var keys []string
		if path != "" {
			keys = strings.Split(path, "/")
		}
		if got := root.Label(keys...); got != want {
			t.Errorf("label of %s: %s, want %s", path, got, want)
		}
	}
}

func TestLimits(t *testing.T) {
	deep, long := source.MaxDepth+1, strings.Repeat("k", source.MaxPath)
	for text, want := range map[string]string{
		"x = " + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000):     "f:1:68: tables or lists are nested more than 64 deep",
		"x = " + strings.Repeat("{a=", 10_000) + "1" + strings.Repeat("}", 99): "f:1:196: tables or lists are nested more than 64 deep",
		strings.Repeat("a.", deep) + "a = 1":                                   "f:1:133: tables or lists are nested more than 64 deep",
		"[" + strings.Repeat("a.", deep) + "a]":                                "f:1:134: tables or lists are nested more than 64 deep",
		"\n" + long + " = 1":                                                   "f:2:514: a key with its tables is longer than 512 bytes",
	} {
		root, problems := source.Scan("f", text)
		if root != nil || len(problems) != 1 || problems[0].Error() != want {
			t.Errorf("%.20s...: %v, want %s", text, problems, want)
		}
	}
	if root, _ := source.Scan("f", "[a.b]\n"+strings.Repeat("k = {x = [[1]]}\n", 10_000)); root == nil {
		t.Error("a long file is taken for a deep one")
	}
}

func TestScanTwice(t *testing.T) {
	for text, want := range map[string]string{
		"a = 1\nb = 2\na = 3\na = 4":         `[f:3:1: key "a" is set already at f:1:1 f:4:1: key "a" is set already at f:1:1]`,
		"a.b = 1\na = 2":                     `[f:2:1: key "a" is set already at f:1:1]`,
		"[a]\n[b]\n[a]":                      `[f:3:2: key "a" is set already at f:1:2]`,
		"a = []\n[[a]]":                      `[f:2:3: key "a" is set already at f:1:1]`,
		"[[a]]\n[a]":                         `[f:2:2: key "a" is set already at f:1:3]`,
		"a = {b = 1, b = 2}":                 `[f:1:13: key "b" is set already at f:1:6]`,
		"[a.b]\n[a]\n[[c]]\nd=1\n[[c]]\nd=1": `[]`,
		"a.b = 1\na.c = 2\n[x]\na.b = 1":     `[]`,
	} {
		_, problems := source.Scan("f", text)
		if got := fmt.Sprint(problems); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// FuzzScan checks that every value of every document that the TOML library
// accepts has a position, in the file and where its key stands, and that no
// document makes the scanner panic or hang.
func FuzzScan(f *testing.F) {
	f.Add(document)
	for _, text := range []string{
		"", "a", "a=", "a=[", "a={", "[", "[[", "[[a]]\n[a.b]\n[[a.b.c]]\nd=1", "\"", "'''", `"""\`, "a = \"\\", "a.=1", "=", "]", "}",
		"a = {b = 1,\n # c\n c = 2,}", "\"\\x41\\e\" = 1", "a = '''''x'''''", "a=[1,2,]#", "\"\" = 1\n'' = 2", "a.b=1\na.c=2\n[a.d]",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		root, problems := source.Scan("f", text)
		if !utf8.ValidString(text) || strings.ContainsRune(text, 0) || strings.HasPrefix(text, "\ufeff") {
			return // refused or cut off before the library sees it
		}
		tree, ok := decode(text)
		if !ok || problems != nil {
			return
		}
		if err := compare(tree, root); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	})
}

// compare checks that each value has a node of its kind.
func compare(value any, n *source.Node) error {
	if n == nil {
		return errors.New("no position")
	}
	if n.Key.Line < 1 || n.Key.Column < 1 || n.Value.Line < n.Key.Line || n.Value.Column < 1 {
		return fmt.Errorf("key at %v, value at %v", n.Key, n.Value)
	}
	switch v := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if err := compare(v[key], n.Keys[key]); err != nil {
				return fmt.Errorf("%q: %w", key, err)
			}
		}
	case []map[string]any:
		return compareList(v, n)
	case []any:
		return compareList(v, n)
	}
	return nil
}

func compareList[T any](list []T, n *source.Node) error {
	if len(list) != len(n.Elements) {
		return fmt.Errorf("%d elements, %d positions", len(list), len(n.Elements))
	}
	for i := range list {
		if err := compare(list[i], n.Elements[i]); err != nil {
			return errors.New(strconv.Itoa(i) + ": " + err.Error())
		}
	}
	return nil
}

// decode decodes text, or returns false if the library refuses it.
func decode(text string) (tree map[string]any, ok bool) {
	defer func() {
		if recover() != nil {
			ok = false // the library has bugs that it reports so
		}
	}()
	_, err := toml.Decode(text, &tree)
	return tree, err == nil
}

func mustDecode(t *testing.T, text string) map[string]any {
	t.Helper()
	var tree map[string]any
	if _, err := toml.Decode(text, &tree); err != nil {
		t.Fatal(err)
	}
	return tree
}

func scan(t *testing.T, text string) *source.Node {
	t.Helper()
	root, problems := source.Scan("f", text)
	if problems != nil {
		t.Fatal(problems)
	}
	return root
}

func BenchmarkScan(b *testing.B) {
	text := strings.Repeat("[[a]]\ncommand = [\"sleep\", \"1\"]\nenv = {A = \"b\"}\n", 300)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, problems := source.Scan("f", text); problems != nil {
			b.Fatal(problems)
		}
	}
}

func TestErrorIsOneLine(t *testing.T) {
	at := source.Position{File: "f", Line: 1, Column: 2}
	for text, want := range map[string]string{
		"plain \\ \"ü\"":         `f:1:2: plain \ "ü"`,
		"an \"escape\x1b\\ \n\"": `f:1:2: an "escape\x1b\ \n"`,
	} {
		if got := source.Errorf(at, "%s", text).Error(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := source.Errorf(source.Position{}, "x").Error(); got != "x" {
		t.Errorf("without a position: %s", got)
	}
}
