package store

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"
)

// TestMigrationsAreNumbered: the version of a schema is how many steps it has taken, so that
// the number of a step is its place. Two with one number would change places with a name.
func TestMigrationsAreNumbered(t *testing.T) {
	steps, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil || len(steps) == 0 {
		t.Fatalf("%d steps, %v", len(steps), err)
	}
	for i, step := range steps {
		if want := fmt.Sprintf("migrations/%04d_", i+1); !strings.HasPrefix(step, want) {
			t.Errorf("step %d is %q, want %s...", i+1, step, want)
		}
	}
}
