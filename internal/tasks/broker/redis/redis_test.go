package redis

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"procops/internal/tasks/broker"
	"procops/internal/tasks/broker/conformance"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startServer starts a redis-server and returns its URL.
func startServer(tb testing.TB) string {
	tb.Helper()
	_, port, _ := net.SplitHostPort(freeAddress(tb))
	server := exec.CommandContext(context.WithoutCancel(tb.Context()), "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", tb.TempDir())
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := server.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGTERM)
		_ = server.Wait()
	})
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + port})
	defer func() { _ = client.Close() }()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(30 * time.Second); client.Ping(tb.Context()).Err() != nil; <-again.C {
		if time.Now().After(end) {
			tb.Fatal("redis-server does not answer")
		}
	}
	return "redis://127.0.0.1:" + port
}

// freeAddress returns an address on which nobody listens.
func freeAddress(tb testing.TB) string {
	tb.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		tb.Fatal(err)
	}
	return listener.Addr().String()
}

func open(tb testing.TB, url, prefix string) *Broker {
	tb.Helper()
	b, err := New(Options{URL: url, Prefix: prefix})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := b.Close(); err != nil {
			tb.Error(err)
		}
	})
	return b
}

func TestConformance(t *testing.T) {
	url := startServer(t)
	for i, check := range conformance.Checks() {
		t.Run(check.Name, func(t *testing.T) {
			prefix := "{check-" + strconv.Itoa(i) + "}"
			check.Run(t, conformance.Bench{
				Broker: open(t, url, prefix), Other: open(t, url, prefix),
				Now: func() time.Time { return time.Now().Truncate(time.Microsecond) }, Pass: func(d time.Duration) { <-time.After(d) },
			})
		})
	}
}

// TestServerComesBack: a broker that is away says so and is there again by itself.
func TestServerComesBack(t *testing.T) {
	b := open(t, "redis://"+freeAddress(t)+"?max_retries=-1&dial_timeout=1s", "{x}")
	m := broker.Message{ID: "x", Type: "a", RunAt: time.Now(), Body: []byte("x")}
	if err := b.Push(t.Context(), []broker.Message{m}); err == nil || !strings.Contains(err.Error(), "cannot queue tasks: ") {
		t.Errorf("nobody is there, and: %v", err)
	}
	if _, err := b.Await(t.Context(), []string{"a"}, time.Millisecond); err == nil {
		t.Error("nobody is there, and it waits for him")
	}
}

func TestBadURL(t *testing.T) {
	for _, url := range []string{"http://x", "redis://x:y:z"} {
		if _, err := New(Options{URL: url}); err == nil || !strings.Contains(err.Error(), "invalid URL of a Redis server") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func BenchmarkCycle(b *testing.B) {
	const together = 100
	url := startServer(b)
	for _, queued := range []int{1_000, 100_000} {
		b.Run(fmt.Sprintf("%d queued", queued), func(b *testing.B) {
			q := open(b, url, "{bench-"+strconv.Itoa(queued)+"}")
			ctx := context.Background()
			push := func(from, n int) {
				for n > 0 {
					batch := make([]broker.Message, min(n, 1000))
					for i := range batch {
						batch[i] = broker.Message{ID: strconv.Itoa(from + i), Type: "a", RunAt: time.Now(), Body: []byte("x")}
					}
					if err := q.Push(ctx, batch); err != nil {
						b.Fatal(err)
					}
					from, n = from+len(batch), n-len(batch)
				}
			}
			push(0, queued)
			next := queued
			b.ResetTimer()
			for range b.N {
				push(next, together)
				next += together
				leases, err := q.Claim(ctx, broker.Ask{Types: []string{"a"}, Max: together, Lease: time.Minute})
				if err != nil || len(leases) != together {
					b.Fatal(len(leases), err)
				}
				if lost, err := q.Ack(ctx, leases); err != nil || len(lost) > 0 {
					b.Fatal(lost, err)
				}
			}
			b.ReportMetric(float64(b.N*together)/b.Elapsed().Seconds(), "tasks/s")
		})
	}
}
