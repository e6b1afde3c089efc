package launch

import (
	"slices"
	"testing"
)

func TestMergeEnv(t *testing.T) {
	t.Setenv("KEPT", "1")
	t.Setenv("CHANGED", "old")
	t.Setenv("NOTIFY_SOCKET", "of the service manager")
	env := MergeEnv([]string{"CHANGED=one", "NEW=x", "CHANGED=two", "WATCHDOG_USEC=5"})
	for _, want := range []string{"KEPT=1", "CHANGED=two", "NEW=x", "WATCHDOG_USEC=5"} {
		if !slices.Contains(env, want) {
			t.Errorf("%s is missing", want)
		}
	}
	for _, unwanted := range []string{"CHANGED=old", "CHANGED=one", "NOTIFY_SOCKET=of the service manager"} {
		if slices.Contains(env, unwanted) {
			t.Errorf("%s is there", unwanted)
		}
	}
}
