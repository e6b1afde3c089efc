package cli

import (
	"testing"

	"procops/internal/tasks"
)

// TestStatusLine: what is written stands above the line; without a terminal there is none.
func TestStatusLine(t *testing.T) {
	for terminal, want := range map[bool]string{
		true:  "a\n\rone" + clearLine + "\r" + clearLine + "b\none\rtwo" + clearLine + "\r" + clearLine + "c\n",
		false: "a\nb\nc\n",
	} {
		f := file(t)
		s := statusLine{out: f, terminal: terminal}
		write := func(text string) {
			if n, err := s.Write([]byte(text)); n != len(text) || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
		}
		write("a\n")
		s.show("one")
		s.show("one")
		write("b\n")
		s.show("two")
		s.show("")
		write("c\n")
		if got := content(t, f); got != want {
			t.Errorf("terminal %v: %q, want %q", terminal, got, want)
		}
	}
}

func TestWorkText(t *testing.T) {
	p := tasks.Progress{Running: 2, Found: 10, Report: tasks.Report{Completed: 4, Failed: 1}}
	if got := workText(p); got != "[==========          ] 5 of 10: 4 done, 1 failed, 2 running" {
		t.Error(got)
	}
	p.Found = 3 // more have come
	if got := workText(p); got != "[==============      ] 5 of 7: 4 done, 1 failed, 2 running" {
		t.Error(got)
	}
	if got := shortenTo("äbc", 2); got != "äb" {
		t.Error(got)
	}
}
