package gearman

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"procops/internal/launch"
	"procops/internal/unit"
)

// Config is the section [worker].
type Config struct {
	Servers        []Address     `toml:"servers" doc:"Gearman job servers, in the order in which clients try them: \"HOST\", \"HOST:PORT\", \"[IPv6]:PORT\" or the absolute path of a unix socket; the port is 4730 unless it is given; default: where [worker.server] listens"`
	ConnectTimeout unit.Duration `toml:"connect_timeout" default:"3s" doc:"how long a server may take to accept a connection before a client tries the next one"`
	AnswerTimeout  unit.Duration `toml:"answer_timeout" default:"10s" doc:"how long a server may take to answer; not how long a job may run"`
	TLS            TLS           `toml:"tls" doc:"TLS with the job servers, of clients and workers"`
	Server         ServerConfig  `toml:"server" doc:"the job server of procops: what procops worker server does"`

	Concurrency int                 `toml:"concurrency" min:"1" max:"10000" default:"1" doc:"how many jobs a worker does at once"`
	MaxRunTime  unit.Duration       `toml:"max_run_time" min:"0" default:"0" doc:"a worker that has run for so long ends in good order after the jobs under way, so that its supervisor starts it afresh; 0: no limit"`
	MemoryLimit unit.Size           `toml:"memory_limit" default:"0" doc:"a worker that with its co-processes uses so much memory that a fifth more would be too much ends in the same way; 0: no limit"`
	StopGrace   unit.Duration       `toml:"stop_grace" min:"0" default:"30s" doc:"how long a worker that is to stop lets its jobs run on before it stops them, and they fail"`
	Backoff     launch.Backoff      `toml:"backoff" doc:"time until a worker connects again to a server that it cannot reach"`
	Metrics     Address             `toml:"metrics" doc:"where a worker serves metrics for Prometheus, at /metrics: \"HOST:PORT\" or the absolute path of a unix socket; default: nowhere; of several workers with one address the first one has it"`
	Functions   map[string]Function `toml:"function" doc:"the functions of a worker, by name"`
}

// What holds where the configuration says nothing else.
const (
	DefaultServer         Address = "127.0.0.1:4730"
	DefaultConnectTimeout         = 3 * time.Second
	DefaultAnswerTimeout          = 10 * time.Second
)

// Check reports what is wrong with the section; path is relative to it.
func (c Config) Check(report func(err error, path ...string)) {
	if c.Servers != nil && len(c.Servers) == 0 {
		report(errors.New("there must be at least one server"), "servers")
	}
	for i, server := range c.Servers {
		if slices.Contains(c.Servers[:i], server) {
			report(fmt.Errorf("the server %q is in the list twice", server), "servers", strconv.Itoa(i))
		}
	}
	if c.ConnectTimeout <= 0 {
		report(errors.New("connect_timeout must be longer than 0"), "connect_timeout")
	}
	if c.AnswerTimeout <= 0 {
		report(errors.New("answer_timeout must be longer than 0"), "answer_timeout")
	}
	if err := c.Backoff.Check(); err != nil {
		report(err, "backoff", "initial")
	}
	c.TLS.check(c.Servers, report)
	c.checkFunctions(report)
}

// Filled fills in what is not set of what a connection needs.
func (c Config) Filled() Config { return c.withDefaults() }

// withDefaults fills in what is not set.
func (c Config) withDefaults() Config {
	if len(c.Servers) == 0 {
		c.Servers = c.Server.Listen
	}
	if len(c.Servers) == 0 {
		c.Servers = []Address{DefaultServer}
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = unit.Duration(DefaultConnectTimeout)
	}
	if c.AnswerTimeout == 0 {
		c.AnswerTimeout = unit.Duration(DefaultAnswerTimeout)
	}
	return c
}
