package supervise

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

func TestParseNotice(t *testing.T) {
	text := func(s string) *string { return &s }
	limit := func(d time.Duration) *time.Duration { return &d }
	for message, want := range map[string]notice{
		"":                           {},
		"READY=1":                    {ready: true},
		"READY=0":                    {},
		"READY=1\nSTATUS=up":         {ready: true, status: text("up")},
		"STATUS=":                    {status: text("")},
		"STATUS=a=b":                 {status: text("a=b")},
		"STATUS=\x1b[2Jx\ty\xff":     {status: text("[2Jx y")},
		"STATUS=häuser ✓":            {status: text("häuser ✓")},
		"RELOADING=1\n\nSTOPPING=1":  {reloading: true, stopping: true},
		"MAINPID=42":                 {mainPID: 42},
		"MAINPID=-1\nMAINPID=x":      {},
		"ERRNO=2":                    {errno: syscall.ENOENT},
		"ERRNO=99999999999":          {},
		"EXTEND_TIMEOUT_USEC=500000": {extend: time.Second / 2},
		"EXTEND_TIMEOUT_USEC=18446744073709551615": {extend: maxExtension},
		"EXTEND_TIMEOUT_USEC=9223372036854775807":  {extend: maxExtension},
		"EXTEND_TIMEOUT_USEC=18446744073709551616": {},
		"EXTEND_TIMEOUT_USEC=-5":                   {},
		"BARRIER=1\nX_OWN=1\nnonsense\n":           {},
		"WATCHDOG=1":                               {alive: true},
		"WATCHDOG=1\nWATCHDOG=trigger":             {alive: true, trigger: true},
		"WATCHDOG=0\nWATCHDOG=2\nWATCHDOG=Trigger": {},
		"WATCHDOG_USEC=2500000":                    {watchdog: limit(2500 * time.Millisecond)},
		"WATCHDOG_USEC=0":                          {watchdog: limit(0)},
		"WATCHDOG_USEC=18446744073709551615":       {watchdog: limit(0)},
		"WATCHDOG_USEC=18446744073709551614":       {watchdog: limit(math.MaxInt64 / 1000 * 1000)},
		"WATCHDOG_USEC=-1\nWATCHDOG_USEC=1s":       {},
		"ready=1\n READY=1":                        {},
		"READY=1\x00":                              {},
	} {
		if diff := cmp.Diff(want, parseNotice(message), cmp.AllowUnexported(notice{})); diff != "" {
			t.Errorf("%q:\n%s", message, diff)
		}
	}
}

// FuzzParseNotice: whatever a process says, it is fit for a terminal and asks
// for no more time than it may.
func FuzzParseNotice(f *testing.F) {
	f.Add("READY=1\nSTATUS=up\nMAINPID=7\nERRNO=2\nEXTEND_TIMEOUT_USEC=1000000")
	f.Add("WATCHDOG=1\nWATCHDOG_USEC=9223372036854775807")
	f.Add("STATUS=\x1b]0;title\x07\nEXTEND_TIMEOUT_USEC=18446744073709551615")
	f.Fuzz(func(t *testing.T, message string) {
		n := parseNotice(message)
		if n.extend < 0 || n.extend > maxExtension || n.mainPID < 0 || n.errno > 1<<31 {
			t.Errorf("%q: %+v", message, n)
		}
		if n.watchdog != nil && *n.watchdog < 0 {
			t.Errorf("%q: a watchdog of %s", message, *n.watchdog)
		}
		if n.status != nil && (!utf8.ValidString(*n.status) || strings.ContainsFunc(*n.status, unicode.IsControl)) {
			t.Errorf("%q: status %q", message, *n.status)
		}
	})
}

// TestPace: a flood is let through at its rate, and no faster.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace
		hurry := make(chan struct{})
		begin := time.Now()
		for range 3*messagesPerSecond + 1 {
			p.wait(hurry)
		}
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("it took %s, want 3s", took)
		}
		time.AfterFunc(time.Millisecond, func() { close(hurry) })
		for range 10 * messagesPerSecond {
			p.wait(hurry)
		}
		if took := time.Since(begin); took != 3*time.Second+time.Millisecond {
			t.Errorf("in a hurry it took until %s, want 3.001s", took)
		}
	})
}
