package integration

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"procops/integration/harness"
)

// crowdSize is how many connections are open in TestTenThousandConnections.
const crowdSize = 10_000

// TestTenThousandConnections has ten thousand clients hold a connection, most of them
// in the middle of a request that goes on a byte at a time; the pings of others are
// answered all the same.
func TestTenThousandConnections(t *testing.T) {
	t.Parallel()
	allowFiles(t, crowdSize+1000)
	v := newPingServer(t, "max_connections = 20000\nheader_timeout = '2m'\nrequest_timeout = '2m'\nidle_timeout = '2m'\n")
	v.s.Want(0, "heartbeat", "attach", "backup")
	address := strings.TrimPrefix(v.url, "http://")
	address, path, _ := strings.Cut(address, "/")
	begun := []string{
		"", "G", "GET /" + path + "backup HTTP/1.1\r\nHost: x\r\nX-Slow: ",
		"POST /" + path + "backup HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nx",
	}
	crowd := gather(t, address, begun)
	drip := time.NewTicker(50 * time.Millisecond)
	defer drip.Stop()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: harness.Patience}
	for n := range 50 {
		<-drip.C
		for i := n; i < len(crowd); i += 50 { // a byte for each, one after the other
			if len(begun[i%len(begun)]) > 1 {
				_, _ = crowd[i].Write([]byte("x")) // who is given up for another is no harm
			}
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, v.url+"backup", http.NoBody)
		check(t, err)
		response, err := client.Do(request)
		if err != nil {
			t.Fatalf("ping %d of 50: %v", n+1, err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil || response.Body.Close() != nil || response.StatusCode != http.StatusOK || string(body) != "OK" {
			t.Fatalf("ping %d of 50: %s %q %v", n+1, response.Status, body, err)
		}
	}
	if got := v.heartbeats()["backup"].Last; got == nil || got.Number != 50 {
		t.Errorf("the last beat is %+v, want number 50", got)
	}
}

// allowFiles makes sure that this process, and those that it starts, can open so many
// files.
func allowFiles(t *testing.T, n uint64) {
	t.Helper()
	var limit unix.Rlimit
	check(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	if limit.Cur >= n {
		return
	}
	limit.Cur, limit.Max = n, max(n, limit.Max)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatalf("this test needs %d open files: raise the limit with ulimit -n (%v)", n, err)
	}
}

// gather opens the connections of a crowd; each says one of the texts.
func gather(t *testing.T, address string, texts []string) []net.Conn {
	t.Helper()
	crowd := make([]net.Conn, crowdSize)
	const together = 50
	var wg sync.WaitGroup
	for worker := range together {
		wg.Go(func() {
			dialer := net.Dialer{Timeout: harness.Patience}
			for i := worker; i < crowdSize; i += together {
				conn, err := dialer.DialContext(t.Context(), "tcp", address)
				if err != nil {
					t.Error(err)
					return
				}
				crowd[i] = conn
				if _, err := io.WriteString(conn, texts[i%len(texts)]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	t.Cleanup(func() {
		for _, conn := range crowd {
			if conn != nil {
				_ = conn.Close()
			}
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	return crowd
}
