package web

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"procops/internal/unit"
)

// Config is the section [serve].
type Config struct {
	Listen         Address       `toml:"listen" default:"127.0.0.1:8580" doc:"where to listen: \"HOST:PORT\", \":PORT\" for every address of the machine, or \"unix:/PATH\", a socket for the user and the group of procops; an address that others can reach needs a token"`
	PingKey        string        `toml:"ping_key" doc:"secret in the URLs /ping/KEY/SLUG, of letters, digits, \"-\" and \"_\"; default: none, and heartbeats are pinged by UUID only"`
	Create         Create        `toml:"create" default:"on-request" enum:"on-request,never" doc:"pings of heartbeats that are not in the list: on-request (those with ?create=1 add it) or never"`
	CreateLimit    int           `toml:"create_limit" default:"1000" min:"0" doc:"pings add no heartbeat to a list that has this many"`
	Token          string        `toml:"token" doc:"secret that /metrics and badges ask for: as a bearer token, or as the password of any user; default: none is asked for"`
	PublicBadges   bool          `toml:"public_badges" default:"false" doc:"badges need no token"`
	MaxConnections int           `toml:"max_connections" default:"4096" min:"16" doc:"open connections; for one more the connection is closed that has waited for a request for the longest time; fewer where the limit of open files is lower"`
	HeaderTimeout  unit.Duration `toml:"header_timeout" default:"5s" min:"10ms" doc:"how long the header of a request may take"`
	RequestTimeout unit.Duration `toml:"request_timeout" default:"30s" min:"10ms" doc:"how long a whole request may take to arrive"`
	IdleTimeout    unit.Duration `toml:"idle_timeout" default:"1m" min:"10ms" doc:"how long a connection may wait for its next request"`
	MaxBody        unit.Size     `toml:"max_body" default:"16M" min:"10K" doc:"the longest body of a ping; its last 10 kB are kept"`
}

// Create says which pings add a heartbeat to the list.
type Create string

// The policies.
const (
	CreateOnRequest Create = "on-request" // those with ?create=1
	CreateNever     Create = "never"
)

// Check reports what is wrong with the section; path is relative to it.
func (c Config) Check(report func(err error, path ...string)) {
	// Asterisks are what `config show` has in its place, and that can be loaded.
	if key := strings.Trim(c.PingKey, "*"); key != "" && !isSlug(c.PingKey) {
		report(errors.New(`a ping key may only have letters, digits, "-" and "_"`), "ping_key")
	}
	if strings.ContainsFunc(c.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		report(errors.New("a token may only have printable ASCII characters and no spaces"), "token")
	}
	if err := c.checkExposure(); err != nil {
		report(err, "listen")
	}
	if c.HeaderTimeout > c.RequestTimeout {
		report(fmt.Errorf("header_timeout (%s) is longer than request_timeout (%s)", c.HeaderTimeout, c.RequestTimeout), "header_timeout")
	}
}

// checkExposure refuses to show to others what only a token keeps from them.
func (c Config) checkExposure() error {
	if c.Token == "" && !c.Listen.private() {
		return fmt.Errorf("others can reach %q: it needs a token in [serve]", c.Listen)
	}
	return nil
}

// Address is where the server listens: "HOST:PORT", ":PORT" or "unix:/PATH".
type Address string

const unixPrefix = "unix:"

// UnmarshalText reads an address.
func (a *Address) UnmarshalText(text []byte) error {
	read := Address(text)
	if err := read.check(); err != nil {
		return err
	}
	*a = read
	return nil
}

func (a Address) check() error {
	if path, ok := a.socket(); ok {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("invalid address %q: the path of a socket must be absolute", string(a))
		}
		return nil
	}
	_, port, err := net.SplitHostPort(string(a))
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf(`invalid address %q: want something like "127.0.0.1:8580", ":8580" or "unix:/run/procops.sock"`, string(a))
	}
	return nil
}

// socket returns the path if a is that of a unix socket.
func (a Address) socket() (path string, ok bool) { return strings.CutPrefix(string(a), unixPrefix) }

// private reports whether only users of this machine can reach a.
func (a Address) private() bool {
	if _, ok := a.socket(); ok {
		return true
	}
	host, _, err := net.SplitHostPort(string(a))
	if err != nil {
		return false
	}
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
