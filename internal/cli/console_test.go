package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"procops/internal/event"
	"procops/internal/supervise"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 5_000_000, time.UTC) //nolint:gochecknoglobals // a constant, as far as Go has them

func outLine(name, text string) supervise.LogLine {
	return supervise.LogLine{Time: noon, Name: name, Stream: "stdout", Text: text}
}

func errLine(name, text string) supervise.LogLine {
	return supervise.LogLine{Time: noon, Name: name, Stream: "stderr", Text: text}
}

func TestLineStyles(t *testing.T) {
	plain := newLineStyle([]string{"web", "cache"}, false)
	bare := newLineStyle(nil, true)
	times := plain
	times.times, times.location = true, time.UTC
	coloured := plain
	coloured.colours.on = true
	for _, c := range []struct {
		name  string
		style lineStyle
		line  supervise.LogLine
		want  string
	}{
		{"stdout", plain, outLine("web", "x"), "web   | x\n"},
		{"stderr", plain, errLine("cache", "x"), "cache ! x\n"},
		{"empty", plain, outLine("web", ""), "web   | \n"},
		{"long name", plain, outLine("a-long-name", "x"), "a-long-name | x\n"},
		{"without prefix", bare, errLine("web", "x"), "x\n"},
		{"with time", times, outLine("web", "x"), "2026-11-22T12:00:00.005Z web   | x\n"},
		{"coloured", coloured, errLine("web", "x"), "\x1b[" + string(nameColour("web")) + "mweb\x1b[0m   \x1b[31m!\x1b[0m x\n"},
		{"colours end with the line", coloured, outLine("web", "\x1b[31mx"), "\x1b[" + string(nameColour("web")) + "mweb\x1b[0m   \x1b[2m|\x1b[0m \x1b[31mx\x1b[0m\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := string(c.style.line(nil, c.line)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestLineStyleJSON(t *testing.T) {
	s := lineStyle{json: true}
	want := errLine("web", "a \"b\" \x00 ü")
	var got supervise.LogLine
	raw := s.line(nil, want)
	if err := json.Unmarshal(raw, &got); err != nil || got != want || bytes.Count(raw, []byte("\n")) != 1 {
		t.Errorf("got %+v from %q, %v", got, raw, err)
	}
	var gap supervise.LogLine
	if err := json.Unmarshal(s.gap(nil, 3), &gap); err != nil || !strings.HasPrefix(gap.Text, "3 lines are missing here") {
		t.Errorf("gap %+v, %v", gap, err)
	}
}

// TestNoticesOfAllEvents goes through all event types, so that a new one is
// given words or silence on purpose.
func TestNoticesOfAllEvents(t *testing.T) {
	data := json.RawMessage(`{"pid":7,"code":5,"processes":2,"reason":"why","delay_seconds":1.23,"text":"3 Bad","expected":false,"members":["db","web"],"stopped_by_hand":["db"],"added":["x"],"restarted":["y","z"],"process":"db","program":"/bin/procops","message":"hello","instances":1,"before":3,"link":"webhook","error":"no answer","action":"stop"}`)
	want := map[string]string{
		"supervise.started":           "supervising 2 processes, pid 7; stopped by hand and left so: db",
		"supervise.reloaded":          "reloaded: 1 added, 0 removed, 2 restarted, 0 updated",
		"supervise.upgraded":          "is /bin/procops now and supervises on, pid 7",
		"supervise.scaled":            "scaled from 3 to 1 instance",
		"supervise.stopped":           "all is down",
		"supervise.failed":            "this failure ends supervision",
		"supervise.concluded":         "its end, with exit code 5, ends supervision",
		"supervise.process.exited":    "failed: 3 Bad",
		"supervise.process.log":       "hello",
		"supervise.link.failed":       "its webhook link failed: no answer",
		"supervise.link.ordered":      "its chain gives the order to stop db, web",
		"supervise.group.restarting":  `restarts db, web together in 1.2s, because "db" ended`,
		"supervise.process.stopped":   "",
		"supervise.process.waiting":   "",
		"supervise.process.starting":  "why, pid 7",
		"supervise.process.running":   "ready",
		"supervise.process.ending":    "",
		"supervise.process.backoff":   "is started again in 1.2s",
		"supervise.process.stopping":  "stopping",
		"supervise.process.completed": "",
		"supervise.process.fatal":     "given up: why",
	}
	d := newDescriber(supervise.Config{Process: map[string]supervise.ProcessConfig{
		"probed": {Ready: supervise.ReadyConfig{TCP: "127.0.0.1:1"}}, "plain": {},
	}})
	for _, description := range supervise.Events() {
		text, known := want[description.Name]
		if !known {
			t.Errorf("no words for %s", description.Name)
			continue
		}
		delete(want, description.Name)
		got, ok := d.event(event.Event{Type: description.Name, Subject: "probed", Data: data})
		if got.text != text && ok || ok != (text != "") {
			t.Errorf("%s: got %q, %v, want %q", description.Name, got.text, ok, text)
		}
	}
	for left := range want {
		t.Errorf("there is no event %s", left)
	}
	if _, ok := d.event(event.Event{Type: "supervise.process.running", Subject: "plain", Data: data}); ok {
		t.Error("a process without a readiness check is said to be ready")
	}
	if n, ok := d.event(event.Event{Type: "supervise.process.exited", Data: json.RawMessage(`{"text":"0 OK","expected":true}`)}); !ok || n.text != "ended: 0 OK" {
		t.Errorf("expected end: %q, %v", n.text, ok)
	}
}

func TestConsoleKeepsTheOrderOnOneTerminal(t *testing.T) {
	var out bytes.Buffer
	c := newConsole(consoleStreams{out: &out, err: &out, same: true}, newLineStyle([]string{"p"}, false), false, describer{})
	var want strings.Builder
	for i := range 100 {
		c.line(outLine("p", fmt.Sprint(i)))
		c.line(errLine("p", fmt.Sprint(i)))
		c.say("said %d", i)
		fmt.Fprintf(&want, "p | %d\np ! %d\nprocops * said %d\n", i, i, i)
	}
	if err := c.close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if out.String() != want.String() {
		t.Errorf("got %q", out.String())
	}
}

func TestConsoleQuiet(t *testing.T) {
	var out, err bytes.Buffer
	c := newConsole(consoleStreams{out: &out, err: &err}, newLineStyle([]string{"p"}, true), true, describer{})
	c.line(outLine("p", "x"))
	c.line(errLine("p", "x"))
	c.say("something")
	c.show(outLine("p", "shown all the same"))
	if e := c.close(context.Background()); e != nil {
		t.Fatal(e)
	}
	if out.String() != "shown all the same\n" || err.String() != "procops: something\n" {
		t.Errorf("stdout %q, stderr %q", out.String(), err.String())
	}
}

func TestTailsKeepTheLast(t *testing.T) {
	var kept tails
	for i := range 3 * tailLines {
		kept.add(outLine("p", fmt.Sprint(i)))
	}
	kept.add(outLine("q", "one"))
	got := kept.of("p")
	if len(got) != tailLines || got[0].Text != fmt.Sprint(2*tailLines) || got[tailLines-1].Text != fmt.Sprint(3*tailLines-1) {
		t.Errorf("kept %d lines: %v", len(got), got)
	}
	if len(kept.of("q")) != 1 || len(kept.of("r")) != 0 {
		t.Errorf("q has %v, r has %v", kept.of("q"), kept.of("r"))
	}
}

func TestStatusRow(t *testing.T) {
	up := supervise.ProcessStatus{
		Name: "web", State: supervise.StateRunning, Wanted: true, PID: 7, Started: noon, Ready: true, Restarts: 3,
		CPU: 75.31, Memory: 5 << 30, LastExit: &supervise.ExitStatus{Text: "3 Bad"},
	}
	waits := supervise.ProcessStatus{Name: "db", State: supervise.StateWaiting, Wanted: true, Reason: "waits for x", LastExit: up.LastExit}
	for _, c := range []struct {
		p    supervise.ProcessStatus
		want string
	}{
		{up, "web,running,7,1m05s,3,1m15s,5.0G,yes,3 Bad"},
		{waits, "db,waiting,,,0,,,,waits for x"},
	} {
		if got := strings.Join(statusRow(c.p, noon.Add(65*time.Second)), ","); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestSpansAndSizes(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 999 * time.Millisecond: "0s", 59 * time.Second: "59s", time.Minute: "1m00s",
		time.Hour - 1: "59m59s", time.Hour: "1h00m", 24*time.Hour - 1: "23h59m", 24 * time.Hour: "1d00h", 1000 * time.Hour: "41d16h",
	} {
		if got := span(d); got != want {
			t.Errorf("span of %v: got %q, want %q", d, got, want)
		}
	}
	for size, want := range map[int64]string{0: "0.0K", 1536: "1.5K", 1 << 20: "1.0M", 3 << 29: "1.5G", 1 << 50: "1024.0T"} {
		if got := memory(size); got != want {
			t.Errorf("memory of %d: got %q, want %q", size, got, want)
		}
	}
}

func TestDrawTree(t *testing.T) {
	var out bytes.Buffer
	err := drawTree(&out, palette{}, []supervise.Node{
		{Name: "site", Group: true, State: supervise.StateBackoff, Children: []supervise.Node{
			{Name: "back", Group: true, State: supervise.StateRunning, Children: []supervise.Node{{Name: "db", State: supervise.StateRunning}}},
			{Name: "web", State: supervise.StateBackoff},
		}},
		{Name: "cron", State: supervise.StateStopped},
	}, "")
	want := `├─ site  backoff
│  ├─ back  running
│  │  └─ db  running
│  └─ web  backoff
└─ cron  stopped
`
	if err != nil || out.String() != want {
		t.Errorf("got %s, %v", out.String(), err)
	}
}
