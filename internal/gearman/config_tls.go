package gearman

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// TLS is the section [worker.tls]: how clients and workers speak with servers by TCP. A
// unix socket needs no TLS.
type TLS struct {
	Enabled    bool        `toml:"enabled" default:"false" doc:"speak TLS with all servers by TCP; with ca, cert or server_name there is no need to say so"`
	CA         string      `toml:"ca" path:"true" doc:"certificates, PEM: that of a server must be signed by one of these, or be one of them; default: those that this machine trusts"`
	Cert       string      `toml:"cert" path:"true" doc:"own certificate, PEM, with those above it, for servers that ask for one"`
	Key        string      `toml:"key" path:"true" doc:"key of cert, PEM"`
	ServerName string      `toml:"server_name" doc:"the name that the certificate of a server must be for; default: the host in its address"`
	Servers    []ServerTLS `toml:"server" doc:"what is different with one server"`
}

// ServerTLS is a section [[worker.tls.server]]. What it does not say is as in
// [worker.tls].
type ServerTLS struct {
	Address    Address `toml:"address" required:"true" doc:"which server, as in servers"`
	Plain      bool    `toml:"plain" default:"false" doc:"no TLS with this server"`
	CA         string  `toml:"ca" path:"true" doc:"as in [worker.tls]"`
	Cert       string  `toml:"cert" path:"true" doc:"as in [worker.tls]"`
	Key        string  `toml:"key" path:"true" doc:"as in [worker.tls]"`
	ServerName string  `toml:"server_name" doc:"as in [worker.tls]"`
}

// of returns what holds for one server; false: no TLS.
func (c TLS) of(server Address) (TLS, bool) {
	for _, own := range c.Servers {
		if own.Address != server {
			continue
		}
		if own.Plain {
			return c, false
		}
		if own.CA != "" {
			c.CA = own.CA
		}
		if own.Cert != "" {
			c.Cert, c.Key = own.Cert, own.Key
		}
		if own.ServerName != "" {
			c.ServerName = own.ServerName
		}
	}
	wanted := c.Enabled || c.CA != "" || c.Cert != "" || c.ServerName != ""
	return c, wanted && server.network() == "tcp"
}

// check reports what is wrong with the section; servers are those of the config.
func (c TLS) check(servers []Address, report func(err error, path ...string)) {
	if (c.Cert == "") != (c.Key == "") {
		report(errors.New("cert and key go together"), "tls", "cert")
	}
	for i, own := range c.Servers {
		path := []string{"tls", "server", strconv.Itoa(i)}
		switch {
		case !slices.Contains(servers, own.Address):
			report(fmt.Errorf("there is no %q in servers", own.Address), append(path, "address")...)
		case slices.ContainsFunc(c.Servers[:i], func(before ServerTLS) bool { return before.Address == own.Address }):
			report(fmt.Errorf("there are two sections for %q", own.Address), append(path, "address")...)
		case own.Plain && own != ServerTLS{Address: own.Address, Plain: true}:
			report(errors.New("a server with which no TLS is spoken needs none of the other keys"), append(path, "plain")...)
		case (own.Cert == "") != (own.Key == ""):
			report(errors.New("cert and key go together"), append(path, "cert")...)
		}
	}
}
