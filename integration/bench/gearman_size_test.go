//go:build bench

package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"procops/integration/harness"
	"procops/internal/gearman/wire"
)

// startJobServer starts procops' server and returns it and its port.
func startJobServer(t *testing.T, args ...string) (server *harness.Process, port int) {
	t.Helper()
	s := harness.NewShipped(t)
	port = harness.FreePort(t)
	server = s.Start(append([]string{"worker", "server", "--listen", harness.Loopback(port)}, args...)...)
	server.WaitLine("^listening on ")
	return server, port
}

// resident returns how many bytes of a process are in memory.
func resident(t *testing.T, server *harness.Process) int64 {
	t.Helper()
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", server.PID()))
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes(t, string(rollup), "Rss:")
}

// perJob returns how long a job takes to be submitted, and to be done, beside what
// is queued.
func perJob(t *testing.T, port int) (submit, drain time.Duration) {
	t.Helper()
	const jobs = 20_000
	submit = time.Duration(float64(time.Second) / submitLoad(t, port, jobs, loadInFlight))
	l := dialLink(t, port)
	begin, grab := time.Now(), packet(wire.GrabJobUniq)
	if err := l.write(append(packet(wire.CanDo, loadFunction), grab...)); err != nil {
		t.Fatal(err)
	}
	for range jobs {
		typ, body, err := l.next()
		if err != nil || typ != wire.JobAssignUniq {
			t.Fatalf("%s, %v", typ, err)
		}
		if err := l.write(append(packet(wire.WorkComplete, string(handleOf(body)), ""), grab...)); err != nil {
			t.Fatal(err)
		}
	}
	drain = time.Since(begin) / jobs
	// It holds one more, which goes back.
	if _, _, err := l.next(); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	_ = l.net.Close()
	return submit, drain
}

// TestGearmanMillion queues a million jobs.
func TestGearmanMillion(t *testing.T) {
	const million = 1_000_000
	for _, durability := range []string{"none", "process"} {
		server, port := startJobServer(t, "--durability", durability)
		submitLoad(t, port, 1_000, loadInFlight)
		perJob(t, port) // warm
		var few, many [2][]time.Duration
		for range 3 {
			submit, drain := perJob(t, port)
			few[0], few[1] = append(few[0], submit), append(few[1], drain)
		}
		before := resident(t, server)
		submitLoad(t, port, million, loadInFlight)
		grown := resident(t, server) - before
		for range 3 {
			submit, drain := perJob(t, port)
			many[0], many[1] = append(many[0], submit), append(many[1], drain)
		}
		heading(fmt.Sprintf("a million queued jobs, durability %s", durability))
		fmt.Printf("memory %+.0f MB; submit %s -> %s, grab and complete %s -> %s\n", megabytes(grown),
			median(few[0]), median(many[0]), median(few[1]), median(many[1]))
		if durability == "none" {
			atMost(t, "memory of a queued job beyond its workload", float64(grown)/million-loadWorkload, 400, "bytes")
		} else {
			atMost(t, "memory of a million durable jobs", megabytes(grown), 256, "MB")
		}
		atMost(t, "submit beside a million / beside a thousand", ratio(median(many[0]), median(few[0])), 1.2, "times")
		atMost(t, "grab beside a million / beside a thousand", ratio(median(many[1]), median(few[1])), 1.2, "times")
		server.SignalGroup(9)
		server.Wait()
	}
}

// TestGearmanSleepers has five thousand workers sleep: a job wakes one.
func TestGearmanSleepers(t *testing.T) {
	const sleepers = 5_000
	server, port := startJobServer(t, "--durability", "none")
	links := make([]*link, sleepers)
	before := resident(t, server)
	sleep := append(packet(wire.CanDo, loadFunction), packet(wire.PreSleep)...)
	sleep = append(sleep, packet(wire.EchoReq, "asleep")...)
	for i := range links {
		links[i] = dialLink(t, port)
		links[i].in = make([]byte, 4096)
		if err := links[i].write(sleep); err != nil {
			t.Fatal(err)
		}
		if typ, _, err := links[i].next(); err != nil || typ != wire.EchoRes {
			t.Fatalf("%s, %v", typ, err)
		}
	}
	each := float64(resident(t, server)-before) / sleepers
	client := dialLink(t, port)
	ask := bytes.Repeat(packet(wire.SubmitJobBg, loadFunction, "", "work"), 1)
	begin := time.Now()
	if err := client.write(ask); err != nil {
		t.Fatal(err)
	}
	if _, _, err := client.next(); err != nil {
		t.Fatal(err)
	}
	took := time.Since(begin)
	woken := 0
	for _, l := range links {
		if err := l.write(packet(wire.EchoReq, "still asleep")); err != nil {
			t.Fatal(err)
		}
		typ, _, err := l.next()
		if typ == wire.Noop {
			woken++
			_, _, err = l.next()
			if e := l.write(packet(wire.GrabJob)); e != nil {
				t.Fatal(e)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	heading("five thousand sleeping workers")
	fmt.Printf("%.1f kB each, a submission takes %s\n", each/1024, took)
	atMost(t, "memory of a sleeping worker", each/1024, 30, "kB")
	atMost(t, "workers that a job wakes", float64(woken), 1, "")
	if !strings.Contains(server.Output(), "listening") {
		t.Error(server.Output())
	}
}
