package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"procops/internal/gearman"
	"procops/internal/gearman/wire"
)

// certificate writes a certificate and its key into files, signed by a parent or by
// itself.
func certificate(t *testing.T, dir, name string, parent *tls.Certificate) (pair tls.Certificate, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: parent == nil, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	signer, by := any(key), template
	if parent != nil {
		signer = parent.PrivateKey
		by, err = x509.ParseCertificate(parent.Certificate[0])
		check(t, err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, &key.PublicKey, signer)
	check(t, err)
	secret, err := x509.MarshalECPrivateKey(key)
	check(t, err)
	certFile, keyFile = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	check(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	check(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}), 0o600))
	pair, err = tls.LoadX509KeyPair(certFile, keyFile)
	check(t, err)
	return pair, certFile, keyFile
}

// TestTLS lets those in that have a certificate, and nobody else.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	authority, authorityFile, _ := certificate(t, dir, "authority", nil)
	_, certFile, keyFile := certificate(t, dir, "server", &authority)
	client, _, _ := certificate(t, dir, "client", &authority)
	stranger, _, _ := certificate(t, dir, "stranger", nil)
	cfg := testConfig()
	cfg.Listen = []gearman.Address{"127.0.0.1:0"}
	cfg.TLSCert, cfg.TLSKey, cfg.TLSClientCA = certFile, keyFile, authorityFile
	listeners, err := Listen(t.Context(), cfg)
	check(t, err)
	r := startOn(t, nil, nil, listeners[0])
	roots := x509.NewCertPool()
	text, err := os.ReadFile(authorityFile)
	check(t, err)
	roots.AppendCertsFromPEM(text)
	dial := func(own ...tls.Certificate) *peer {
		dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, Certificates: own, MinVersion: tls.VersionTLS12}}
		conn, err := dialer.DialContext(t.Context(), "tcp", r.addr.String())
		check(t, err)
		return newPeer(t, conn)
	}
	good, worker := dial(client), dial(client)
	worker.send(wire.CanDo, "f")
	workload := strings.Repeat("x", 3<<20)
	handle := good.submit(wire.SubmitJob, "f", "", workload)
	if got := worker.do(); got != workload {
		t.Errorf("%d bytes come", len(got))
	}
	good.want("WORK_COMPLETE " + handle + "|done")
	worker.ask(wire.PreSleep, nil)
	good.submit(wire.SubmitJobBg, "f", "", "work")
	worker.want("NOOP")
	for name, bad := range map[string]*peer{"nobody": dial(), "a stranger": dial(stranger)} {
		if _, err := bad.reader.Next(); err == nil || !strings.Contains(err.Error(), "tls") {
			t.Errorf("%s is let in: %v", name, err)
		}
	}
	plain := r.dial()
	plain.send(wire.EchoReq, "plain")
	if _, err := plain.reader.Next(); err == nil {
		t.Error("TLS is not asked for")
	}
	good.quiet()
}

func TestTLSMistakes(t *testing.T) {
	dir := t.TempDir()
	_, certFile, keyFile := certificate(t, dir, "server", nil)
	empty := filepath.Join(dir, "empty")
	check(t, os.WriteFile(empty, nil, 0o600))
	for want, change := range map[string]func(*gearman.ServerConfig){
		"cannot use certificate":                    func(c *gearman.ServerConfig) { c.TLSCert = empty },
		"cannot read the certificates that sign":    func(c *gearman.ServerConfig) { c.TLSClientCA = empty + "-not" },
		"there is no certificate in":                func(c *gearman.ServerConfig) { c.TLSClientCA = empty },
		"cannot listen on \"/does/not/exist/sock\"": func(c *gearman.ServerConfig) { c.Listen = []gearman.Address{"/does/not/exist/sock"} },
	} {
		cfg := testConfig()
		cfg.Listen = []gearman.Address{"127.0.0.1:0"}
		cfg.TLSCert, cfg.TLSKey = certFile, keyFile
		change(&cfg)
		if _, err := Listen(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
