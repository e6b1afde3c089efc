package heartbeat

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"procops/internal/fault"
	"procops/internal/unit"
)

// noon is the time of a new testClock.
const noon = 1772366400

// put writes the file of a heartbeat.
func put(tb testing.TB, dir, name, content string) string {
	tb.Helper()
	path := filepath.Join(dir, name+".json")
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		tb.Fatal(err)
	}
	return path
}

func TestParseBeat(t *testing.T) {
	now := time.Unix(noon, 0)
	beat := func(at, uptime float64, memory int64) Beat {
		return Beat{
			Time:    time.UnixMicro(int64(at * 1e6)),
			Client:  Client{Uptime: time.Duration(uptime * float64(time.Second)), Memory: memory},
			Outcome: Good,
		}
	}
	for _, test := range []struct {
		content string
		want    Beat
		err     string
	}{
		{`{"timestamp":1374529431,"uptime":787,"memoryUsage":786432,"currentBeatNumber":786}`, beat(1374529431, 787, 786432), ""},
		{"{\"timestamp\":\"1374529431\",\n\"uptime\":\"12.5\",\"memoryUsage\":\" 1024\\n\"}\n", beat(1374529431, 12.5, 1024), ""},
		{`{"timestamp":1374529431.25}`, beat(1374529431.25, 0, 0), ""},
		{`{"timestamp":1.374529431e9,"uptime":null,"memoryUsage":null}`, beat(1374529431, 0, 0), ""},
		{`{"timestamp":1,"uptime":-3,"memoryUsage":-1}`, beat(1, 0, 0), ""},
		{`{"timestamp":1,"uptime":1e300,"memoryUsage":1e300}`, beat(1, time.Duration(longest).Seconds(), 1<<62), ""},
		{`{"timestamp":1,"TIMESTAMP":2,"Uptime":"x"}`, beat(1, 0, 0), ""},
		{fmt.Sprintf(`{"timestamp":%d}`, noon+60), beat(noon+60, 0, 0), ""},

		{``, Beat{}, "it is empty"},
		{" \n", Beat{}, "it is empty"},
		{`{"timestamp":137452943`, Beat{}, "it is not complete JSON"},
		{`{"timestamp":1}}`, Beat{}, "it is not complete JSON"},
		{"\ufeff{\"timestamp\":1}", Beat{}, "it is not complete JSON"},
		{"\x00\x00\x00", Beat{}, "it is not complete JSON"},
		{`null`, Beat{}, "it is not a JSON object"},
		{`[]`, Beat{}, "it is not a JSON object"},
		{`1374529431`, Beat{}, "it is not a JSON object"},
		{`{}`, Beat{}, "it has no timestamp"},
		{`{"timestamp":null,"uptime":1}`, Beat{}, "it has no timestamp"},
		{`{"Timestamp":1374529431}`, Beat{}, "it has no timestamp"},
		{`{"timestamp":"soon"}`, Beat{}, `its timestamp is "soon", want a number`},
		{`{"timestamp":""}`, Beat{}, `its timestamp is "", want a number`},
		{`{"timestamp":"0x10"}`, Beat{}, `its timestamp is "0x10", want a number`},
		{`{"timestamp":"inf"}`, Beat{}, `its timestamp is "inf", want a number`},
		{`{"timestamp":1e999}`, Beat{}, `its timestamp is 1e999, want a number`},
		{`{"timestamp":"` + strings.Repeat("é", 40) + `"}`, Beat{}, `its timestamp is "` + strings.Repeat("é", 15) + `, want a number`},
		{`{"timestamp":true}`, Beat{}, `its timestamp is true, want a number`},
		{`{"timestamp":[` + strings.Repeat("1,", 90) + `1]}`, Beat{}, `its timestamp is [` + strings.Repeat("1,", 15) + `1, want a number`},
		{`{"timestamp":1,"uptime":{}}`, Beat{}, `its uptime is {}, want a number`},
		{`{"timestamp":1,"memoryUsage":"2 MB"}`, Beat{}, `its memoryUsage is "2 MB", want a number`},
		{`{"timestamp":0}`, Beat{}, "its timestamp 0 is not a time"},
		{`{"timestamp":-5}`, Beat{}, "its timestamp -5 is not a time"},
		{fmt.Sprintf(`{"timestamp":%d}`, noon+61), Beat{}, "its timestamp 1772366461 is in the future"},
		{`{"timestamp":1772366400000}`, Beat{}, "its timestamp 1772366400000 is in the future"},
		{`{"timestamp":1e300}`, Beat{}, "is in the future"},
	} {
		b, err := parseBeat([]byte(test.content), now)
		if test.err == "" {
			if err != nil || !b.Time.Equal(test.want.Time) || b.Client != test.want.Client || b.Outcome != Good {
				t.Errorf("%q: %+v, %v", test.content, b, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), test.err) {
			t.Errorf("%q: %+v, error %v, want %q", test.content, b, err, test.err)
		}
	}
}

func FuzzParseBeat(f *testing.F) {
	for _, seed := range []string{
		``, `null`, `[]`, `{"timestamp":1374529431,"uptime":787,"memoryUsage":786432,"currentBeatNumber":786}`,
		`{"timestamp":"1374529431.5","uptime":"1e3","memoryUsage":null}`, `{"timestamp":13745`, `{"timestamp":1e999}`,
		`{"timestamp":" 1 ","uptime":-1,"memoryUsage":1e300}`, `{"timestamp":"0x1p3"}`, `{"timestamp":"NaN"}`, `{"timestamp":9e15}`,
	} {
		f.Add([]byte(seed))
	}
	now := time.Unix(noon, 0)
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := parseBeat(raw, now)
		if err != nil {
			if len(err.Error()) > 200 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			return
		}
		if !json.Valid(raw) || b.Time.Unix() < 0 || b.Time.After(now.Add(maxAhead)) ||
			b.Client.Uptime < 0 || b.Client.Memory < 0 || b.Client.PID != 0 || b.Outcome != Good {
			t.Errorf("%q: %+v", raw, b)
		}
		// What procops writes of it is the same, to the second.
		path := jsonFile(filepath.Join(t.TempDir(), "x.json"))
		if err := path.write(b); err != nil {
			t.Fatal(err)
		}
		again, err := path.read(now)
		if b.Time.Unix() == 0 { // less than a second: no time when it is cut off
			return
		}
		if err != nil || again.Time.Unix() != b.Time.Unix() ||
			again.Client.Uptime != b.Client.Uptime.Truncate(time.Second) || float64(again.Client.Memory) != float64(b.Client.Memory) {
			t.Errorf("%q: %+v, then %+v, %v", raw, b, again, err)
		}
	})
}

func TestJSONFileIsTheLastBeat(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	w := newWorld(t, Config{Storage: dir, Heartbeats: map[string]Target{
		"x": {WarnAfter: minutes(1), CriticalAfter: minutes(5)},
		"y": {Storage: other},
	}})
	w.must(w.Attach(t.Context(), "z", Target{Storage: other}))
	put(t, dir, "x", fmt.Sprintf(`{"timestamp":%d,"uptime":60,"memoryUsage":1024}`, noon-12))
	put(t, dir, "y", fmt.Sprintf(`{"timestamp":%d}`, noon))
	put(t, other, "y", fmt.Sprintf(`{"timestamp":%d}`, noon-3))
	put(t, other, "z", fmt.Sprintf(`{"timestamp":%d}`, noon-4))
	all, err := w.All(t.Context(), nil)
	w.must(err)
	for i, want := range []struct {
		message string
		client  Client
	}{
		{"beat 12s ago", Client{Uptime: time.Minute, Memory: 1024}},
		{"beat 3s ago", Client{}},
		{"beat 4s ago", Client{}},
	} {
		h := all[i]
		k := w.knockOne(h.Name)
		status, message := h.Status(w.clock.read())
		if status != OK || message != want.message || h.Last.Client != want.client || k.Status != OK || k.Message != want.message {
			t.Errorf("%+v, knock %+v", h, k)
		}
	}
	w.clock.move(time.Minute)
	if k := w.knockOne("x"); k.Status != Warning || k.Lag != 72*time.Second || k.Heartbeat.Last.Number != 0 {
		t.Errorf("%+v", k)
	}
	entries, err := w.History(t.Context(), "x", HistoryFilter{})
	w.must(err)
	if len(entries) != 2 || !entries[1].HasLag || entries[1].Lag != 72*time.Second {
		t.Errorf("%+v", entries)
	}
}

func TestTheNewerOfFileAndStateCounts(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t, Config{Heartbeats: map[string]Target{"x": {Storage: dir}}})
	write := func(ago int64) {
		put(t, dir, "x", fmt.Sprintf(`{"timestamp":%d}`, w.clock.read().Unix()-ago))
	}
	want := func(message string, number int64) {
		t.Helper()
		k := w.knockOne("x")
		if k.Status != OK || k.Message != message || k.Heartbeat.Last.Number != number {
			t.Errorf("%+v, want %q", k, message)
		}
	}
	w.beat("x")
	w.beat("x")
	write(7)
	want("beat 0s ago", 2)
	w.clock.move(time.Minute)
	write(5)
	want("beat 5s ago", 2)
	write(-30) // a clock that is a little ahead
	want("beat 0s ago", 2)
	if n := w.beat("x"); n != 3 {
		t.Errorf("number %d", n)
	}
	w.clock.move(time.Second)
	want("beat 1s ago", 3)
}

func TestBeatWritesTheFile(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t, Config{Storage: dir, Heartbeats: map[string]Target{"x": {}}})
	w.clock.move(300 * time.Millisecond)
	client := Client{PID: 7, Uptime: 87654 * time.Millisecond, Memory: 2097152}
	_, err := w.Beat(t.Context(), "x", Sign{Client: client})
	w.must(err)
	wantFile(t, dir, "x", `{"timestamp":1772366400,"uptime":87,"memoryUsage":2097152}`)
	if k := w.knockOne("x"); k.Heartbeat.Last.Client != client || k.Heartbeat.Last.Number != 1 {
		t.Errorf("the state knows more of its own beat: %+v", k.Heartbeat.Last)
	}
	_, err = w.Beat(t.Context(), "new", Sign{Create: true})
	w.must(err)
	wantFile(t, dir, "new", `{"timestamp":1772366400,"uptime":null,"memoryUsage":null}`)
	if k := w.knockOne("new"); k.Status != OK || k.Heartbeat.Last.Client != (Client{}) {
		t.Errorf("%+v", k)
	}
	// Only the two are there.
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("%v, %v", entries, err)
	}
}

func wantFile(tb testing.TB, dir, name, want string) {
	tb.Helper()
	content, err := os.ReadFile(filepath.Join(dir, name+".json"))
	if err != nil || string(content) != want+"\n" {
		tb.Errorf("%s is %q (%v), want %q", name, content, err, want)
	}
}

func TestWrittenFileKeepsItsMode(t *testing.T) {
	dir := t.TempDir()
	path := put(t, dir, "x", "half {")
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	before, err := os.Open(path) // a reader that has it open keeps what it has
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = before.Close() }()
	w := newWorld(t, Config{Storage: dir, Heartbeats: map[string]Target{"x": {}}})
	w.beat("x")
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o666 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	content := make([]byte, 10)
	if n, err := before.Read(content); err != nil || string(content[:n]) != "half {" {
		t.Errorf("%q, %v", content[:n], err)
	}
}

func TestBeatThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t, Config{Storage: filepath.Join(dir, "none"), Heartbeats: map[string]Target{"x": {}, "link": {Storage: dir}, "dir": {Storage: dir}}})
	_, err := w.Beat(t.Context(), "x", Sign{})
	wantFault(t, err, fault.Failure, `cannot write the beat to "`, `none/x.json": no such file or directory`)
	if len(fault.Hints(err)) != 1 {
		t.Errorf("hints %q", fault.Hints(err))
	}
	target := put(t, dir, "target", "precious")
	w.must(os.Symlink(target, filepath.Join(dir, "link.json")))
	_, err = w.Beat(t.Context(), "link", Sign{})
	wantFault(t, err, fault.Failure, `link.json": it is not a regular file`)
	w.must(os.Mkdir(filepath.Join(dir, "dir.json"), 0o755))
	_, err = w.Beat(t.Context(), "dir", Sign{})
	wantFault(t, err, fault.Failure, `dir.json": it is not a regular file`)
	if content, err := os.ReadFile(target); err != nil || string(content) != "precious" {
		t.Errorf("%q, %v", content, err)
	}
}

func TestFileThatIsNoBeatIsUnknown(t *testing.T) {
	dir := t.TempDir()
	good := fmt.Sprintf(`{"timestamp":%d}`, noon)
	causes := map[string]string{
		"missing": "no such file or directory", "empty": "it is empty", "half": "it is not complete JSON",
		"link": "it is a symbolic link", "dangling": "it is a symbolic link", "pipe": "it is not a regular file",
		"dir": "it is not a regular file", "huge": "it is larger than 64 kB", "future": "its timestamp 9999999999 is in the future",
	}
	put(t, dir, "empty", "")
	put(t, dir, "half", good[:len(good)-4])
	put(t, dir, "future", `{"timestamp":9999999999}`)
	put(t, dir, "huge", good+strings.Repeat(" ", maxFileSize))
	put(t, dir, "full", good+strings.Repeat(" ", maxFileSize-len(good)))
	put(t, dir, "zz-good", good)
	for _, err := range []error{
		os.Symlink(put(t, dir, "target", good), filepath.Join(dir, "link.json")),
		os.Symlink(filepath.Join(dir, "nowhere"), filepath.Join(dir, "dangling.json")),
		syscall.Mkfifo(filepath.Join(dir, "pipe.json"), 0o644),
		os.Mkdir(filepath.Join(dir, "dir.json"), 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if os.Geteuid() != 0 { // root reads everything
		causes["secret"] = "permission denied"
		if err := os.Chmod(put(t, dir, "secret", good), 0); err != nil {
			t.Fatal(err)
		}
	}
	cfg := Config{Storage: dir, Heartbeats: map[string]Target{"full": {}, "zz-good": {}}}
	for name := range causes {
		cfg.Heartbeats[name] = Target{}
	}
	w := newWorld(t, cfg)
	var names []string
	for name := range cfg.Heartbeats {
		names = append(names, name)
	}
	slices.Sort(names)
	knocks, err := w.Knock(t.Context(), names...)
	w.must(err)
	for i, k := range knocks {
		name := names[i]
		want := fmt.Sprintf("cannot read the beat in %q: %s", filepath.Join(dir, name+".json"), causes[name])
		status := Unknown
		if causes[name] == "" {
			status, want = OK, "beat 0s ago"
		}
		if k.Status != status || k.Message != want || (status == Unknown) != (k.Heartbeat.Last == nil) {
			t.Errorf("%s: %+v, want %q", name, k, want)
		}
		entries, err := w.History(t.Context(), name, HistoryFilter{})
		w.must(err)
		if len(entries) != 1 || entries[0].Status != status || entries[0].Message != want {
			t.Errorf("%s: %+v", name, entries)
		}
	}
}

func TestTornFileIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	now := time.Unix(noon, 0)
	path := put(t, dir, "x", "")
	pauses := 0
	b, err := jsonFile(path).readPatiently(now, func() {
		pauses++
		put(t, dir, "x", []string{`{"timesta`, `{"timestamp":5}`}[pauses-1])
	})
	if err != nil || b.Time.Unix() != 5 || pauses != 2 {
		t.Errorf("%+v, %v after %d pauses", b, err, pauses)
	}
	for _, test := range []struct {
		content string
		written time.Time
		pauses  int
	}{
		{"{", time.Now(), readTries - 1},
		{"{", time.Now().Add(-time.Minute), 0}, // whoever wrote that is not at it any more
		{"[]", time.Now(), 0},
	} {
		put(t, dir, "x", test.content)
		if err := os.Chtimes(path, test.written, test.written); err != nil {
			t.Fatal(err)
		}
		pauses = 0
		if b, err := jsonFile(path).readPatiently(now, func() { pauses++ }); err == nil || pauses != test.pauses {
			t.Errorf("%q: %+v, %v after %d pauses", test.content, b, err, pauses)
		}
	}
}

// Nobody knows what a client has written whose file cannot be read; a failed
// command is known all the same.
func TestUnreadableFileAndTheState(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t, Config{Storage: dir, Heartbeats: map[string]Target{"x": {}}})
	w.beat("x")
	put(t, dir, "x", "{")
	if k := w.knockOne("x"); k.Status != Unknown || k.Heartbeat.Last.Number != 1 {
		t.Errorf("%+v", k)
	}
	run := Run{Name: "x", Program: "false", State: RunFailed, Code: 1, Message: "failed with exit code 1"}
	w.must(w.endRun(t.Context(), run, Client{}))
	if k := w.knockOne("x"); k.Status != Critical || !strings.HasPrefix(k.Message, "failed with exit code 1") {
		t.Errorf("%+v", k)
	}
	wantContent(t, filepath.Join(dir, "x.json"), "{") // bad news is not written
	run.State, run.Code, run.Message = RunSucceeded, 0, ""
	w.must(w.endRun(t.Context(), run, Client{Uptime: 3 * time.Second, Memory: 5}))
	wantFile(t, dir, "x", `{"timestamp":1772366400,"uptime":3,"memoryUsage":5}`)
	if k := w.knockOne("x"); k.Status != OK {
		t.Errorf("%+v", k)
	}
}

func wantContent(tb testing.TB, path, want string) {
	tb.Helper()
	if content, err := os.ReadFile(path); err != nil || string(content) != want {
		tb.Errorf("%s is %q (%v), want %q", filepath.Base(path), content, err, want)
	}
}

func TestMinIntervalSeesTheFile(t *testing.T) {
	dir := t.TempDir()
	least := unit.Duration(10 * time.Second)
	w := newWorld(t, Config{Storage: dir, Heartbeats: map[string]Target{
		"soft": {MinInterval: least, OnFast: Coalesce}, "hard": {MinInterval: least, OnFast: Refuse},
	}})
	content := fmt.Sprintf(`{"timestamp":%d,"uptime":1,"memoryUsage":2}`, noon-4)
	for _, name := range []string{"soft", "hard"} {
		put(t, dir, name, content)
	}
	receipt, err := w.Beat(t.Context(), "soft", Sign{})
	w.must(err)
	if !receipt.Coalesced || receipt.Time.Unix() != noon-4 {
		t.Errorf("%+v", receipt)
	}
	if k := w.knockOne("soft"); k.Heartbeat.Coalesced != 1 || k.Lag != 4*time.Second {
		t.Errorf("%+v", k)
	}
	_, err = w.Beat(t.Context(), "hard", Sign{})
	wantFault(t, err, fault.Conflict, `cannot beat "hard": the last beat was only 4s ago, min_interval is 10s`)
	wantContent(t, filepath.Join(dir, "soft.json"), content)
	wantContent(t, filepath.Join(dir, "hard.json"), content)
	w.clock.move(6 * time.Second)
	if n := w.beat("soft"); n != 1 {
		t.Errorf("number %d", n)
	}
	w.beat("hard")
	put(t, dir, "hard", "") // then the state knows the last beat
	_, err = w.Beat(t.Context(), "hard", Sign{})
	wantFault(t, err, fault.Conflict)
}

// TestBeatInAFileFromBeforeAPause: a beat that nobody has looked at yet is no reason to
// end a pause, nor to be late after it.
func TestBeatInAFileFromBeforeAPause(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t, Config{Storage: dir, Heartbeats: map[string]Target{"a": hourly(), "b": hourly()}})
	for _, name := range []string{"a", "b"} {
		put(t, dir, name, fmt.Sprintf(`{"timestamp":%d}`, noon))
	}
	w.pass(Deps{})
	w.clock.move(20 * time.Minute)
	for _, name := range []string{"a", "b"} {
		put(t, dir, name, fmt.Sprintf(`{"timestamp":%d}`, noon+1200))
	}
	w.clock.move(10 * time.Second)
	w.must(w.Pause(t.Context(), "a", time.Time{}))
	_, err := w.Ping(t.Context(), "b", Ping{Kind: PingStart})
	w.must(err)
	w.watchFor(time.Hour)
	if a, b := w.state("a"), w.state("b"); a != StatePaused || b == StateUp {
		t.Errorf("a is %s, b is %s", a, b)
	}
	w.must(w.Resume(t.Context(), "a"))
	w.watchFor(2 * time.Hour)
	if got := w.state("a"); got != StateNew || strings.Contains(w.alerts(), " a") {
		t.Errorf("a is %s, alerts %q", got, w.alerts())
	}
	put(t, dir, "a", fmt.Sprintf(`{"timestamp":%d}`, w.clock.read().Unix()))
	if k := w.knockOne("a"); k.Status != OK {
		t.Errorf("the knock found %s %q", k.Status, k.Message)
	}
}

func TestNamesThatAreNotInTheListReadNoFile(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "x", fmt.Sprintf(`{"timestamp":%d}`, noon))
	w := newWorld(t, Config{Storage: filepath.Join(dir, "sub")})
	for _, name := range []string{"x", "../x"} {
		_, err := w.Knock(t.Context(), name)
		wantFault(t, err, fault.NotFound)
	}
}

// TestReadersSeeWholeBeats: files that procops writes have no state in between.
func TestReadersSeeWholeBeats(t *testing.T) {
	file := jsonFile(filepath.Join(t.TempDir(), "x.json"))
	write := func(n int64) error {
		return file.write(Beat{Time: time.Unix(n, 0), Client: Client{Uptime: time.Duration(n) * time.Second, Memory: n}})
	}
	if err := write(1); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for range 2 {
		writers.Go(func() {
			for n := int64(1); ctx.Err() == nil; n = n*7%math.MaxInt16 + 1 {
				if err := write(n); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 500 {
		b, err := file.read(time.Unix(noon, 0))
		if n := b.Time.Unix(); err != nil || b.Client != (Client{Uptime: time.Duration(n) * time.Second, Memory: n}) {
			t.Errorf("%+v, %v", b, err)
		}
	}
	stop()
	writers.Wait()
	if entries, err := os.ReadDir(filepath.Dir(string(file))); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}
