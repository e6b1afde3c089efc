package integration

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"procops/integration/harness"
)

// tlsConfig is a config of which CLIENT is what clients and workers know of TLS, and SERVER
// what the server does.
const tlsConfig = `
[worker]
servers = ["%[1]s"]
connect_timeout = "2s"
[worker.tls]
%[2]s
[worker.function.rev]
command = ["rev"]
[worker.server]
listen = ["%[1]s"]
%[3]s
`

// certificates writes a good authority, "ca", with certificates "server" and "client", and
// bad ones: "stranger" of an authority that nobody knows, "old" and "other", for another
// name.
func certificates(s *harness.Sandbox) {
	ca := s.Authority("ca")
	s.Issue(ca, "server", time.Now().Add(time.Hour))
	s.Issue(ca, "client", time.Now().Add(time.Hour))
	s.Issue(ca, "old", time.Now().Add(-time.Hour))
	s.Issue(s.Authority("strangers"), "stranger", time.Now().Add(time.Hour))
}

const (
	goodServer = "tls_cert = 'server.pem'\ntls_key = 'server.key'\ntls_client_ca = 'ca.pem'"
	goodClient = "ca = 'ca.pem'\ncert = 'client.pem'\nkey = 'client.key'"
)

// TestGearmanTLS has procops' client and worker meet at procops' server, which asks for
// certificates. gearmand would be a second one, but Debian's takes --ssl and speaks plain.
func TestGearmanTLS(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	certificates(s)
	port := harness.FreePort(t)
	s.Config(fmt.Sprintf(tlsConfig, harness.Loopback(port), goodClient, goodServer))
	s.Start("worker", "server").WaitLine("^listening on ")
	w := s.Start("worker", "run")
	w.WaitLine("worker.functions.after_register")
	if r := s.Want(0, "worker", "exec", "rev", "a b"); r.Stdout != "b a" {
		t.Error(r)
	}
	if r := s.Run("sh", "-c", `yes 0123456789 | head -c 5000000 >in; procops worker exec rev - <in >out; rev in | cmp - out`); r.Code != 0 {
		t.Error(r)
	}
	s.Want(0, "worker", "ping")
	wantLines(t, s.Want(0, "worker", "admin", "status"), "rev       0     0        1")
	w.Signal(syscall.SIGTERM)
	w.WantExit(0)
}

// TestGearmanTLSTrouble has each kind of trouble told in words that help.
func TestGearmanTLSTrouble(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		server, client string
		code           int
		says           string
	}{
		"a server of a stranger":    {"tls_cert = 'stranger.pem'\ntls_key = 'stranger.key'", goodClient, 5, `signed by nobody that procops trusts: "CN=stranger" for 127.0.0.1, signed by "CN=strangers"` + "\nprocops: hint: ca in [worker.tls]"},
		"an old server":             {"tls_cert = 'old.pem'\ntls_key = 'old.key'", goodClient, 5, "its certificate has expired at "},
		"a server of another name":  {goodServer, goodClient + "\nserver_name = 'queue'", 5, `its certificate is not for "queue": "CN=server" for 127.0.0.1`},
		"no certificate":            {goodServer, "ca = 'ca.pem'", 5, "it asks for a certificate, and procops has none\nprocops: hint: cert and key"},
		"an old client":             {goodServer, "ca = 'ca.pem'\ncert = 'old.pem'\nkey = 'old.key'", 5, "it refuses the certificate of procops"},
		"a strange client":          {goodServer, "ca = 'ca.pem'\ncert = 'stranger.pem'\nkey = 'stranger.key'", 5, "it refuses the certificate of procops"},
		"plain to TLS":              {goodServer, "", 5, "it speaks TLS\nprocops: hint: enabled = true"},
		"TLS to plain":              {"", goodClient, 5, "it does not speak TLS\nprocops: hint: if it does not"},
		"no such authority":         {goodServer, "ca = 'none.pem'", 2, "cannot read the certificates that sign those of job servers"},
		"an authority without any":  {goodServer, "ca = 'procops.toml'", 2, "there is no certificate in"},
		"a key of somebody else":    {goodServer, "ca = 'ca.pem'\ncert = 'client.pem'\nkey = 'server.key'", 2, "cannot use certificate"},
		"half a pair":               {goodServer, "cert = 'client.pem'", 2, `procops.toml:6:8: "cert" in [worker.tls]: cert and key go together`},
		"a server that is not ours": {goodServer, goodClient + "\n[[worker.tls.server]]\naddress = 'elsewhere'\nplain = true", 2, `there is no "elsewhere:4730" in servers`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := harness.New(t)
			certificates(s)
			port := harness.FreePort(t)
			s.Config(fmt.Sprintf(tlsConfig, harness.Loopback(port), goodClient, c.server))
			server := s.Start("worker", "server")
			server.WaitLine("^listening on ")
			s.Config(fmt.Sprintf(tlsConfig, harness.Loopback(port), c.client, c.server))
			for _, command := range [][]string{{"submit", "rev", "x"}, {"admin", "status"}} {
				if r := s.Want(c.code, append([]string{"worker"}, command...)...); !strings.Contains(r.Stderr, c.says) {
					t.Errorf("want %q: %s", c.says, r)
				}
			}
			if c.code == 2 {
				s.Want(2, "worker", "run")
				return
			}
			// A worker says so, and waits for better times.
			s.Start("worker", "run").WaitLine(`worker\.failed .*error=`)
		})
	}
}

// TestGearmanTLSPerServer: one server with TLS and one without, and a socket, which needs
// none.
func TestGearmanTLSPerServer(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	certificates(s)
	ports := harness.FreePorts(t, 2)
	socket := filepath.Join(s.Dir, "g.sock")
	s.Config(fmt.Sprintf(`
[worker]
servers = ["%[1]s", "%[2]s", "%[3]s"]
[worker.tls]
ca = "strangers.pem"
cert = "client.pem"
key = "client.key"
[[worker.tls.server]]
address = "%[1]s"
ca = "ca.pem"
[[worker.tls.server]]
address = "%[2]s"
plain = true
[worker.server]
listen = ["%[1]s", "%[3]s"]
tls_cert = "server.pem"
tls_key = "server.key"
tls_client_ca = "ca.pem"
`, harness.Loopback(ports[0]), harness.Loopback(ports[1]), socket))
	s.Start("worker", "server").WaitLines("^listening on ", 2)
	plain := harness.Gearmand(ports[1])
	s.StartProgram(plain[0], plain[1:]...)
	harness.Eventually(t, "gearmand", func() bool { return harness.GearmandAnswers(ports[1]) })
	if r := s.Want(0, "worker", "ping"); strings.Count(r.Stdout, " yes ") != 3 {
		t.Error(r)
	}
}
