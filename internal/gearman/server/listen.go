package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"procops/internal/fault"
	"procops/internal/gearman"
)

// dialTimeout is how long somebody who listens on a socket may take to accept a
// connection before he counts as there anyway.
const dialTimeout = time.Second

// socketMode lets the user and the group of procops connect.
const socketMode = 0o660

// Listen listens on all addresses that cfg has. An address that is in use is a
// fault.Conflict.
func Listen(ctx context.Context, cfg gearman.ServerConfig) (all []net.Listener, err error) {
	secure, err := tlsConfig(cfg)
	if err != nil {
		return nil, err
	}
	for _, address := range cfg.Listen {
		l, err := listen(ctx, address)
		if err != nil {
			return nil, errors.Join(err, closeAll(all))
		}
		if secure != nil && address.Network() == "tcp" {
			l = tls.NewListener(l, secure)
		}
		all = append(all, l)
	}
	return all, nil
}

// tlsConfig reads what TLS needs, nil if it is not wanted.
func tlsConfig(cfg gearman.ServerConfig) (*tls.Config, error) {
	if cfg.TLSCert == "" {
		return nil, nil //nolint:nilnil // there is none, and that is no error
	}
	pair, err := tls.LoadX509KeyPair(cfg.TLSCert, cfg.TLSKey)
	if err != nil {
		return nil, fault.Wrap(fault.Usage, err, "cannot use certificate %q with key %q", cfg.TLSCert, cfg.TLSKey)
	}
	secure := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if cfg.TLSClientCA == "" {
		return secure, nil
	}
	pem, err := os.ReadFile(cfg.TLSClientCA)
	if err != nil {
		return nil, fault.Wrap(fault.Usage, err, "cannot read the certificates that sign those of clients")
	}
	secure.ClientCAs = x509.NewCertPool()
	if !secure.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fault.New(fault.Usage, "there is no certificate in %q", cfg.TLSClientCA)
	}
	secure.ClientAuth = tls.RequireAndVerifyClientCert
	return secure, nil
}

func listen(ctx context.Context, address gearman.Address) (net.Listener, error) {
	config, network := net.ListenConfig{}, address.Network()
	if network == "unix" {
		if err := removeStale(ctx, string(address)); err != nil {
			return nil, err
		}
		config.Control = limited
	}
	l, err := config.Listen(ctx, network, string(address))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, inUse(string(address))
	}
	if err != nil {
		return nil, cannotListen(string(address), err)
	}
	if network == "unix" {
		if err := os.Chmod(string(address), socketMode); err != nil { // what the umask has taken away
			return nil, errors.Join(cannotListen(string(address), err), l.Close())
		}
	}
	return l, nil
}

// limited limits the mode of the file of the socket: Linux takes that of the socket,
// less the umask, when it is bound, so that there is no moment at which others may.
func limited(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), socketMode) }); e != nil {
		return e
	}
	return err
}

// removeStale removes the socket at path if nobody listens on it.
func removeStale(ctx context.Context, path string) error {
	before, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return cannotListen(path, err)
	}
	if before.Mode().Type() != fs.ModeSocket {
		return cannotListen(path, errors.New("it exists and is not a socket"))
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err == nil {
		return errors.Join(inUse(path), conn.Close())
	}
	if now, statErr := os.Lstat(path); !errors.Is(err, syscall.ECONNREFUSED) || statErr != nil || !os.SameFile(before, now) {
		return inUse(path) // somebody is there, if only too busy
	}
	if err := os.Remove(path); err != nil {
		return cannotListen(path, err)
	}
	return nil
}

func inUse(address string) error {
	return fault.New(fault.Conflict, "cannot listen on %q: somebody does already", address).
		WithHint("gearmand or another procops worker server may run; --listen or `listen` in [worker.server] names another address")
}

func cannotListen(address string, err error) error {
	if e, ok := errors.AsType[*net.OpError](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*os.SyscallError](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*os.PathError](err); ok {
		err = e.Err
	}
	return fmt.Errorf("cannot listen on %q: %w", address, err)
}
