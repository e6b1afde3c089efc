package gearman

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"procops/internal/unit"
)

// Config is the section [worker].
type Config struct {
	Servers        []Address     `toml:"servers" default:"127.0.0.1:4730" doc:"Gearman job servers, in the order in which clients try them: \"HOST\", \"HOST:PORT\", \"[IPv6]:PORT\" or the absolute path of a unix socket; the port is 4730 unless it is given"`
	ConnectTimeout unit.Duration `toml:"connect_timeout" default:"3s" doc:"how long a server may take to accept a connection before a client tries the next one"`
	AnswerTimeout  unit.Duration `toml:"answer_timeout" default:"10s" doc:"how long a server may take to answer; not how long a job may run"`
	Server         ServerConfig  `toml:"server" doc:"the job server of procops: what procops worker server does"`
}

// What holds where the configuration says nothing else.
const (
	DefaultServer         Address = "127.0.0.1:4730"
	DefaultConnectTimeout         = 3 * time.Second
	DefaultAnswerTimeout          = 10 * time.Second
)

// Check reports what is wrong with the section; path is relative to it.
func (c Config) Check(report func(err error, path ...string)) {
	if len(c.Servers) == 0 {
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
}

// withDefaults fills in what is not set.
func (c Config) withDefaults() Config {
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
