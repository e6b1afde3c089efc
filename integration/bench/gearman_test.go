//go:build bench

package bench

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"testing"

	"procops/integration/harness"
)

// jobServer is a server under load.
type jobServer struct {
	name    string
	durable bool
	command func(s *harness.Sandbox, port int) []string
}

func procopsServer(binary, durability string) jobServer {
	return jobServer{"procops " + durability, durability != "none", func(_ *harness.Sandbox, port int) []string {
		return []string{binary, "worker", "server", "--listen", harness.Loopback(port), "--durability", durability}
	}}
}

func jobServers(binary string) []jobServer {
	return []jobServer{
		{"gearmand", false, func(_ *harness.Sandbox, port int) []string { return harness.Gearmand(port) }},
		procopsServer(binary, "none"),
		{"gearmand sqlite", true, func(s *harness.Sandbox, port int) []string {
			return append(harness.Gearmand(port), "--queue-type=libsqlite3", "--libsqlite3-db="+filepath.Join(s.Dir, "queue.db"))
		}},
		procopsServer(binary, "process"),
	}
}

func isClosed(err error) bool { return errors.Is(err, net.ErrClosed) }

// gearmanRates are jobs in a second.
type gearmanRates struct{ submit, pipelined, drain, foreground, foregroundPipelined float64 }

// load puts one server under load. A durable queue that is slow gets less.
func load(t *testing.T, server jobServer) (got gearmanRates) {
	t.Helper()
	s := harness.NewShipped(t)
	port := harness.FreePort(t)
	command := server.command(s, port)
	s.StartProgram(command[0], command[1:]...)
	harness.Eventually(t, server.name, func() bool { return harness.GearmandAnswers(port) })
	singly, many := 20_000, 200_000
	if server.name == "gearmand sqlite" {
		singly, many = 1_000, 1_000
	}
	got.submit = submitLoad(t, port, singly, 1)
	drainLoad(t, port, singly)
	got.pipelined = submitLoad(t, port, many, loadInFlight)
	if server.name == "gearmand sqlite" {
		return got
	}
	got.drain = drainLoad(t, port, many)
	if server.durable {
		return got
	}
	got.foreground = foregroundLoad(t, port, 20_000, 1)
	got.foregroundPipelined = foregroundLoad(t, port, 40_000, loadInFlight)
	return got
}

// TestGearmanServer puts each server in turn under the same load.
func TestGearmanServer(t *testing.T) {
	const rounds = 3
	servers := jobServers(harness.Shipped(t))
	rates := map[string][]gearmanRates{}
	for i := range rounds {
		for _, server := range servers {
			t.Run(fmt.Sprintf("%s round %d", server.name, i+1), func(t *testing.T) {
				got := load(t, server)
				t.Logf("%+.0f", got)
				rates[server.name] = append(rates[server.name], got)
			})
		}
	}
	if t.Failed() || len(rates) < len(servers) { // -run has chosen some
		return
	}
	figures := []struct {
		name string
		of   func(gearmanRates) float64
	}{
		{"background submit, one at a time", func(r gearmanRates) float64 { return r.submit }},
		{"background submit, 64 in flight", func(r gearmanRates) float64 { return r.pipelined }},
		{"drain", func(r gearmanRates) float64 { return r.drain }},
		{"foreground, one at a time", func(r gearmanRates) float64 { return r.foreground }},
		{"foreground, 64 in flight", func(r gearmanRates) float64 { return r.foregroundPipelined }},
	}
	heading(fmt.Sprintf("Gearman jobs in a second, %d clients, %d workers, medians of %d rounds", loadConnections, loadConnections, rounds))
	middle := func(server string, of func(gearmanRates) float64) float64 {
		var all []float64
		for _, r := range rates[server] {
			all = append(all, of(r))
		}
		return median(all)
	}
	fmt.Printf("%-34s", "")
	for _, server := range servers {
		fmt.Printf(" %16s", server.name)
	}
	fmt.Println()
	for _, f := range figures {
		fmt.Printf("%-34s", f.name)
		for _, server := range servers {
			fmt.Printf(" %16.0f", middle(server.name, f.of))
		}
		fmt.Println()
	}
	targets := []float64{1, 1, 1.3, 1.3, 1.3}
	for i, f := range figures {
		atLeast(t, f.name+", in memory, procops / gearmand", middle("procops none", f.of)/middle("gearmand", f.of), targets[i], "times")
	}
	durable := slices.Concat(figures[:2])
	for i, f := range durable {
		atLeast(t, f.name+", durable, procops / gearmand", middle("procops process", f.of)/middle("gearmand sqlite", f.of), []float64{20, 100}[i], "times")
	}
	drain := figures[2].of
	atLeast(t, "drain, durable procops / gearmand in memory", middle("procops process", drain)/middle("gearmand", drain), 0.8, "times")
}
