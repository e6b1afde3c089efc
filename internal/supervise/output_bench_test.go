package supervise

import (
	"testing"
	"time"

	"github.com/rs/zerolog"

	"procops/internal/proc"
	"procops/internal/unit"
)

// BenchmarkOutput takes lines of 100 bytes, as many as come at a time from a
// chatty process, into a rotating log file.
func BenchmarkOutput(b *testing.B) {
	o, err := newOutput("p", OutputConfig{MaxSize: unit.Size(10 << 20), MaxFiles: 2}, Deps{LogDir: b.TempDir(), Log: zerolog.Nop()})
	if err != nil {
		b.Fatal(err)
	}
	const lines = 256
	batch := make([]proc.Line, lines)
	for i := range batch {
		batch[i] = proc.Line{Stream: proc.Stdout, Text: make([]byte, 100)}
	}
	b.SetBytes(lines * 100)
	for b.Loop() {
		now := time.Now()
		for i := range batch {
			batch[i].Time = now
		}
		o.lines(batch)
	}
	if err := o.close(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(o.dropped()), "dropped")
}
