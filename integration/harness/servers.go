package harness

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// FreePort returns a TCP port on loopback that nobody listens on, and that no other test gets
// before this one has ended, in whichever process. It lies below the range from which the
// kernel takes the ports of clients.
func FreePort(tb testing.TB) int {
	tb.Helper()
	var config net.ListenConfig
	for range 100 {
		port := 20000 + rand.IntN(12000)
		if !reserve(tb, port) {
			continue
		}
		l, err := config.Listen(tb.Context(), "tcp", Loopback(port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			tb.Fatal(err)
		}
		return port
	}
	tb.Fatal("cannot find a free port")
	return 0
}

// reserve takes a port for a test; false if another one has it.
func reserve(tb testing.TB, port int) bool {
	tb.Helper()
	path := filepath.Join(os.TempDir(), fmt.Sprintf("procops-test-port-%d", port))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return false // somebody else's
	}
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		_ = f.Close()
		return false
	}
	tb.Cleanup(func() {
		_ = os.Remove(path)
		_ = f.Close()
	})
	return true
}

// FreePorts returns n different free ports.
func FreePorts(tb testing.TB, n int) []int {
	tb.Helper()
	var ports []int
	for len(ports) < n {
		if port := FreePort(tb); !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	return ports
}

// Loopback returns the address of a port on loopback.
func Loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// RedisServer returns the command of a Redis server that keeps nothing.
func RedisServer(port int) []string {
	return []string{"redis-server", "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"}
}

// Gearmand returns the command of Debian's Gearman job server, by its full
// path: another package has a program of that name.
func Gearmand(port int) []string {
	return []string{"/usr/sbin/gearmand", "-p", strconv.Itoa(port), "-L", "127.0.0.1", "-l", "stderr", "-t", "2"}
}

// GearmanWorker returns the command of Debian's worker, which runs a command for
// each job: the workload is its input, its output the result.
func GearmanWorker(port int, function string, command ...string) []string {
	return append([]string{"gearman", "-h", "127.0.0.1", "-p", strconv.Itoa(port), "-w", "-f", function, "--"}, command...)
}

// StartMongo starts a server that speaks the protocol of MongoDB in a sandbox, and waits
// until it serves. Its data are in the directory of the sandbox, so that another one started
// there has them.
func StartMongo(s *Sandbox, port int) *Process {
	s.tb.Helper()
	command := MongoServer(s.tb, port, s.Dir)
	p := s.StartProgram(command[0], command[1:]...)
	p.WaitLine("^serving ")
	return p
}

// MongoServer returns the command of a server that speaks the protocol of MongoDB and keeps
// its data in a directory. It prints a line that begins with "serving" when it is ready.
func MongoServer(tb testing.TB, port int, dir string) []string {
	tb.Helper()
	return []string{ServerProgram(tb, "mongo"), "-listen", Loopback(port), "-dir", dir}
}

// RedisAnswers reports whether a Redis server answers a PING on the port.
func RedisAnswers(port int) bool { return answers(port, "PING\r\n", "+PONG\r\n") }

// GearmandAnswers reports whether a Gearman job server answers on the port.
func GearmandAnswers(port int) bool {
	return answers(port, "maxqueue\n", "ERR") || answers(port, "version\n", "OK")
}

// answers reports whether the server's first line begins with want.
func answers(port int, ask, want string) bool {
	conn, err := net.DialTimeout("tcp", Loopback(port), time.Second) //nolint:noctx // has its own time-out
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return false
	}
	if _, err := fmt.Fprint(conn, ask); err != nil {
		return false
	}
	got, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && len(got) >= len(want) && got[:len(want)] == want
}

// SQSServer returns the command of a server that speaks the protocol of SQS and keeps its
// messages in memory. It prints a line that begins with "serving" when it is ready.
func SQSServer(tb testing.TB, port int) []string {
	tb.Helper()
	return []string{ServerProgram(tb, "sqs"), "-listen", Loopback(port)}
}

// SQSTypedServer returns the command of another one, which answers batches and errors as
// SQS does.
func SQSTypedServer(tb testing.TB, port int) []string {
	tb.Helper()
	dir := filepath.Join(ModuleRoot(), "integration", "servers", "sqs", "typed")
	if !Exists(filepath.Join(dir, "node_modules", "local-aws-sqs")) {
		tb.Fatalf("a test server is not installed; to install it: (cd %s && npm ci --ignore-scripts)", dir)
	}
	return []string{"node", filepath.Join(dir, "server.js"), strconv.Itoa(port)}
}
