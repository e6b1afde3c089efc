package integration

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

// flooder writes the lines from its first argument up to its second, each of
// 100 bytes and with its number, as fast as it can.
const flooder = `
import os, sys
first, last = int(sys.argv[1]), int(sys.argv[2])
pad = "x" * 86
for i in range(first, last, 500):
    os.write(1, "".join(f"{n:012d} {pad}\n" for n in range(i, min(i + 500, last))).encode())
`

// numberOf reads a line of flooder as it stands in a log file.
func numberOf(record string) (number int, ok bool) {
	_, text, ok := strings.Cut(record, "Z stdout F ")
	digits, padding, _ := strings.Cut(text, " ")
	number, err := strconv.Atoi(digits)
	return number, ok && err == nil && len(digits) == 12 && padding == pad
}

// pad follows the number.
var pad = strings.Repeat("x", 86) //nolint:gochecknoglobals // a constant but for its length

// missingOf reads the line that stands for dropped ones.
func missingOf(record string) (lines int, ok bool) {
	_, text, ok := strings.Cut(record, "Z stderr F procops dropped ")
	digits, found := strings.CutSuffix(text, " lines here: the log could not be written as fast")
	lines, err := strconv.Atoi(digits)
	return lines, ok && found && err == nil
}

// flood is what log files hold of the lines of flooder.
type flood struct {
	kept    int // lines, whole and in order
	told    int // lines that notices say are missing
	largest int64
}

// readFlood reads the log files of a process, those put aside first, and fails
// the test if a line is torn or out of order.
func readFlood(t *testing.T, path string) (f flood) {
	t.Helper()
	files, err := filepath.Glob(path + ".*")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	last := -1
	for _, name := range append(files, path) {
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := file.Stat(); err == nil {
			f.largest = max(f.largest, info.Size())
		}
		for lines := bufio.NewScanner(file); lines.Scan(); {
			if n, ok := numberOf(lines.Text()); ok && n > last {
				last = n
				f.kept++
			} else if n, ok := missingOf(lines.Text()); ok {
				f.told += n
			} else {
				t.Fatalf("after line %d in %s: %q", last, name, lines.Text())
			}
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// dropped returns how many lines of each process were dropped, as status says.
func dropped(t *testing.T, s *harness.Sandbox) map[string]int {
	t.Helper()
	var status struct {
		Processes []struct {
			Name    string
			Dropped int `json:"dropped_lines"`
		}
	}
	if err := json.Unmarshal([]byte(s.Procops("supervise", "status", "--json").Stdout), &status); err != nil {
		t.Fatal(err)
	}
	lines := map[string]int{}
	for _, p := range status.Processes {
		lines[p.Name] = p.Dropped
	}
	return lines
}

// peakMemory returns the largest resident memory of a process so far, in bytes.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB$`).FindSubmatch(status)
	if m == nil {
		t.Fatalf("no VmHWM in %s", status)
	}
	kilobytes, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}

// TestFlood has three processes write as fast as they can: nothing is torn, what
// is dropped is counted, files rotate, and procops stays small.
func TestFlood(t *testing.T) {
	t.Parallel()
	s := harness.NewShipped(t)
	s.WriteFile("flood.py", flooder)
	const lines = 700_000
	s.Config(fmt.Sprintf(`
[supervise.process.counted]
command = ["python3", "flood.py", "0", "%[1]d"]
output = { max_size = "5M", max_files = 1000 }
[supervise.process.whole]
command = ["python3", "flood.py", "0", "%[1]d"]
output = { max_size = "5M", max_files = 1000, overflow = "block" }
[supervise.process.rotated]
command = ["python3", "flood.py", "0", "%[1]d"]
output = { max_size = "5M", max_files = 2 }
[supervise.process.last]
command = "exec sleep 1000"
`, lines))
	p := s.Start("supervise", "run", "--quiet")
	for _, name := range []string{"counted", "whole", "rotated"} {
		p.WaitLine("^" + name + ` +\* ended: 0 OK`)
	}
	lost := dropped(t, s)
	if most := peakMemory(t, p.PID()); most > 200<<20 {
		t.Errorf("procops had %d MB", most>>20)
	}
	p.Signal(syscall.SIGTERM)
	p.WantExit(0)
	counted := readFlood(t, filepath.Join(s.State, "logs", "counted.log"))
	if counted.kept+lost["counted"] != lines || counted.told != lost["counted"] || counted.largest > 5<<20 {
		t.Errorf("%d lines were written; %+v, dropped: %v", lines, counted, lost)
	}
	if whole := readFlood(t, filepath.Join(s.State, "logs", "whole.log")); whole.kept != lines || lost["whole"] != 0 {
		t.Errorf("%d lines were written; %+v, dropped: %v", lines, whole, lost)
	}
	path := filepath.Join(s.State, "logs", "rotated.log")
	rotated := readFlood(t, path)
	if aside, _ := filepath.Glob(path + ".*"); len(aside) != 2 || rotated.largest > 5<<20 || rotated.kept == 0 {
		t.Errorf("%q were put aside; %+v", aside, rotated)
	}
}

// TestFollowerWhoStops floods one who reads a line of `logs -f` and then none.
func TestFollowerWhoStops(t *testing.T) {
	t.Parallel()
	s := harness.NewShipped(t)
	s.WriteFile("flood.py", flooder)
	const lines = 500_000
	s.Config(fmt.Sprintf(`
[supervise.process.p]
command = "echo begin; until test -e began; do sleep 0.02; done; python3 flood.py 0 %d; touch done; exec sleep 1000"
output = { max_size = "10M", max_files = 2 }
`, lines))
	p := s.Start("supervise", "run", "--quiet")
	s.Want(0, "supervise", "wait", "--ready")
	s.WriteFile("reader", "read line; echo $line > began; until test -e done; do sleep 0.05; done; cat > rest")
	follower := s.StartProgram("bash", "-c", "procops supervise logs -f --no-prefix | sh reader")
	s.WaitFile("began")
	harness.Eventually(t, "the process is done", func() bool { return harness.Exists(filepath.Join(s.Dir, "done")) })
	if most := peakMemory(t, p.PID()); most > 200<<20 {
		t.Errorf("procops had %d MB", most>>20)
	}
	p.Signal(syscall.SIGTERM)
	p.WantExit(0)
	follower.Wait()
	missed, whole := 0, 0
	for line := range strings.Lines(s.ReadFile("rest")) {
		if m := regexp.MustCompile(`^procops dropped (\d+) lines here: they were not read as fast$`).FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			n, _ := strconv.Atoi(m[1])
			missed += n
		} else if len(line) == 100 {
			whole++
		} else {
			t.Fatalf("torn line %q", line)
		}
	}
	if missed == 0 || whole == 0 || missed+whole > lines {
		t.Errorf("the follower has %d lines and misses %d", whole, missed)
	}
}

// TestFollowerWhoHasEnough ends quietly.
func TestFollowerWhoHasEnough(t *testing.T) {
	t.Parallel()
	s, stop := started(t, "[supervise.process.p]\ncommand = 'while :; do echo again; sleep 0.02; done'\n")
	defer stop()
	if r := s.Run("bash", "-c", "procops supervise logs -f --no-prefix | head -n 1; exit ${PIPESTATUS[0]}"); r.Code != 0 || r.Stdout != "again\n" || r.Stderr != "" {
		t.Error(r)
	}
}

// TestBytesComeThrough has a process write a line of 10 MB and every sequence of
// bytes: its log file has them all.
func TestBytesComeThrough(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.WriteFile("bytes.py", `
import os, random
r = random.Random(1)
data = b"a" * (10 << 20) + b"\n" + bytes(range(256)) * 100 + b"\r\n\x00\n\n" + r.randbytes(1 << 20) + b"no newline"
open("want", "wb").write(data)
while data:
    data = data[os.write(1, data):]
`)
	s.Config("[supervise.process.p]\ncommand = ['python3', 'bytes.py']\noutput.max_size = '100M'\n")
	s.Want(0, "supervise", "run", "--quiet")
	var got bytes.Buffer
	for record := range bytes.Lines([]byte(s.ReadFile("state/logs/p.log"))) {
		fields := bytes.SplitN(record, []byte(" "), 4)
		if len(fields) != 4 || string(fields[1]) != "stdout" {
			t.Fatalf("record %.100q", record)
		}
		text := fields[3]
		if string(fields[2]) == "P" {
			text = bytes.TrimSuffix(text, []byte("\n"))
		}
		got.Write(text)
	}
	if want := s.ReadFile("want"); got.String() != want {
		t.Errorf("%d bytes have come through, want %d", got.Len(), len(want))
	}
}

// TestFullDiskHoldsNobodyUp has the log on a disk that is full for a while.
func TestFullDiskHoldsNobodyUp(t *testing.T) {
	for _, overflow := range []string{"drop", "block"} {
		t.Run(overflow, func(t *testing.T) {
			t.Parallel()
			s := harness.New(t)
			disk := smallDisk(t, s, "size=1M")
			if err := os.WriteFile(filepath.Join(disk, "ballast"), make([]byte, 700<<10), 0o600); err != nil {
				t.Fatal(err)
			}
			s.WriteFile("flood.py", flooder)
			s.Config(fmt.Sprintf(`
[supervise.process.p]
command = "python3 flood.py 0 60000; touch full; until test -e room; do sleep 0.02; done; python3 flood.py 60000 61000; exec sleep 1000"
output = { file = "%s/p.log", overflow = %q }
`, disk, overflow))
			p := s.Start("supervise", "run", "--quiet")
			harness.Eventually(t, "the process has written all", func() bool { return harness.Exists(filepath.Join(s.Dir, "full")) })
			p.WaitLine(`cannot write the log; output is dropped until it can be written again error="cannot write to log file .*: no space left on device"`)
			if err := os.Remove(filepath.Join(disk, "ballast")); err != nil {
				t.Fatal(err)
			}
			s.WriteFile("room", "")
			var f flood
			path := filepath.Join(disk, "p.log")
			harness.Eventually(t, "the last line is in the log", func() bool {
				raw, err := os.ReadFile(path)
				return err == nil && bytes.Contains(raw, []byte(" 000000060999 x"))
			})
			s.Want(0, "supervise", "logs", "p") // all that was said so far is written
			f = readFlood(t, path)
			if lost := dropped(t, s)["p"]; lost == 0 || f.told != lost || f.kept+lost != 61000 {
				t.Errorf("61000 lines were written: %+v, %d dropped", f, lost)
			}
			p.Signal(syscall.SIGTERM)
			p.WantExit(0)
		})
	}
}

// smallDisk mounts a file system in memory for the time of the test.
func smallDisk(t *testing.T, s *harness.Sandbox, options string) string {
	t.Helper()
	dir := filepath.Join(s.Dir, "disk")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Fatalf("cannot mount a small disk, which this test needs: run it as root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestOutputAsJSON follows the output of a running process whose log file is in
// JSON.
func TestOutputAsJSON(t *testing.T) {
	t.Parallel()
	s, stop := started(t, `
[supervise.process.p]
command = '''echo 'a "quoted" word'; echo trouble >&2; printf 'tab\there, \303\274, no newline yet'; echo up >&2; trap 'echo; echo after >&2' USR1; while :; do sleep 0.02; done'''
ready.log = "^up$"
output.format = "json"
`)
	defer stop()
	type line struct{ Process, Name, Stream, Text string }
	read := func(text string) (lines []line) {
		for d := json.NewDecoder(strings.NewReader(text)); d.More(); {
			var l line
			if err := d.Decode(&l); err != nil {
				t.Fatalf("%v in %s", err, text)
			}
			lines = append(lines, l)
		}
		return lines
	}
	of := func(lines []line, stream string) (texts []string) {
		for _, l := range lines {
			if l.Process+l.Name != "p" {
				t.Errorf("line %+v", l)
			}
			if l.Stream == stream {
				texts = append(texts, l.Text)
			}
		}
		return texts
	}
	const quoted, rest = `a "quoted" word`, "tab\there, ü, no newline yet"
	want := func(lines []line, stdout, stderr []string) {
		t.Helper()
		if got := of(lines, "stdout"); !slices.Equal(got, stdout) {
			t.Errorf("stdout %q, want %q", got, stdout)
		}
		if got := of(lines, "stderr"); !slices.Equal(got, stderr) {
			t.Errorf("stderr %q, want %q", got, stderr)
		}
	}
	want(read(s.Want(0, "supervise", "logs", "--json").Stdout), []string{quoted}, []string{"trouble", "up"})
	follower := s.Start("supervise", "logs", "-f", "--json")
	follower.WaitLine(`"up"`)
	s.Want(0, "supervise", "signal", "USR1", "p")
	follower.WaitLine(`"after"`)
	follower.WaitLine(`no newline yet`)
	follower.Signal(syscall.SIGINT)
	follower.Wait()
	stdout, stderr := []string{quoted, rest}, []string{"trouble", "up", "after"}
	want(read(follower.Stdout()), stdout, stderr)
	want(read(s.ReadFile("state/logs/p.log")), stdout, stderr)
	if r := s.Want(0, "supervise", "logs", "--no-prefix"); !strings.Contains(r.Stdout, quoted+"\n") || !strings.Contains(r.Stdout, "trouble\n") {
		t.Error(r)
	}
}

// TestFailureEventHasTheLastLines looks at the event of a failure, and at that of
// a good end, which has none.
func TestFailureEventHasTheLastLines(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config(`
[supervise.process.bad]
command = "seq 1 100000; echo last words; seq 1 100000 >&2; echo last cry >&2; printf 'and a bit' >&2; exit 4"
[supervise.process.good]
command = "echo well"
`)
	s.Want(4, "supervise", "run", "--quiet")
	type data struct{ Stdout, Stderr string }
	found := map[string]data{}
	for d := json.NewDecoder(strings.NewReader(s.Want(0, "events", "--json", "-n", "0", "--type", "supervise.process.exited").Stdout)); d.More(); {
		var e struct {
			Subject string
			Data    data
		}
		if err := d.Decode(&e); err != nil {
			t.Fatal(err)
		}
		found[e.Subject] = e.Data
	}
	bad := found["bad"]
	if !strings.HasSuffix(bad.Stdout, "\n99999\n100000\nlast words\n") || !strings.HasSuffix(bad.Stderr, "\n100000\nlast cry\nand a bit") || len(bad.Stdout) > 4<<10 {
		t.Errorf("stdout %q, stderr %q", bad.Stdout, bad.Stderr)
	}
	if good, ok := found["good"]; ok && good != (data{}) {
		t.Errorf("the good end has %+v", good)
	}
}

// TestLogsThatCannotBeRead has no supervisor, and a directory where a log should
// be: the other log is shown.
func TestLogsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config("[supervise.process.a]\ncommand = 'echo lost'\n[supervise.process.b]\ncommand = 'echo found'\n")
	s.Want(0, "supervise", "run", "--quiet")
	path := filepath.Join(s.State, "logs", "a.log")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, fs.ModePerm); err != nil {
		t.Fatal(err)
	}
	if r := s.Want(1, "supervise", "logs", "--no-prefix"); r.Stdout != "found\n" || !strings.Contains(r.Stderr, `cannot read the log of "a"`) {
		t.Error(r)
	}
}

// TestStopLadderFromTheConfig has a process take each signal that its config
// names, in order, and end by none of them.
func TestStopLadderFromTheConfig(t *testing.T) {
	t.Parallel()
	s, stop := started(t, `
[supervise.process.p]
command = "for s in INT USR1 TERM; do trap \"echo got $s\" $s; done; echo up; while :; do sleep 0.02; done"
ready.log = "up"
stop = { signal = "INT", grace = "500ms", then = ["USR1", "SIGTERM"] }
`)
	defer stop()
	s.Want(0, "supervise", "stop", "p")
	r := s.Want(0, "supervise", "logs", "--no-prefix")
	if got := regexp.MustCompile(`(?m)^got \w+$`).FindAllString(r.Stdout, -1); !slices.Equal(got, []string{"got INT", "got USR1", "got TERM"}) {
		t.Error(r)
	}
	if r := s.Want(0, "supervise", "status"); !strings.Contains(r.Stdout, "137 Kill") {
		t.Error(r)
	}
}
