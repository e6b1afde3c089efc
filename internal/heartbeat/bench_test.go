package heartbeat

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"procops/internal/store"
	"procops/internal/unit"
)

// BenchmarkPass is one look of a monitor over 100,000 heartbeats, of which one in a
// hundred or all are due.
func BenchmarkPass(b *testing.B) {
	for _, share := range []int{100, 1} {
		b.Run(fmt.Sprintf("one in %d", share), func(b *testing.B) {
			w := manyHeartbeats(b, 100_000)
			m, err := newMonitor(b.Context(), w.List, Deps{}, MonitorOptions{})
			w.must(err)
			if _, err := m.pass(b.Context()); err != nil { // the first one finds that nobody has watched
				b.Fatal(err)
			}
			var (
				peak uint64
				took []time.Duration
			)
			for b.Loop() {
				b.StopTimer()
				w.clock.move(time.Second)
				w.exec("UPDATE heartbeats SET due = 1 WHERE rank % ? = 0", share)
				runtime.GC()
				b.StartTimer()
				report, err := m.pass(b.Context())
				if err != nil || report.Knocked != 100_000/share {
					b.Fatalf("%s %v", report, err)
				}
				b.StopTimer()
				took = append(took, report.Took)
				var stats runtime.MemStats
				runtime.ReadMemStats(&stats)
				peak = max(peak, stats.HeapSys)
				b.StartTimer()
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2])/float64(time.Millisecond), "ms-median")
			b.ReportMetric(float64(peak)/(1<<20), "MB-heap")
		})
	}
}

// manyHeartbeats attaches heartbeats that have beaten, numbered in the column rank.
func manyHeartbeats(b *testing.B, count int) *world {
	b.Helper()
	w := newWorld(b, Config{DefaultPeriod: unit.Duration(time.Hour)})
	w.must(w.store.Update(b.Context(), func(tx *store.Tx) error {
		if _, err := tx.Exec("ALTER TABLE heartbeats ADD COLUMN rank INTEGER"); err != nil {
			return err
		}
		now := w.clock.read().UnixMicro()
		for i := range count {
			_, err := tx.Exec(`INSERT INTO heartbeats (name, rank, attached_at, target, status, created_at, updated_at, number, beat_time, outcome, message, state, since, base, pulse, uuid)
				VALUES (?, ?, ?, '{"tags":["many"],"period":"1h"}', 'ok', ?, ?, 1, ?, 'ok', '', 'up', ?, ?, ?, ?)`,
				fmt.Sprintf("heartbeat-%06d", i), i, now, now, now, now, now, now, now, newUUID())
			if err != nil {
				return err
			}
		}
		return nil
	}))
	return w
}

// BenchmarkBeatsDuringPasses beats a thousand times a second while a monitor looks at
// 100,000 heartbeats of which in each look 1,000 are due, as with a period of 100 s.
func BenchmarkBeatsDuringPasses(b *testing.B) {
	w := manyHeartbeats(b, 100_000)
	m, err := newMonitor(b.Context(), w.List, Deps{}, MonitorOptions{})
	w.must(err)
	if _, err := m.pass(b.Context()); err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	var watching sync.WaitGroup
	watching.Go(func() {
		for share := 0; ctx.Err() == nil; share++ {
			w.exec("UPDATE heartbeats SET due = 1 WHERE rank % 100 = ?", share%100)
			if _, err := m.pass(b.Context()); err != nil {
				b.Error(err)
			}
			<-time.After(time.Second)
		}
	})
	took := make([]float64, 0, 10_000)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for b.Loop() {
		<-tick.C
		began := time.Now()
		if _, err := w.Beat(b.Context(), fmt.Sprintf("heartbeat-%06d", rand.IntN(100_000)), Sign{}); err != nil {
			b.Fatal(err)
		}
		took = append(took, float64(time.Since(began))/float64(time.Millisecond))
	}
	stop()
	watching.Wait()
	slices.Sort(took)
	b.ReportMetric(took[len(took)*99/100], "ms-p99")
	b.ReportMetric(took[len(took)-1], "ms-worst")
}
