package bench

import (
	"time"

	"procops/internal/gearman/wire"
)

// worker does jobs: each has an empty result.
type worker struct {
	*link
	function  string
	latencies []time.Duration // between a question for a job and the job
	done      int
}

// run does jobs until a question for one brings none, or with stay until the connection
// ends.
func (w *worker) run(stay bool) error {
	grab, sleep := packet(wire.GrabJob), packet(wire.PreSleep)
	asked := time.Now()
	if err := w.write(append(packet(wire.CanDo, w.function), grab...)); err != nil {
		return err
	}
	var out []byte
	for {
		p, err := w.next()
		if err != nil {
			return err
		}
		switch p.Type {
		case wire.JobAssign:
			w.latencies = append(w.latencies, time.Since(asked))
			w.done++
			handle := p.Arg(0)
			out = wire.AppendHeader(out[:0], wire.Request, wire.WorkComplete, len(handle)+1)
			out = append(append(out, handle...), 0)
			out = append(out, grab...)
		case wire.Noop:
			out = append(out[:0], grab...)
		case wire.NoJob:
			if !stay {
				return nil
			}
			out = append(out[:0], sleep...)
		default:
			return w.strange(p)
		}
		asked = time.Now()
		if err := w.write(out); err != nil {
			return err
		}
	}
}
