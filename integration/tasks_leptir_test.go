package integration

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

// leptirConfig is a configuration that shares a queue and a meta store with leptir.
const leptirConfig = `
[tasks.broker.redis]
format = "leptir"
url = "redis://127.0.0.1:PORT/0"
[tasks.meta.shop]
kind = "redis"
url = "redis://127.0.0.1:PORT/0"
expire_after = "1h"
[tasks]
lease = "1s"
[tasks.type."mail.send"]
class = 'App\Mail\Send'
command = "cat >>mails; echo >>mails; echo $PROCOPS_TASK_PRIORITY $PROCOPS_TASK_TIME_LIMIT >>mails; echo sent; echo twice; echo '{\"meta\": {\"files\": [1], \"host\": \"a/b\"}}' >&3"
[tasks.type."App.Fail"]
command = "echo no; exit 1"
max_attempts = 1
[tasks.type.Slow]
command = "echo $PROCOPS_TASK_CRASHES >>slow; [ $PROCOPS_TASK_CRASHES = 1 ] || exec sleep 300"
[tasks.type."For.PHP"]
[tasks.type.Both]
command = "echo $PROCOPS_TASK_ID >>ledger"
`

// leptirShop is a Redis server that procops and PHP programs share.
type leptirShop struct {
	*harness.Sandbox
	t    *testing.T
	port string
}

func openLeptirShop(t *testing.T) leptirShop {
	t.Helper()
	port := harness.FreePort(t)
	s := leptirShop{harness.New(t), t, strconv.Itoa(port)}
	server := harness.RedisServer(port)
	s.StartProgram(server[0], server[1:]...)
	harness.Eventually(t, "redis answers", func() bool { return harness.RedisAnswers(port) })
	s.Config(strings.ReplaceAll(leptirConfig, "PORT", s.port))
	script, err := os.ReadFile("testdata/leptir/leptir.php")
	check(t, err)
	s.WriteFile("leptir.php", string(script))
	return s
}

// php runs leptir.php and returns what it prints.
func (s leptirShop) php(args ...string) string {
	s.t.Helper()
	r := s.Run("php", append([]string{"leptir.php", s.port}, args...)...)
	if r.Code != 0 || r.Stderr != "" {
		s.t.Fatalf("php: %s", r)
	}
	return strings.TrimSpace(r.Stdout)
}

const phpInfoTypes = `id string
status int
retC int
exTime float
respM string
type string
exStart array date timezone_type timezone
as PHP writes it
`

// TestLeptirProducer: what PHP programs queue procops works off, and they read what came of it.
func TestLeptirProducer(t *testing.T) {
	t.Parallel()
	s := openLeptirShop(t)
	mail := s.php("push", `App\Mail\Send`, `{"to":"ann@example.org","text":"Grüße/\ud83d\ude00","n":1.5,"list":[1,[]],"map":{"5":true}}`, "0", "3", "30")
	bad := s.php("push", `App\Fail`, "[]")
	foreign := s.php("push", `Nobody\Knows`, "[]")
	if info := s.php("info", mail); info != "none" {
		t.Errorf("before, the meta storage has\n%s", info)
	}
	if r := s.Procops("tasks", "work", "--until-empty"); r.Code != 1 || !strings.Contains(r.Stderr, "1 of 2 runs have failed") {
		t.Errorf("the worker ends with %s", r)
	}
	if got, want := s.ReadFile("mails"), `{"to":"ann@example.org","text":"Gr\u00fc\u00dfe\/\ud83d\ude00","n":1.5,"list":[1,[]],"map":{"5":true}}`+"\n3 30\n"; got != want {
		t.Errorf("the handler got\n%s, want\n%s", got, want)
	}
	more := "exStart array date timezone_type timezone\n"
	for id, want := range map[string]string{
		mail: strings.Replace(phpInfoTypes, more, more+"files array 0\nhost string\n", 1) + `3/1 App\Mail\Send "sent twice" now` + "\nexpires later",
		bad:  phpInfoTypes + `3/3 App\Fail "no" now` + "\nexpires later",
	} {
		if info := s.php("info", id); info != want {
			t.Errorf("the meta storage has\n%s\nwant\n%s", info, want)
		}
	}
	if got := s.Want(0, "tasks", "show", mail).Stdout; !strings.Contains(got, "mail.send") || !strings.Contains(got, "done") {
		t.Errorf("show says\n%s", got)
	}
	if got := s.php("pop", "5"); !strings.Contains(got, foreign) || strings.Count(got, "\n") > 0 {
		t.Errorf("left in the queue is %q", got)
	}
}

// TestLeptirConsumer: what procops queues PHP programs work off, and procops shows what came
// of it.
func TestLeptirConsumer(t *testing.T) {
	t.Parallel()
	s := openLeptirShop(t)
	id := strings.TrimSpace(s.Want(0, "tasks", "push", "For.PHP", "--params", `{"text":"ä/\"<b>","f":2.0,"e":1e-7,"o":{},"l":[]}`, "--priority", "-2", "--time-limit", "1500ms").Stdout)
	if !regexp.MustCompile(`^\d+[0-9a-f]{13}\d\.\d{8}$`).MatchString(id) {
		t.Errorf("the id %q is not one as PHP makes them", id)
	}
	later := strings.TrimSpace(s.Want(0, "tasks", "push", "mail.send", "--in", "1h").Stdout)
	if info, want := s.php("info", id), "status int\nretC int\nexTime int\nrespM string\ntype string\nexStart null\nas PHP writes it\n1/4 For\\PHP \"\" never\nexpires later"; !strings.HasSuffix(info, want) {
		t.Errorf("the meta storage has\n%s\nwant\n%s", info, want)
	}
	want := `{"cn":"For\\PHP","pr":-2,"tl":2,"toex":"","td":{"id":"` + id + `","parameters":{"text":"\u00e4\/\"<b>","f":2,"e":1.0e-7,"o":{},"l":[]}}}`
	got := s.php("pop", "1")
	// PHP has no empty object among its arrays: it would write "o" as a list.
	if got = strings.TrimPrefix(got, "NOT AS PHP WRITES IT: "); got != want {
		t.Errorf("PHP got\n%s\nwant\n%s", got, want)
	}
	show := s.Want(0, "tasks", "show", id, "--json").Stdout
	for _, has := range []string{`"status": "done"`, `"result": "warning"`, `"response": "done by PHP"`, `"type": "For.PHP"`} {
		if !strings.Contains(show, has) {
			t.Errorf("show lacks %s:\n%s", has, show)
		}
	}
	if got := s.php("pop", "9"); got != "" {
		t.Errorf("PHP got the task for later, %s: %s", later, got)
	}
}

// TestLeptirWorkerDies: a worker that is killed loses nothing; its task is back in leptir's
// own set once somebody looks.
func TestLeptirWorkerDies(t *testing.T) {
	t.Parallel()
	s := openLeptirShop(t)
	id := s.php("push", "Slow", "[]")
	worker := s.Start("tasks", "work")
	s.WaitFile("slow")
	harness.Eventually(t, "the run is noted", func() bool { return strings.Contains(s.php("info", id), "\n2/4 Slow") })
	worker.Signal(syscall.SIGKILL)
	worker.Wait()
	if got := s.php("pop", "1"); got != "" {
		t.Errorf("PHP got what is under a lease: %s", got)
	}
	harness.Eventually(t, "the task is done", func() bool {
		s.Want(0, "tasks", "work", "--until-empty")
		return strings.Contains(s.php("info", id), "\n3/1 Slow")
	})
	if got := s.ReadFile("slow"); got != "0\n1\n" {
		t.Errorf("it ran with these crashes: %q", got)
	}
}

// TestLeptirTogether: PHP programs and procops share a queue, each takes some, and nothing is
// lost or done twice.
func TestLeptirTogether(t *testing.T) {
	t.Parallel()
	s := openLeptirShop(t)
	var want, got []string
	for range 20 {
		want = append(want, s.php("push", "Both", "[]"))
	}
	lines := s.WriteFile("tasks.jsonl", strings.Repeat("{\"type\": \"Both\"}\n", 180))
	want = append(want, strings.Fields(s.Run("sh", "-c", harness.Binary(t)+" tasks push - < "+lines).Stdout)...)
	worker := s.Start("tasks", "work")
	consumed := s.php("pop", "40")
	for _, m := range regexp.MustCompile(`"id":"([^"]+)"`).FindAllStringSubmatch(consumed, -1) {
		got = append(got, m[1])
	}
	harness.Eventually(t, "all is done", func() bool { return len(strings.Fields(s.ReadFile("ledger")))+len(got) >= len(want) })
	worker.Signal(syscall.SIGTERM)
	worker.Wait()
	got = append(got, strings.Fields(s.ReadFile("ledger"))...)
	slices.Sort(got)
	slices.Sort(want)
	if len(want) != 200 || !slices.Equal(got, want) {
		t.Errorf("%d tasks were done of %d", len(got), len(want))
	}
}
