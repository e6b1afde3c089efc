package tasks

import (
	"testing"
	"time"

	"procops/internal/store"
	"procops/internal/tasks/broker/sqlite"
	"procops/internal/unit"
)

// BenchmarkQueue pushes tasks that do nothing and works them off.
func BenchmarkQueue(b *testing.B) {
	st, err := store.Open(b.Context(), b.TempDir(), store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	q := New(st, sqlite.New(st), BenchConfig(Config{Lease: unit.Duration(30 * time.Second), StopGrace: unit.Duration(time.Second), Keep: unit.Duration(24 * time.Hour)}, 10))
	b.ResetTimer()
	m, err := q.Bench(b.Context(), b.N, 500)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(m.Pushed.Nanoseconds())/float64(b.N), "ns/push")
	b.ReportMetric(float64(m.Worked.Nanoseconds())/float64(b.N), "ns/work")
}
