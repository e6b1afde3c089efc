package supervise

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
)

// logFiles checks that no two processes have the same log file: each would put
// aside what the other is writing to.
func (k *checker) logFiles() {
	owners := map[string]string{}
	for process, p := range k.cfg.Process {
		if p.Output.File == "" {
			owners[logPath(process, p.Output, k.cfg.LogDir)] = process
		}
	}
	for _, process := range slices.Sorted(maps.Keys(k.cfg.Process)) {
		out := k.cfg.Process[process].Output
		if out.File == "" {
			continue // the names differ
		}
		path := filepath.Clean(logPath(process, out, k.cfg.LogDir))
		if out.File == noFile || isDevice(path) {
			continue
		}
		other, taken := owners[path]
		switch {
		case !taken:
			owners[path] = process
		case k.cfg.Process[other].Origin(other) != k.cfg.Process[process].Origin(process): // else checkInstances has said it
			k.report(fmt.Errorf("%q is the log file of process %q already", out.File, other), "process", process, "output", "file")
		}
	}
}
