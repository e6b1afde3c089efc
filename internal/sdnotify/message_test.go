package sdnotify

import (
	"math"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	text := func(s string) *string { return &s }
	limit := func(d time.Duration) *time.Duration { return &d }
	for message, want := range map[string]Message{
		"":                           {},
		"READY=1":                    {Ready: true},
		"READY=0":                    {},
		"READY=1\nSTATUS=up":         {Ready: true, Status: text("up")},
		"STATUS=":                    {Status: text("")},
		"STATUS=a=b":                 {Status: text("a=b")},
		"STATUS=\x1b[2Jx\ty\xff":     {Status: text("[2Jx y")},
		"STATUS=häuser ✓":            {Status: text("häuser ✓")},
		"RELOADING=1\n\nSTOPPING=1":  {Reloading: true, Stopping: true},
		"MAINPID=42":                 {MainPID: 42},
		"MAINPID=-1\nMAINPID=x":      {},
		"ERRNO=2":                    {Errno: syscall.ENOENT},
		"ERRNO=99999999999":          {},
		"EXTEND_TIMEOUT_USEC=500000": {Extend: time.Second / 2},
		"EXTEND_TIMEOUT_USEC=18446744073709551615": {Extend: MaxExtension},
		"EXTEND_TIMEOUT_USEC=9223372036854775807":  {Extend: MaxExtension},
		"EXTEND_TIMEOUT_USEC=18446744073709551616": {},
		"EXTEND_TIMEOUT_USEC=-5":                   {},
		"BARRIER=1\nX_OWN=1\nnonsense\n":           {},
		"WATCHDOG=1":                               {Alive: true},
		"WATCHDOG=1\nWATCHDOG=trigger":             {Alive: true, Trigger: true},
		"WATCHDOG=0\nWATCHDOG=2\nWATCHDOG=Trigger": {},
		"WATCHDOG_USEC=2500000":                    {Watchdog: limit(2500 * time.Millisecond)},
		"WATCHDOG_USEC=0":                          {Watchdog: limit(0)},
		"WATCHDOG_USEC=18446744073709551615":       {Watchdog: limit(0)},
		"WATCHDOG_USEC=18446744073709551614":       {Watchdog: limit(math.MaxInt64 / 1000 * 1000)},
		"WATCHDOG_USEC=-1\nWATCHDOG_USEC=1s":       {},
		"ready=1\n READY=1":                        {},
		"READY=1\x00":                              {},
	} {
		if diff := cmp.Diff(want, Parse(message)); diff != "" {
			t.Errorf("%q:\n%s", message, diff)
		}
	}
}

// FuzzParse: whatever a process says, it is fit for a terminal and asks
// for no more time than it may.
func FuzzParse(f *testing.F) {
	f.Add("READY=1\nSTATUS=up\nMAINPID=7\nERRNO=2\nEXTEND_TIMEOUT_USEC=1000000")
	f.Add("WATCHDOG=1\nWATCHDOG_USEC=9223372036854775807")
	f.Add("STATUS=\x1b]0;title\x07\nEXTEND_TIMEOUT_USEC=18446744073709551615")
	f.Fuzz(func(t *testing.T, message string) {
		n := Parse(message)
		if n.Extend < 0 || n.Extend > MaxExtension || n.MainPID < 0 || n.Errno > 1<<31 {
			t.Errorf("%q: %+v", message, n)
		}
		if n.Watchdog != nil && *n.Watchdog < 0 {
			t.Errorf("%q: a watchdog of %s", message, *n.Watchdog)
		}
		if n.Status != nil && (!utf8.ValidString(*n.Status) || strings.ContainsFunc(*n.Status, unicode.IsControl)) {
			t.Errorf("%q: status %q", message, *n.Status)
		}
	})
}

// TestPace: a flood is let through at its rate, and no faster.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace
		hurry := make(chan struct{})
		begin := time.Now()
		for range 3*MessagesPerSecond + 1 {
			p.wait(hurry)
		}
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("it took %s, want 3s", took)
		}
		time.AfterFunc(time.Millisecond, func() { close(hurry) })
		for range 10 * MessagesPerSecond {
			p.wait(hurry)
		}
		if took := time.Since(begin); took != 3*time.Second+time.Millisecond {
			t.Errorf("in a hurry it took until %s, want 3.001s", took)
		}
	})
}
