package gearman

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
)

// defaultPort is the port that IANA has registered for Gearman.
const defaultPort = "4730"

// Address is where a job server listens: "host:port", or the absolute path of a
// unix socket.
type Address string

// ParseAddress reads "host", "host:port", "[IPv6]:port", an IPv6 address or an
// absolute path, with or without "unix:" in front. Without a port it is 4730.
func ParseAddress(text string) (Address, error) {
	if path := strings.TrimPrefix(text, "unix:"); filepath.IsAbs(path) && printable(path) {
		return Address(filepath.Clean(path)), nil
	}
	host, port := text, defaultPort
	if inner, ok := strings.CutPrefix(text, "["); ok && strings.HasSuffix(inner, "]") {
		host = strings.TrimSuffix(inner, "]")
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.String()
	} else if strings.Contains(text, ":") {
		host, port, err = net.SplitHostPort(text)
		if err != nil {
			return "", badAddress(text)
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", badAddress(text)
	}
	if host == "" || !printable(host) || strings.ContainsAny(host, " /[]") {
		return "", badAddress(text)
	}
	return Address(net.JoinHostPort(host, port)), nil
}

func badAddress(text string) error {
	return fmt.Errorf(`invalid server %q: want "HOST", "HOST:PORT", "[IPv6]:PORT" or the absolute path of a unix socket`, text)
}

// printable reports whether all of the text can stand in a line for people.
func printable(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// UnmarshalText reads what ParseAddress reads.
func (a *Address) UnmarshalText(text []byte) error {
	read, err := ParseAddress(string(text))
	if err == nil {
		*a = read
	}
	return err
}

// network returns the network of the address, as package net calls it.
func (a Address) network() string {
	if filepath.IsAbs(string(a)) {
		return "unix"
	}
	return "tcp"
}
