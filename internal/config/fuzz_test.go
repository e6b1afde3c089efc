package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"procops/internal/config"
	"procops/internal/fault"
)

// FuzzLoad checks that whatever a file holds, loading it ends, either with
// errors that each have a place, or with a configuration that is
// the same when it is shown and loaded again.
func FuzzLoad(f *testing.F) {
	for _, text := range []string{
		everything, config.Starter(), manyProcesses(2), "a = \n", "[supervise.process.a]\ncommand = 5\n", "include = ['*']\n",
		"[supervise.process.a]\ncommand = '${X:-$${}'\ndepends_on = ['b', 'a']\n[supervise.group.b]\nchildren = ['a', 'c']\n",
		"log = {level = 'inf'}\nlog.level = 1", "[[supervise]]", "\ufeff[heartbeat.x]\r\ntags = [\"\\u0000\"]", "durability = \"\\xff\"",
		"state_dir = 'http://a:b@c'\n", "[events]\nkeep = 1_000\n",
	} {
		f.Add(text)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(dir, "procops.toml")
		first, err := loadText(path, text)
		if err != nil {
			checkError(t, err)
			return
		}
		shown := first.Effective().TOML()
		again, err := loadText(path, shown)
		if err != nil {
			t.Fatalf("what is shown is refused: %v\n%s", err, shown)
		}
		if strings.Contains(shown, "********") {
			return // what was masked is lost
		}
		if !reflect.DeepEqual(values(first), values(again)) {
			t.Fatalf("loaded\n%+v\nshown\n%s\nloaded again\n%+v", values(first), shown, values(again))
		}
	})
}

func loadText(path, text string) (*config.Config, error) {
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return config.Load(path, env("X=x", "HOME=/home/me"))
}

func checkError(t *testing.T, err error) {
	t.Helper()
	var all *config.Error
	if !errors.As(err, &all) || len(all.Problems) == 0 || fault.ExitCode(err) != 2 {
		t.Fatalf("error %T, exit code %d: %v", err, fault.ExitCode(err), err)
	}
	for _, p := range all.Problems {
		at := p.Position
		if at.File == "" || p.Err.Error() == "" || at.Line > 0 && at.Column < 1 {
			t.Fatalf("a problem at %+v: %v", at, p.Err)
		}
		if strings.Contains(p.Error(), "\n") {
			t.Fatalf("a problem of two lines: %q", p.Error())
		}
	}
}
