package supervise

import (
	"testing"
	"time"

	"github.com/rs/zerolog"

	"procops/internal/proc"
	"procops/internal/unit"
)

// BenchmarkOutput takes lines of 100 bytes, a thousand for each read, as a
// chatty process sends them, into a rotating log file.
func BenchmarkOutput(b *testing.B) {
	o, err := newOutput("p", OutputConfig{MaxSize: unit.Size(10 << 20), MaxFiles: 2}, Deps{LogDir: b.TempDir(), Log: zerolog.Nop()})
	if err != nil {
		b.Fatal(err)
	}
	text := make([]byte, 100)
	b.SetBytes(int64(len(text)))
	line := proc.Line{Stream: proc.Stdout, Text: text}
	for i := 0; b.Loop(); i++ {
		if i%1000 == 0 {
			line.Time = time.Now()
		}
		o.line(line)
	}
	if err := o.close(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(o.dropped()), "dropped")
}
