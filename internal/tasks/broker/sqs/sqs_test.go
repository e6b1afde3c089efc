package sqs

import (
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"procops/integration/harness"
	"procops/internal/tasks/broker"
	"procops/internal/tasks/broker/conformance"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// keys is the environment of all tests.
func keys(name string) string {
	return map[string]string{"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}[name]
}

// startServer starts a server and returns its URL.
func startServer(tb testing.TB, command func(tb testing.TB, port int) []string) string {
	tb.Helper()
	port := harness.FreePort(tb)
	argv := command(tb, port)
	harness.In(tb, tb.TempDir(), "none").StartProgram(argv[0], argv[1:]...).WaitLine("^serving")
	return "http://" + harness.Loopback(port)
}

func open(tb testing.TB, o Options) *Broker {
	tb.Helper()
	o.Create, o.Getenv = true, keys
	b, err := New(o)
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

// TestConformance runs all checks at once: they wait most of the time.
func TestConformance(t *testing.T) {
	t.Parallel()
	url := startServer(t, harness.SQSServer)
	var checks sync.WaitGroup
	for i, check := range conformance.Checks() {
		o := Options{Endpoint: url, Queue: "check-" + strconv.Itoa(i)}
		bench := conformance.Bench{
			Broker: open(t, o), Other: open(t, o),
			Now:     func() time.Time { return time.Now().Truncate(time.Microsecond) },
			Pass:    func(d time.Duration) { <-time.After(d + 300*time.Millisecond) },
			Step:    2 * time.Second, // a claim waits for one
			MaxBody: 700_000,
			Lacks:   conformance.Lacks{Order: true, Unique: true, Loss: true, Types: true, TypeCounts: true, Lists: true},
		}
		checks.Go(func() { check.Run(one{t, check.Name}, bench) })
	}
	checks.Wait()
}

// one is one check of several that run at once.
type one struct {
	*testing.T
	name string
}

func (o one) Errorf(format string, args ...any) {
	o.Helper()
	o.T.Errorf(o.name+": "+format, args...)
}

func (o one) Fatalf(format string, args ...any) {
	o.Helper()
	o.T.Errorf(o.name+": "+format, args...)
	runtime.Goexit()
}

var _ broker.Broker = (*Broker)(nil)
