package name_test

import (
	"regexp"
	"strings"
	"testing"

	"procops/internal/name"
)

func TestCheck(t *testing.T) {
	for _, good := range []string{"web", "a", "Web-1", "db.main", "_x", "0", strings.Repeat("n", name.MaxLength)} {
		if err := name.Check(good); err != nil {
			t.Errorf("Check(%q) = %v", good, err)
		}
	}
	for bad, want := range map[string]string{
		"":                      `a name cannot be empty`,
		".":                     `the name "." cannot begin with "."`,
		"..":                    `the name ".." cannot begin with "."`,
		"-x":                    `the name "-x" cannot begin with "-"`,
		"a/b":                   `the name "a/b" may only have letters, digits, ".", "_" and "-"`,
		"a b":                   `the name "a b" may only have letters, digits, ".", "_" and "-"`,
		"a\x00":                 `the name "a\x00" may only have letters, digits, ".", "_" and "-"`,
		"straße":                `the name "straße" may only have letters, digits, ".", "_" and "-"`,
		"\xff":                  `the name "\xff" may only have letters, digits, ".", "_" and "-"`,
		strings.Repeat("n", 65): `the name "nnnnnnnnnnnnnnnn..." is longer than 64 characters`,
	} {
		if err := name.Check(bad); err == nil || err.Error() != want {
			t.Errorf("Check(%q) = %v, want %s", bad, err, want)
		}
	}
}

// FuzzPattern checks that Pattern and Check agree.
func FuzzPattern(f *testing.F) {
	for _, s := range []string{"web", ".", "-x", "a.b-c_d", "", strings.Repeat("n", 64), strings.Repeat("n", 65), "a\n", "ä"} {
		f.Add(s)
	}
	pattern := regexp.MustCompile(name.Pattern)
	f.Fuzz(func(t *testing.T, s string) {
		if err := name.Check(s); (err == nil) != pattern.MatchString(s) {
			t.Fatalf("Check(%q) = %v", s, err)
		}
	})
}

func TestNearest(t *testing.T) {
	keys := []string{"command", "dir", "env", "on_fail", "on_pass", "restart", "stop", "user", "group"}
	for typed, want := range map[string]string{
		"comand":     "command",
		"cmomand":    "command",
		"COMMAND":    "command",
		"on-fail":    "on_fail",
		"onfail":     "on_fail",
		"on_pas":     "on_pass",
		"directory":  "",
		"dri":        "dir",
		"restarts":   "restart",
		"grp":        "group",
		"x":          "",
		"":           "",
		"sotp":       "stop",
		"completely": "",
		"usre":       "user",
	} {
		if got, ok := name.Nearest(typed, keys); got != want || ok != (want != "") {
			t.Errorf("Nearest(%q) = %q, %t, want %q", typed, got, ok, want)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	if got, want := name.DidYouMean("alwyas", []string{"never", "always"}), `; did you mean "always"?`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := name.DidYouMean("zzzzzz", []string{"never", "always"}); got != "" {
		t.Errorf("got %q for a name that is not near", got)
	}
	if got := name.DidYouMean(strings.Repeat("never", 1000), []string{"never"}); got != "" {
		t.Errorf("got %q for a name that is far too long", got)
	}
}
