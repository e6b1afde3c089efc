package heartbeat

import (
	"fmt"
	"runtime"
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
			m := &monitor{list: w.List, courier: newCourier(w.List, Deps{})}
			if _, err := m.pass(b.Context()); err != nil { // the first one finds that nobody has watched
				b.Fatal(err)
			}
			var peak uint64
			for b.Loop() {
				b.StopTimer()
				w.clock.move(time.Second)
				w.exec("UPDATE heartbeats SET due = CASE WHEN rank % ? = 0 THEN 1 ELSE 9e15 END", share)
				runtime.GC()
				b.StartTimer()
				report, err := m.pass(b.Context())
				if err != nil || report.Knocked != 100_000/share {
					b.Fatalf("%s %v", report, err)
				}
				b.StopTimer()
				var stats runtime.MemStats
				runtime.ReadMemStats(&stats)
				peak = max(peak, stats.HeapSys)
				b.StartTimer()
			}
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
