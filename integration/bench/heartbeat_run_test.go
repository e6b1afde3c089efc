//go:build bench

package bench

import (
	"fmt"
	"testing"
	"time"

	"procops/integration/harness"
)

// TestHeartbeatRun measures a wrapped command beside what a script would need in
// its place: a shell that runs the command, and two writes with the sqlite3 shell.
func TestHeartbeatRun(t *testing.T) {
	s := harness.NewShipped(t)
	database, upsert := peerDatabase(t, s)
	medians := alternate(t, s, []wholeProcess{
		{"procops heartbeat run", []string{harness.Shipped(t), "heartbeat", "run", "backup", "--", "true"}},
		{"sh -c true", []string{"/bin/sh", "-c", "true"}},
		{"sqlite3 upsert", []string{"sqlite3", database, upsert}},
	})
	peer := medians["sh -c true"] + 2*medians["sqlite3 upsert"]
	atMost(t, "heartbeat run / sh -c true and 2 sqlite3", ratio(medians["procops heartbeat run"], peer), 3, "times")
}

// TestHeartbeatRunOutput measures how fast the output of a wrapped command passes,
// beside a cat in the same place.
func TestHeartbeatRunOutput(t *testing.T) {
	s := harness.NewShipped(t)
	const rounds, size = 5, 1 << 30
	pipes := map[string]string{
		"cat":           fmt.Sprintf("head -c %d /dev/zero | cat | cat >/dev/null", size),
		"heartbeat run": fmt.Sprintf("procops heartbeat run backup -- head -c %d /dev/zero | cat >/dev/null", size),
	}
	took := map[string][]time.Duration{}
	for range rounds {
		for name, line := range pipes {
			took[name] = append(took[name], once(t, s, wholeProcess{name, []string{"/bin/sh", "-c", line}}))
		}
	}
	heading(fmt.Sprintf("1 GB of output, medians of %d runs", rounds))
	for name := range pipes {
		fmt.Printf("%-28s %7.0f ms\n", name, millis(median(took[name])))
	}
	atMost(t, "heartbeat run / cat, 1 GB", ratio(median(took["heartbeat run"]), median(took["cat"])), 2, "times")
}
