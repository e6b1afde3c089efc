package config

import (
	"encoding/json"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"procops/internal/daemon"
	"procops/internal/proc"
	"procops/internal/supervise"
	"procops/internal/unit"
)

// DaemonPrefix begins the names of daemons in lists of children.
const DaemonPrefix = "daemon."

// hostedGrace is how much longer a supervisor waits for a daemon than that for its turn.
const hostedGrace = unit.Duration(5 * time.Second)

// hostedDaemons returns the daemons as services that the supervised tree can hold.
func hostedDaemons(cfg daemon.Config) map[string]supervise.Hosted {
	all := make(map[string]supervise.Hosted, len(cfg.Daemons))
	for name, section := range cfg.Daemons {
		all[DaemonPrefix+name] = supervise.Hosted{
			Instances:   section.Instances,
			Command:     proc.Command{"procops", "daemon", "run", name},
			Grace:       section.Stop.Grace + hostedGrace,
			Fingerprint: fingerprint(cfg, section),
		}
	}
	return all
}

// daemonOf returns the daemon that a service, or an instance of it, is.
func (c *Config) daemonOf(service string) string {
	id, _ := c.Daemon.Hosted(strings.TrimPrefix(service, DaemonPrefix))
	return id.Name
}

// fingerprint changes with all that makes a daemon run in another way.
func fingerprint(cfg daemon.Config, section daemon.Section) string {
	cfg.Daemons = nil
	// Strings, numbers, lists and maps of them cannot fail to encode.
	raw, _ := json.Marshal([]any{cfg, section})
	h := fnv.New64a()
	_, _ = h.Write(raw) // never fails
	return strconv.FormatUint(h.Sum64(), 16)
}
