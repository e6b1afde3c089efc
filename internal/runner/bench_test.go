package runner

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"procops/internal/proc"
)

// BenchmarkCoprocess is a turn with a payload of 1 kB: by a co-process that does as
// little as can be, by the example in PHP, and by many at once.
func BenchmarkCoprocess(b *testing.B) {
	payload := bytes.Repeat([]byte("0123456789abcde\n"), 64)
	b.Run("echo", func(b *testing.B) {
		r, _ := newTestPool(b, childSpec(b, "echo"))
		benchmarkTurns(b, r, payload)
	})
	b.Run("php", func(b *testing.B) {
		path := filepath.Join(b.TempDir(), "echo.php")
		code := `<?php
echo '{"type":"hello","protocol":1}', "\n";
while ($line = fgets(STDIN)) {
    $work = json_decode($line);
    echo json_encode(['type' => 'result', 'id' => $work->id, 'output' => $work->input]), "\n";
}`
		if err := os.WriteFile(path, []byte(code), 0o600); err != nil {
			b.Fatal(err)
		}
		r, _ := newTestPool(b, func() (proc.Spec, error) { return proc.Spec{Argv: []string{"php", path}}, nil })
		benchmarkTurns(b, r, payload)
	})
	b.Run("parallel", func(b *testing.B) {
		r, _ := newTestPool(b, childSpec(b, "echo"), func(o *Options) { o.Coprocess.Size = 4 })
		b.SetParallelism(8)
		b.ReportAllocs()
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				mustEcho(b, r, payload)
			}
		})
	})
	b.Run("64 MB", func(b *testing.B) {
		r, _ := newTestPool(b, childSpec(b, "echo"))
		payload := bytes.Repeat([]byte("0123456789abcdef"), 4<<20)
		b.SetBytes(int64(len(payload)))
		for b.Loop() {
			mustEcho(b, r, payload)
		}
	})
}

// benchmarkTurns runs one after the other and tells the median.
func benchmarkTurns(b *testing.B, r Runner, payload []byte) {
	mustEcho(b, r, payload)
	var times []time.Duration
	b.ReportAllocs()
	for b.Loop() {
		begin := time.Now()
		mustEcho(b, r, payload)
		times = append(times, time.Since(begin))
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2])/float64(time.Microsecond), "µs-median")
}

func mustEcho(b *testing.B, r Runner, payload []byte) {
	result, err := r.Run(context.Background(), Work{Input: payload, TimeLimit: time.Minute, MaxOutput: 1 << 30})
	if err != nil || result.Outcome != Success || len(result.Output) != len(payload) {
		b.Errorf("%s (%s), %d bytes, %v", result.Outcome, result.Reason, len(result.Output), err)
	}
}

// BenchmarkIdlePool tells the memory for each co-process that has nothing to do.
func BenchmarkIdlePool(b *testing.B) {
	const size = 50
	r, _ := newTestPool(b, childSpec(b, "echo"), func(o *Options) { o.Coprocess.Size = size })
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	if err := r.Warm(b.Context()); err != nil {
		b.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	for b.Loop() {
		mustEcho(b, r, nil)
	}
	b.ReportMetric(float64(after.HeapInuse+after.StackInuse-before.HeapInuse-before.StackInuse)/size, "B/child")
}
