//go:build bench

package bench

import (
	"fmt"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"procops/integration/harness"
)

// TestPass holds the looks of a monitor over 100,000 heartbeats against their targets.
func TestPass(t *testing.T) {
	heading("a pass over 100,000 heartbeats, in the process")
	figures := benchmarks(t, "./internal/heartbeat")
	const one, all = "BenchmarkPass/one_in_100", "BenchmarkPass/one_in_1"
	atMost(t, "1 % due", figures.of(t, one, "ms-median"), 50, "ms")
	atMost(t, "all due", figures.of(t, all, "ms-median"), 2000, "ms")
	atMost(t, "heap with all due", figures.of(t, all, "MB-heap"), 200, "MB")
}

// TestPings has 64 connections ping as fast as they get answers; an answer means that
// the ping is in the database.
func TestPings(t *testing.T) {
	s := harness.NewShipped(t)
	s.Config("[serve]\nping_key = 'a-key-for-the-benchmark'\n[heartbeat.job]\n")
	at := harness.Loopback(harness.FreePort(t))
	server := s.Start("serve", "--listen", at)
	server.WaitLine("^listening on ")
	heading("pings by HTTP, 64 connections, medians of 5 rounds of 5 s")
	var rates, slowest []float64
	for range 5 {
		r := s.Run("wrk", "-t", "2", "-c", "64", "-d", "5", "--latency", "http://"+at+"/ping/a-key-for-the-benchmark/job")
		if r.Code != 0 || regexp.MustCompile(`Non-2xx|Socket errors`).MatchString(r.Stdout) {
			t.Fatal(r)
		}
		rate, p99 := wrkFigures(t, r.Stdout)
		fmt.Printf("%8.0f a second, p99 %s\n", rate, p99)
		rates, slowest = append(rates, rate), append(slowest, millis(p99))
	}
	atLeast(t, "durable pings", median(rates), 10_000, "a second")
	atMost(t, "p99", median(slowest), 50, "ms")
	server.Signal(syscall.SIGTERM)
	server.WantExit(0)
}

// wrkFigures reads what wrk prints.
func wrkFigures(t *testing.T, out string) (rate float64, p99 time.Duration) {
	t.Helper()
	m := regexp.MustCompile(`(?s)99%\s+(\S+).*Requests/sec:\s+(\S+)`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("cannot read %q", out)
	}
	p99, err := time.ParseDuration(m[1])
	if err != nil {
		t.Fatal(err)
	}
	if rate, err = strconv.ParseFloat(m[2], 64); err != nil {
		t.Fatal(err)
	}
	return rate, p99
}
