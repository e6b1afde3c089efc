package proc

import (
	"os/exec"
	"runtime"
	"strconv"
	"testing"
)

// BenchmarkStart starts /bin/true, one after the other and several at once, next
// to os/exec.
func BenchmarkStart(b *testing.B) {
	b.Run("proc", func(b *testing.B) {
		h := newTestHost(b, HostOptions{Guard: true, Subreaper: true})
		for b.Loop() {
			p := mustStart(b, h, Spec{Argv: []string{"/bin/true"}, Stdout: h.null, Stderr: h.null})
			<-p.Gone()
		}
	})
	b.Run("proc captured", func(b *testing.B) {
		h := newTestHost(b, HostOptions{Guard: true, Subreaper: true})
		for b.Loop() {
			p := mustStart(b, h, Spec{Argv: []string{"/bin/true"}})
			<-p.Gone()
		}
	})
	b.Run("exec", func(b *testing.B) {
		for b.Loop() {
			if err := exec.CommandContext(b.Context(), "/bin/true").Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("proc parallel", func(b *testing.B) {
		h := newTestHost(b, HostOptions{Guard: true, Subreaper: true})
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				p := mustStart(b, h, Spec{Argv: []string{"/bin/true"}, Stdout: h.null, Stderr: h.null})
				<-p.Gone()
			}
		})
	})
	b.Run("exec parallel", func(b *testing.B) {
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := exec.CommandContext(b.Context(), "/bin/true").Run(); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// BenchmarkCapture reads lines of 80 bytes, and bytes.
func BenchmarkCapture(b *testing.B) {
	const size = 200 << 20
	spec := Spec{Argv: []string{"sh", "-c", "yes 1234567890123456789012345678901234567890123456789012345678901234567890123456789 | head -c " + strconv.Itoa(size)}}
	tail := NewTail(64 << 10)
	for name, set := range map[string]func(*Spec){
		"lines": func(s *Spec) { s.Output = func(Line) {} },
		"tail":  func(s *Spec) { s.Output = tail.Add },
		"raw":   func(s *Spec) { s.Raw = func(Stream, []byte) {} },
	} {
		b.Run(name, func(b *testing.B) {
			h := newTestHost(b, HostOptions{})
			s := spec
			set(&s)
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				<-mustStart(b, h, s).Gone()
			}
		})
	}
}

// BenchmarkIdle tells the memory per captured child that says nothing.
func BenchmarkIdle(b *testing.B) {
	const children = 1000
	for b.Loop() {
		h := newTestHost(b, HostOptions{Guard: true, Subreaper: true})
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		spoken := make(chan struct{}, children)
		for range children {
			s := shSpec("echo here; exec sleep 1000")
			s.Output = func(Line) { spoken <- struct{}{} }
			mustStart(b, h, s)
		}
		for range children {
			<-spoken
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapInuse+after.StackInuse-before.HeapInuse-before.StackInuse)/children, "B/child")
		if err := h.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
