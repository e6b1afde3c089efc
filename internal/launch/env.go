package launch

import (
	"os"
	"slices"
	"strings"
)

// MergeEnv returns the environment of procops with changes; each name stands in it once,
// because programs differ in which of two they believe: the last one counts. What the
// service manager above procops has told procops about its readiness and watchdog is not
// for others.
func MergeEnv(changes []string) []string {
	taken := map[string]bool{}
	for _, own := range []string{"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"} {
		taken[own] = true
	}
	changed := map[string]bool{}
	var merged []string
	for _, change := range slices.Backward(changes) {
		name, _, _ := strings.Cut(change, "=")
		if !changed[name] {
			changed[name], taken[name] = true, true
			merged = append(merged, change)
		}
	}
	slices.Reverse(merged)
	own := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return taken[name]
	})
	return append(own, merged...)
}
