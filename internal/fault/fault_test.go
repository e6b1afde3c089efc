package fault

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

func TestExitCodeAndHintsComeFromTheWholeChain(t *testing.T) {
	inner := New(NotFound, "there is no %q", "x").WithHint("look elsewhere")
	outer := Wrap(Conflict, fmt.Errorf("cannot ask: %w", inner), "cannot start").WithHint("stop first")
	wrapped := fmt.Errorf("after all: %w", outer)
	if got := ExitCode(wrapped); got != int(Conflict) {
		t.Errorf("exit code %d, want that of the outermost: %d", got, Conflict)
	}
	if got := Hints(wrapped); !slices.Equal(got, []string{"stop first", "look elsewhere"}) {
		t.Errorf("hints %v", got)
	}
	if got, want := wrapped.Error(), `after all: cannot start: cannot ask: there is no "x"`; got != want {
		t.Errorf("text %q, want %q", got, want)
	}
	if !Is(wrapped, Conflict) || Is(wrapped, NotFound) || Is(nil, Failure) {
		t.Error("Is does not follow the exit code")
	}
}

func TestPlainErrors(t *testing.T) {
	if ExitCode(nil) != 0 || ExitCode(errors.New("x")) != 1 || Hints(errors.New("x")) != nil {
		t.Error("an error without a kind is a failure without hints")
	}
}
