package gearman

import (
	"errors"
	"fmt"
	"strings"

	"procops/internal/unit"
)

// ServerConfig is the section [worker.server].
type ServerConfig struct {
	Listen         []Address        `toml:"listen" default:"127.0.0.1:4730" doc:"where to listen: \"HOST\", \"HOST:PORT\", \"[IPv6]:PORT\" or the absolute path of a unix socket; the protocol knows no passwords, so let others reach it only with tls_client_ca or behind a firewall"`
	Durability     ServerDurability `toml:"durability" default:"process" enum:"none,process,power" doc:"what accepted background jobs survive: none (nothing), process (a crash of the server) or power (a power cut as well)"`
	JobRetries     int              `toml:"job_retries" default:"0" min:"0" max:"65535" doc:"how many workers may leave or run out of time with a job before it fails and, if it is durable, is buried; 0: any number"`
	RoundRobin     bool             `toml:"round_robin" default:"false" doc:"a worker gets jobs of its functions in turn, instead of those of the function first that it has named last"`
	WorkerWakeup   int              `toml:"worker_wakeup" default:"1" min:"0" doc:"how many sleeping workers a job wakes; 0: all, as gearmand; if none of them asks for the job within half a second, all are woken"`
	HandlePrefix   string           `toml:"handle_prefix" doc:"what job handles begin with; default: \"H:\" and the name of the machine"`
	Memory         unit.Size        `toml:"memory" default:"64M" min:"0" doc:"how much memory durable background jobs may take; more of them wait on disk only"`
	MaxMemory      unit.Size        `toml:"max_memory" default:"4G" min:"1M" doc:"how much memory all jobs together may take; then clients that submit are not read from until there is room"`
	MaxJobs        int              `toml:"max_jobs" default:"0" min:"0" doc:"how many jobs there may be before submissions are refused; 0: any number"`
	MaxPacket      unit.Size        `toml:"max_packet" default:"256M" min:"64K" max:"4095M" doc:"the largest packet that is taken: a workload or a result"`
	MaxConnections int              `toml:"max_connections" default:"20000" min:"1" doc:"open connections; one more is closed at once"`
	WriteTimeout   unit.Duration    `toml:"write_timeout" default:"1m" min:"10ms" doc:"how long a connection may take to read anything of what is sent to it before it is closed"`
	Keepalive      unit.Duration    `toml:"keepalive" default:"1m" doc:"how long a connection is silent before it is checked whether its other end is still there; 0: never"`
	StopGrace      unit.Duration    `toml:"stop_grace" default:"10s" doc:"how long running jobs have to end when the server stops"`
	Metrics        Address          `toml:"metrics" doc:"where the server serves metrics for Prometheus, at /metrics: \"HOST:PORT\" or the absolute path of a unix socket; default: nowhere"`
	TLSCert        string           `toml:"tls_cert" path:"true" doc:"certificate of the server, PEM, with those above it; connections by TCP then use TLS"`
	TLSKey         string           `toml:"tls_key" path:"true" doc:"key of tls_cert, PEM"`
	TLSClientCA    string           `toml:"tls_client_ca" path:"true" doc:"certificates, PEM; clients and workers need one that was signed by one of these"`
}

// ServerDurability says what background jobs survive.
type ServerDurability string

// The durabilities.
const (
	DurableNone    ServerDurability = "none"    // nothing: they are in memory only
	DurableProcess ServerDurability = "process" // a crash or SIGKILL of the server
	DurablePower   ServerDurability = "power"   // a power cut as well
)

// maxHandlePrefix leaves room for a number in gearmand's 64 bytes of a handle.
const maxHandlePrefix = 40

// Check reports what is wrong with the section; path is relative to it.
func (c ServerConfig) Check(report func(err error, path ...string)) {
	if len(c.Listen) == 0 {
		report(errors.New("there must be at least one address"), "listen")
	}
	if len(c.HandlePrefix) > maxHandlePrefix || !printable(c.HandlePrefix) || strings.Contains(c.HandlePrefix, " ") {
		report(fmt.Errorf("handle_prefix must have at most %d printable characters and no spaces", maxHandlePrefix), "handle_prefix")
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		report(errors.New("tls_cert and tls_key go together"), "tls_cert")
	}
	if c.TLSClientCA != "" && c.TLSCert == "" {
		report(errors.New("tls_client_ca needs tls_cert and tls_key"), "tls_client_ca")
	}
	if c.Memory > c.MaxMemory {
		report(fmt.Errorf("memory (%s) is more than max_memory (%s)", c.Memory, c.MaxMemory), "memory")
	}
}

// Network returns the network of the address, as package net calls it.
func (a Address) Network() string { return a.network() }
