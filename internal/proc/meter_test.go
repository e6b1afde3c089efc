package proc

import (
	"errors"
	"os"
	"testing"
)

// TestMeter: memory is seen to grow, and none is left after the end.
func TestMeter(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	lines := make(chan string, 2)
	in, ours, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s := shSpec(`echo small; read -r go; x=$(head -c 20000000 /dev/zero | tr '\0' x); echo large; read -r go`)
	s.Stdin = in
	s.Output = func(l Line) { lines <- string(l.Text) }
	p := mustStart(t, h, s)
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	m, err := p.Meter()
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	<-lines
	small := m.RSS()
	if _, err := ours.WriteString("go\n"); err != nil {
		t.Fatal(err)
	}
	<-lines
	if large := m.RSS(); small == 0 || large < small+19_000_000 {
		t.Errorf("it had %d bytes, and has %d with 20 MB more", small, large)
	}
	if err := ours.Close(); err != nil {
		t.Error(err)
	}
	<-p.Gone()
	if left := m.RSS(); left != 0 {
		t.Errorf("it has %d bytes after its end", left)
	}
	if _, err := p.Meter(); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("a meter for what has ended: %v", err)
	}
}
