package proc

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain runs the tests, or one of the programs that the tests start: the test
// binary itself under another name.
func TestMain(m *testing.M) {
	if helper := helpers()[os.Args[0]]; helper != nil {
		os.Exit(helper())
	}
	goleak.VerifyTestMain(m)
}

// helpers are the programs by name.
func helpers() map[string]func() int {
	return map[string]func() int{}
}
