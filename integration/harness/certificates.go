package harness

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"
)

// Certificate is a certificate of an authority of a test, and its key.
type Certificate struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Authority makes an authority and writes its certificate as NAME.pem into the directory of
// the sandbox.
func (s *Sandbox) Authority(name string) *Certificate {
	s.tb.Helper()
	return s.certificate(name, nil, &x509.Certificate{IsCA: true, KeyUsage: x509.KeyUsageCertSign, NotAfter: time.Now().Add(time.Hour)})
}

// Issue writes a certificate for the loopback address, as NAME.pem, and its key, NAME.key.
// It is valid until the time end.
func (s *Sandbox) Issue(by *Certificate, name string, end time.Time) {
	s.tb.Helper()
	s.certificate(name, by, &x509.Certificate{
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: end,
	})
}

// certificate makes one by a template, signed by another one or, if that is nil, by itself.
func (s *Sandbox) certificate(name string, by *Certificate, template *x509.Certificate) *Certificate {
	s.tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(s.tb, err)
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.Subject = pkix.Name{CommonName: name}
	template.NotBefore = time.Now().Add(-2 * time.Hour)
	template.BasicConstraintsValid = true
	if by == nil {
		by = &Certificate{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, &key.PublicKey, by.key)
	must(s.tb, err)
	cert, err := x509.ParseCertificate(der)
	must(s.tb, err)
	secret, err := x509.MarshalECPrivateKey(key)
	must(s.tb, err)
	s.WriteFile(name+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	s.WriteFile(name+".key", string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})))
	return &Certificate{cert, key}
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
