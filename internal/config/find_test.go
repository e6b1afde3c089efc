package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"procops/internal/config"
	"procops/internal/fault"
)

func TestFind(t *testing.T) {
	inDir(t, map[string]string{
		"named.toml":                              "",
		"here/procops.toml":                       "",
		"xdg/procops/procops.toml":                "",
		"home/.config/procops/procops.toml":       "",
		"empty/x":                                 "",
		"directory/procops.toml/is-a-directory-x": "",
	})
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		in, explicit string
		env          []string
		want         string
	}{
		"named":                       {in: "here", explicit: "../named.toml", env: []string{"PROCOPS_CONFIG=other"}, want: "../named.toml"},
		"by the environment":          {in: "here", env: []string{"PROCOPS_CONFIG=../named.toml"}, want: "../named.toml"},
		"an empty variable":           {in: "here", env: []string{"PROCOPS_CONFIG="}, want: "procops.toml"},
		"in the working directory":    {in: "here", env: []string{"XDG_CONFIG_HOME=ROOT/xdg"}, want: "procops.toml"},
		"in $XDG_CONFIG_HOME":         {in: "empty", env: []string{"XDG_CONFIG_HOME=ROOT/xdg", "HOME=ROOT/home"}, want: "ROOT/xdg/procops/procops.toml"},
		"in ~/.config":                {in: "empty", env: []string{"HOME=ROOT/home"}, want: "ROOT/home/.config/procops/procops.toml"},
		"a relative $XDG_CONFIG_HOME": {in: "empty", env: []string{"XDG_CONFIG_HOME=../xdg", "HOME=ROOT/home"}, want: "ROOT/home/.config/procops/procops.toml"},
		"a directory is passed over":  {in: "directory", env: []string{"HOME=ROOT/home"}, want: "ROOT/home/.config/procops/procops.toml"},
		"nowhere":                     {in: "empty", env: []string{"HOME=ROOT/empty"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(filepath.Join(root, test.in))
			for i := range test.env {
				test.env[i] = strings.Replace(test.env[i], "ROOT", root, 1)
			}
			got, err := config.Find(test.explicit, env(test.env...))
			if want := strings.Replace(test.want, "ROOT", root, 1); got != want || err != nil {
				t.Errorf("found %q, %v, want %q", got, err, want)
			}
		})
	}
}

func TestFindNamedButMissing(t *testing.T) {
	inDir(t, map[string]string{"procops.toml": ""})
	for name, test := range map[string]struct {
		explicit  string
		variables []string
		by        string
	}{
		"flag":     {explicit: "none.toml", by: "--config"},
		"variable": {variables: []string{"PROCOPS_CONFIG=none.toml"}, by: "$PROCOPS_CONFIG"},
	} {
		path, err := config.Find(test.explicit, env(test.variables...))
		if want := `cannot read configuration "none.toml": no such file or directory`; err == nil || err.Error() != want || path != "" {
			t.Errorf("%s: %q, %v, want %s", name, path, err, want)
		}
		if hints := fault.Hints(err); fault.ExitCode(err) != 2 || len(hints) != 1 || !strings.Contains(hints[0], test.by) {
			t.Errorf("%s: exit code %d, hints %q", name, fault.ExitCode(err), hints)
		}
	}
}
