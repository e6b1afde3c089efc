package gearman

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"strings"
	"syscall"
	"time"

	"procops/internal/fault"
	"procops/internal/gearman/wire"
)

// CheckTLS reads all that TLS needs, so that what is wrong with it shows before it is
// needed. The error is a fault.Usage.
func (c Config) CheckTLS() error {
	for _, server := range c.Servers {
		if _, err := c.secure(server); err != nil {
			return err
		}
	}
	return nil
}

// secure returns how to speak TLS with a server, nil for not at all. The files are read
// each time: a certificate that was renewed is used from the next connection on.
func (c Config) secure(server Address) (*tls.Config, error) {
	own, wanted := c.TLS.of(server)
	if !wanted {
		return nil, nil //nolint:nilnil // there is none, and that is no error
	}
	host, _, err := net.SplitHostPort(string(server))
	if err != nil {
		return nil, err // it was parsed before
	}
	secure := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if own.ServerName != "" {
		secure.ServerName = own.ServerName
	}
	if own.CA != "" {
		if secure.RootCAs, err = readCertificates(own.CA); err != nil {
			return nil, err
		}
	}
	if own.Cert != "" {
		pair, err := tls.LoadX509KeyPair(own.Cert, own.Key)
		if err != nil {
			return nil, fault.Wrap(fault.Usage, err, "cannot use certificate %q with key %q", own.Cert, own.Key)
		}
		// Whoever asks gets it: a server may name an authority in between.
		secure.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return secure, nil
}

func readCertificates(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.Wrap(fault.Usage, err, "cannot read the certificates that sign those of job servers")
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fault.New(fault.Usage, "there is no certificate in %q", path)
	}
	return pool, nil
}

// shake begins TLS on a connection, which it closes if that fails.
func (c Config) shake(ctx context.Context, server Address, nc net.Conn, secure *tls.Config) (net.Conn, error) {
	limit, cancel := context.WithTimeout(ctx, c.ConnectTimeout.Std())
	defer cancel()
	conn := tls.Client(nc, secure)
	err := conn.HandshakeContext(limit)
	if err == nil {
		return conn, nil
	}
	_ = nc.Close()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%s: %w", server, context.Cause(ctx))
	}
	if _, isText := errors.AsType[tls.RecordHeaderError](err); isText || hungUp(err) {
		return nil, unreachable(server, "it does not speak TLS").WithHint("%s", hintPlain)
	}
	if timedOut(err) {
		return nil, unreachable(server, "no TLS within %s", c.ConnectTimeout).WithHint("%s", hintPlain)
	}
	return nil, c.Broken(server, err)
}

// What to do about trouble with TLS.
const (
	hintPlain  = "if it does not use TLS, say plain = true in a section [[worker.tls.server]], or leave out [worker.tls]"
	hintTLS    = "enabled = true in [worker.tls] speaks TLS; ca says whom to trust"
	hintCA     = "ca in [worker.tls] is to have the certificate that has signed it"
	hintName   = "server_name in [worker.tls] says which name it is to be for"
	hintClient = "cert and key in [worker.tls] are the certificate of procops, and the server must trust who has signed it"
)

// Broken says in an error of kind fault.Unreachable what an error of a connection means.
func (c Config) Broken(server Address, err error) error {
	switch {
	case timedOut(err):
		return unreachable(server, "no answer within %s", c.AnswerTimeout)
	case hungUp(err):
		return unreachable(server, "it has closed the connection")
	}
	if magic, ok := errors.AsType[*wire.MagicError](err); ok && speaksTLS(magic.Begin) {
		return wantsTLS(server)
	}
	if why, hint := untrusted(err); why != "" {
		return unreachable(server, "%s", why).WithHint("%s", hint)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return unreachable(server, "%w", op.Err)
	}
	return unreachable(server, notUnderstood+"%w", err)
}

// hungUp reports whether the other end has ended the connection.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// speaksTLS reports whether a server that was not asked for TLS answers with it: it says
// goodbye with an alert.
func speaksTLS(begin []byte) bool { return len(begin) >= 2 && begin[0] == 0x15 && begin[1] == 3 }

func wantsTLS(server Address) error {
	return unreachable(server, "it speaks TLS").WithHint(hintTLS)
}

// untrusted says in plain words why one of the two does not trust the other; empty if it
// is something else.
func untrusted(err error) (why, hint string) {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		// The type of an alert is not exported; its value is its number.
		if alert := reflect.ValueOf(op.Err); alert.Kind() == reflect.Uint8 {
			return refused(tls.AlertError(alert.Uint())), hintClient
		}
	}
	if authority, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "its certificate is signed by nobody that procops trusts: " + describe(authority.Cert), hintCA
	}
	if name, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Sprintf("its certificate is not for %q: %s", name.Host, describe(name.Certificate)), hintName
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if invalid.Reason != x509.Expired {
			return "its certificate is not valid: " + invalid.Error(), hintCA
		}
		if now := time.Now(); now.Before(invalid.Cert.NotBefore) {
			return "its certificate is not valid before " + invalid.Cert.NotBefore.Format(time.RFC3339), "look at the clock of this machine"
		}
		return "its certificate has expired at " + invalid.Cert.NotAfter.Format(time.RFC3339), "it needs a new one"
	}
	return "", ""
}

// describe says whose certificate it is, and who has signed it.
func describe(cert *x509.Certificate) string {
	if cert == nil {
		return "it has none"
	}
	names := append([]string(nil), cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	text := fmt.Sprintf("%q", cert.Subject.String())
	if len(names) > 0 {
		text += " for " + forPeople(strings.Join(names, ", "))
	}
	return text + fmt.Sprintf(", signed by %q", cert.Issuer.String())
}

// The alerts by which a server refuses the certificate of procops.
const (
	alertBadCertificate      = 42
	alertCertificateExpired  = 45
	alertCertificateUnknown  = 46
	alertUnknownCA           = 48
	alertCertificateRequired = 116
)

// refused says what the alert of a server means.
func refused(alert tls.AlertError) string {
	switch uint8(alert) {
	case alertCertificateRequired:
		return "it asks for a certificate, and procops has none"
	case alertCertificateExpired:
		return "it refuses the certificate of procops: it has expired"
	case alertUnknownCA:
		return "it refuses the certificate of procops: it does not trust who has signed it"
	case alertBadCertificate, alertCertificateUnknown:
		return "it refuses the certificate of procops, or wants one and procops has none"
	default:
		return "it breaks off TLS: " + alert.Error()
	}
}
