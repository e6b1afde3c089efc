package cli

import (
	"path/filepath"
	"strings"
	"testing"

	"procops/internal/app"
)

func TestEachProcfileHasItsState(t *testing.T) {
	getenv := func(string) (string, bool) { return "/home/me", true }
	one, other := procfileState(getenv, "/srv/a/app/Procfile"), procfileState(getenv, "/srv/b/app/Procfile")
	dir := filepath.Join(app.DefaultStateDir(getenv), "procfile")
	if filepath.Dir(one) != dir || !strings.HasPrefix(filepath.Base(one), "app-") {
		t.Errorf("got %q, want it in %q", one, dir)
	}
	if one == other || one != procfileState(getenv, "/srv/a/app/Procfile") {
		t.Errorf("got %q and %q", one, other)
	}
}
