package config

import (
	"encoding/json"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"procops/internal/daemon"
	"procops/internal/gearman"
	"procops/internal/proc"
	"procops/internal/supervise"
	"procops/internal/tasks"
	"procops/internal/unit"
)

// The names of services in lists of children.
const (
	DaemonPrefix  = "daemon."       // before the name of a daemon
	ServiceWorker = "worker"        // the worker of the section [worker]
	ServiceServer = "worker.server" // the job server of [worker.server]
	ServiceTasks  = "tasks"         // what works off the queued tasks of [tasks]
)

// hostedGrace is how much longer a supervisor waits for a service than that for what it
// runs.
const hostedGrace = unit.Duration(5 * time.Second)

// hosted returns the services that the supervised tree can hold.
func (c *Config) hosted() map[string]supervise.Hosted {
	all := hostedDaemons(c.Daemon)
	all[ServiceWorker] = c.hostedWorker()
	all[ServiceServer] = hostedServer(c.Worker.Server)
	all[ServiceTasks] = hostedTasks(c.Tasks)
	return all
}

func hostedDaemons(cfg daemon.Config) map[string]supervise.Hosted {
	all := make(map[string]supervise.Hosted, len(cfg.Daemons))
	shared := cfg
	shared.Daemons = nil
	for name, section := range cfg.Daemons {
		all[DaemonPrefix+name] = supervise.Hosted{
			Instances:   section.Instances,
			Command:     proc.Command{"procops", "daemon", "run", name},
			Grace:       section.Stop.Grace + hostedGrace,
			Fingerprint: fingerprint(shared, section),
		}
	}
	return all
}

// hostedWorker is the worker. With the job server in the same tree it works for that,
// unless the config names servers.
func (c *Config) hostedWorker() supervise.Hosted {
	cfg := c.Worker
	command := proc.Command{"procops", "worker", "run"}
	if len(cfg.Servers) == 0 && c.Supervise.Places(ServiceServer) {
		for _, address := range cfg.Server.Listen {
			command = append(command, "--server", string(address))
		}
	}
	var stopping unit.Duration
	for _, f := range cfg.Functions {
		stopping = max(stopping, f.Stop.Grace)
	}
	cfg.Server = gearman.ServerConfig{}
	return supervise.Hosted{
		Command: command, Process: true, After: []string{ServiceServer},
		Grace: cfg.StopGrace + stopping + hostedGrace, Fingerprint: fingerprint(cfg),
	}
}

func hostedServer(cfg gearman.ServerConfig) supervise.Hosted {
	return supervise.Hosted{
		Command: proc.Command{"procops", "worker", "server"}, Process: true,
		Grace: cfg.StopGrace + hostedGrace, Fingerprint: fingerprint(cfg),
	}
}

func hostedTasks(cfg tasks.Config) supervise.Hosted {
	var stopping unit.Duration
	for _, t := range cfg.Types {
		stopping = max(stopping, t.Stop.Grace)
	}
	return supervise.Hosted{
		Command: proc.Command{"procops", "tasks", "work"}, Process: true,
		Grace: cfg.StopGrace + stopping + hostedGrace, Fingerprint: fingerprint(cfg),
	}
}

// daemonOf returns the daemon that a service, or an instance of it, is.
func (c *Config) daemonOf(service string) string {
	id, _ := c.Daemon.Hosted(strings.TrimPrefix(service, DaemonPrefix))
	return id.Name
}

// fingerprint changes with all that makes a service run in another way.
func fingerprint(sections ...any) string {
	// Strings, numbers, lists and maps of them cannot fail to encode.
	raw, _ := json.Marshal(sections)
	h := fnv.New64a()
	_, _ = h.Write(raw) // never fails
	return strconv.FormatUint(h.Sum64(), 16)
}
