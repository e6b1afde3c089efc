package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"procops/integration/harness"
)

// phpBeats is a client and a monitor as those of php component_heartbeat that
// keep their beats in JSON files: the client takes what is in the file, sets its
// fields and puts all back, not by renaming; the monitor subtracts.
const phpBeats = `<?php
[, $do, $file] = $argv;

function beat(string $file, int $start, int $number): void
{
    $data = is_file($file) ? json_decode((string) file_get_contents($file)) : null;
    if (!is_object($data)) {
        $data = new stdClass();
    }
    $data->timestamp = time();
    $data->uptime = time() - $start;
    $data->memoryUsage = memory_get_usage(true);
    $data->currentBeatNumber = $number;
    file_put_contents($file, json_encode($data));
}

switch ($do) {
case 'beat':
    beat($file, time() - 90, 4);
    break;
case 'strings':
    file_put_contents($file, json_encode(['timestamp' => (string) microtime(true), 'uptime' => '90.5', 'memoryUsage' => null]));
    break;
case 'knock':
    $data = json_decode((string) file_get_contents($file));
    if (!is_object($data) || !is_int($data->timestamp) || !is_int($data->uptime) || !is_int($data->memoryUsage)) {
        echo "no beat\n";
        exit(1);
    }
    printf("%d seconds ago, up for %d, %d bytes\n", time() - $data->timestamp, $data->uptime, $data->memoryUsage);
    exit(time() - $data->timestamp > 60 ? 1 : 0);
case 'storm':
    // Sometimes in pieces, and never by renaming.
    $start = time() - 90;
    for ($i = 0;; $i++) {
        $padding = str_repeat(' ', $i % 3 * 5000);
        $handle = fopen($file, 'w');
        foreach (str_split(sprintf('{"timestamp":%d,"uptime":%d,%s"memoryUsage":%d}', time(), 90, $padding, 4096), 7000) as $part) {
            fwrite($handle, $part);
        }
        fclose($handle);
        if ($i === 0) {
            echo "ready\n";
        }
    }
}
`

// knocked is what of knock --json these tests look at.
type knocked struct {
	Name    string
	Status  string
	Message string
	Last    *struct {
		Number int64
		Time   time.Time
		Lag    float64 `json:"lag_seconds"`
		Uptime float64 `json:"uptime_seconds"`
		Memory int64   `json:"memory_bytes"`
	}
}

func knockJSON(t *testing.T, s *harness.Sandbox, args ...string) (knocks []knocked, code int) {
	t.Helper()
	r := s.Procops(append([]string{"heartbeat", "knock", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(r.Stdout), &knocks); err != nil || r.Stderr != "" {
		t.Fatalf("%v: %s", err, r)
	}
	return knocks, r.Code
}

// newBeats makes a sandbox with the heartbeats queue and mail, whose beats
// stand in beats/ as well.
func newBeats(t *testing.T) *harness.Sandbox {
	t.Helper()
	s := harness.New(t)
	s.WriteFile("beats.php", phpBeats)
	s.Config("[heartbeat]\nstorage = 'beats'\n[heartbeat.queue]\nwarn_after = '1m'\n[heartbeat.mail]\n")
	if err := os.Mkdir(filepath.Join(s.Dir, "beats"), 0o755); err != nil {
		t.Fatal(err)
	}
	return s
}

func php(t *testing.T, s *harness.Sandbox, code int, args ...string) harness.Result {
	t.Helper()
	r := s.Run("php", append([]string{"beats.php"}, args...)...)
	if r.Code != code {
		t.Fatalf("want code %d: %s", code, r)
	}
	return r
}

// TestPHPBeatsAndProcopsKnocks has a PHP client beat a heartbeat of the config
// and one that was attached.
func TestPHPBeatsAndProcopsKnocks(t *testing.T) {
	t.Parallel()
	s := newBeats(t)
	php(t, s, 0, "beat", "beats/queue.json")
	knocks, code := knockJSON(t, s, "queue", "mail")
	if code != 3 || knocks[0].Status != "ok" || knocks[1].Status != "unknown" {
		t.Fatalf("code %d: %+v", code, knocks)
	}
	if last := knocks[0].Last; last.Lag > 30 || last.Uptime < 90 || last.Uptime > 91 || last.Memory != 2<<20 {
		t.Errorf("%+v", last)
	}
	want := fmt.Sprintf(`cannot read the beat in %q: no such file or directory`, filepath.Join(s.Dir, "beats/mail.json"))
	if knocks[1].Message != want || knocks[1].Last != nil {
		t.Errorf("%+v, want %q", knocks[1], want)
	}

	s.Want(0, "heartbeat", "attach", "cron", "--storage", ".")
	php(t, s, 0, "strings", "cron.json")
	r := s.Want(0, "heartbeat", "knock", "cron")
	if !strings.HasPrefix(r.Stdout, "OK - cron: beat ") || !strings.Contains(r.Stdout, " uptime=90.5s memory=0B\n") {
		t.Error(r)
	}
	if r := s.Want(0, "heartbeat", "list", "--tag", "none"); strings.Contains(r.Stdout, "cron") {
		t.Error(r)
	}
	if r := s.Want(0, "heartbeat", "list"); !strings.Contains(r.Stdout, "cron") || !strings.Contains(r.Stdout, "unknown") {
		t.Error(r)
	}
}

// TestProcopsBeatsAndPHPKnocks has procops and a PHP client take turns with one
// file.
func TestProcopsBeatsAndPHPKnocks(t *testing.T) {
	t.Parallel()
	s := newBeats(t)
	php(t, s, 1, "knock", "beats/queue.json")
	s.Want(0, "heartbeat", "beat", "queue")
	if r := php(t, s, 0, "knock", "beats/queue.json"); !strings.Contains(r.Stdout, " seconds ago, up for ") {
		t.Error(r)
	}
	php(t, s, 0, "beat", "beats/queue.json")
	if knocks, code := knockJSON(t, s, "queue"); code != 0 || knocks[0].Last.Number != 1 {
		t.Errorf("code %d: %+v", code, knocks)
	}
	s.Want(0, "heartbeat", "beat", "queue")
	php(t, s, 0, "knock", "beats/queue.json")
	if knocks, code := knockJSON(t, s, "queue"); code != 0 || knocks[0].Last.Number != 2 {
		t.Errorf("code %d: %+v", code, knocks)
	}

	// A wrapped command's good news are a beat, its bad news are not.
	s.Want(1, "heartbeat", "run", "mail", "--", "false")
	php(t, s, 1, "knock", "beats/mail.json")
	s.Want(0, "heartbeat", "run", "mail", "--", "true")
	php(t, s, 0, "knock", "beats/mail.json")

	if err := os.RemoveAll(filepath.Join(s.Dir, "beats")); err != nil {
		t.Fatal(err)
	}
	r := s.Want(1, "heartbeat", "beat", "queue")
	if !strings.Contains(r.Stderr, "procops: error: cannot write the beat to ") || !strings.Contains(r.Stderr, "procops: hint: the directory ") {
		t.Error(r)
	}
	// The wrapper keeps its command's exit code.
	if r := s.Want(0, "heartbeat", "run", "mail", "--", "true"); !strings.Contains(r.Stderr, "cannot write the beat to ") {
		t.Error(r)
	}
}

// TestPHPClientOfTheGuide runs the client that the guide shows.
func TestPHPClientOfTheGuide(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("../docs/guide/heartbeat.md")
	if err != nil {
		t.Fatal(err)
	}
	_, client, _ := strings.Cut(string(guide), "```php\n")
	client, _, _ = strings.Cut(client, "```")
	s := newBeats(t)
	s.WriteFile("client.php", strings.ReplaceAll(client, "/var/lib/beats/", "beats/"))
	if r := s.Run("php", "client.php"); r.Code != 0 || r.Stdout != "" || r.Stderr != "" {
		t.Fatal(r)
	}
	if entries, err := os.ReadDir(filepath.Join(s.Dir, "beats")); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
	if r := s.Want(0, "heartbeat", "knock", "queue"); !strings.HasPrefix(r.Stdout, "OK - queue: beat ") || !strings.Contains(r.Stdout, " memory=2097152B") {
		t.Error(r)
	}
}

// TestKnockWhileAFileIsTorn knocks while a PHP client empties and fills its file
// without end: what is not whole is not a beat, and the other heartbeat of the
// call is none the worse for it.
func TestKnockWhileAFileIsTorn(t *testing.T) {
	t.Parallel()
	s := newBeats(t)
	begun := time.Now().Truncate(time.Second)
	s.Want(0, "heartbeat", "beat", "mail")
	storm := s.StartProgram("php", "beats.php", "storm", "beats/queue.json")
	storm.WaitLine("^ready$")
	seen := map[string]int{}
	for range 200 {
		knocks, code := knockJSON(t, s, "queue", "mail")
		queue, mail := knocks[0], knocks[1]
		if mail.Status != "ok" {
			t.Errorf("mail: %+v", mail)
		}
		seen[queue.Status]++
		switch queue.Status {
		case "ok":
			last := queue.Last
			if code != 0 || last.Time.Before(begun) || last.Time.After(time.Now()) || last.Uptime != 90 || last.Memory != 4096 {
				t.Errorf("code %d: %+v", code, last)
			}
		case "unknown":
			if code != 3 || queue.Last != nil || !strings.Contains(queue.Message, `/beats/queue.json": it is `) {
				t.Errorf("code %d: %+v", code, queue)
			}
		default:
			t.Errorf("code %d: %+v", code, queue)
		}
	}
	t.Logf("%v", seen)
	storm.Signal(syscall.SIGKILL)
	storm.WantExit(137)
	entries := s.Want(0, "heartbeat", "history", "queue", "-n", "0", "--json").Stdout
	if n := strings.Count(entries, `"status"`); n != 200 {
		t.Errorf("%d entries in the history", n)
	}
}
