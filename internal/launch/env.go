package launch

import (
	"os"
	"slices"
	"strings"
)

// MergeEnv returns the environment of procops with changes; each name stands
// in it once, because programs differ in which of two they believe. What the
// service manager above procops has told procops about its readiness and
// watchdog is not for others.
func MergeEnv(changes []string) []string {
	merged := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains([]string{"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"}, name)
	})
	for _, change := range changes {
		name, _, _ := strings.Cut(change, "=")
		merged = slices.DeleteFunc(merged, func(v string) bool { return strings.HasPrefix(v, name+"=") })
	}
	return append(merged, changes...)
}
