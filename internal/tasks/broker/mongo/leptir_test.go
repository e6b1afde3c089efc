package mongo

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"procops/internal/tasks/broker"
	"procops/internal/tasks/broker/conformance"
	"procops/internal/tasks/leptir"
)

func openLeptir(t *testing.T, url string) *Leptir {
	t.Helper()
	q, err := NewLeptir(Options{URL: url + "/?serverSelectionTimeoutMS=60000", Timeout: time.Minute}, leptir.NewClasses(map[string]string{"a": `App\Mail`}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	return q
}

// phpPop takes a task as leptir does, and prints the types of its keys; phpPush queues one.
const (
	phpStart = `$m = new MongoDB\Driver\Manager($argv[1]);`
	phpPop   = phpStart + `
$now = sprintf('%08x%.8F', time(), 0);
$r = $m->executeCommand('leptir', new MongoDB\Driver\Command(['findAndModify' => 'tasks', 'query' => ['_id' => ['$lte' => $now]], 'sort' => ['_id' => 1], 'remove' => true]));
$r->setTypeMap(['root' => 'array', 'document' => 'array', 'array' => 'array']);
$d = $r->toArray()[0]['value'];
if ($d === null) { echo 'nothing'; exit; }
foreach ($d as $k => $v) { echo $k, ' ', gettype($v), ', '; }
unset($d['_id']);
echo json_encode($d);`
	phpPush = phpStart + `
$b = new MongoDB\Driver\BulkWrite();
$b->insert(['_id' => sprintf('%08x%.8F', time() + $argv[2], lcg_value()), 'cn' => 'App\Mail', 'pr' => 0, 'tl' => 30, 'toex' => '', 'td' => ['id' => $argv[3], 'parameters' => ['to' => 'ann', 'n' => [1, 2.5]]]]);
$m->executeBulkWrite('leptir.tasks', $b);`
)

func php(t *testing.T, script string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "php", append([]string{"-r", script, "--"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("php: %v\n%s", err, out)
	}
	return string(out)
}

// TestLeptir: what PHP queues is worked off here, and the other way round.
func TestLeptir(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	q, other := openLeptir(t, s.url), openLeptir(t, s.url)
	ask := broker.Ask{Types: []string{"a"}, Max: 10, Lease: time.Minute}
	php(t, phpPush, s.url, "-1", "from-php")
	php(t, phpPush, s.url, "3600", "later")
	if n, err := q.Count(t.Context(), []string{"a"}); err != nil || n != (broker.Counts{Ready: 1, Scheduled: 1}) {
		t.Errorf("counted %+v (%v)", n, err)
	}
	if found, err := q.Await(t.Context(), []string{"a"}, time.Minute); !found || err != nil {
		t.Errorf("it does not see what PHP has queued (%v)", err)
	}
	leases, err := q.Claim(t.Context(), ask)
	if err != nil || len(leases) != 1 || leases[0].ID != "from-php" || leases[0].Number != 1 || string(leases[0].Body) != `{"params":{"to":"ann","n":[1,2.5]},"time_limit":30}` {
		t.Fatalf("claimed %+v (%v)", leases, err)
	}
	if got := php(t, phpPop, s.url); got != "nothing" {
		t.Errorf("while it is leased PHP takes %s", got)
	}
	if again, err := other.Claim(t.Context(), ask); err != nil || len(again) > 0 {
		t.Errorf("it can be claimed twice: %+v (%v)", again, err)
	}
	if err := q.Nack(t.Context(), leases[0], broker.Again{Failed: true}); err != nil {
		t.Error(err)
	}
	if leases, err = other.Claim(t.Context(), ask); err != nil || len(leases) != 1 || leases[0].Attempts != 1 {
		t.Fatalf("after a failure %+v (%v)", leases, err)
	}
	if lost, err := other.Ack(t.Context(), leases); err != nil || len(lost) > 0 {
		t.Error(lost, err)
	}

	m := broker.Message{ID: "to-php", Type: "a", Priority: 2, RunAt: time.Now().Add(-time.Second), Body: []byte(`{"params":{"to":"bob"},"time_limit":5}`)}
	empty := broker.Message{ID: "empty", Type: "b", RunAt: time.Now(), Body: []byte(`{"params":{}}`)}
	if err := q.Push(t.Context(), []broker.Message{m, empty}); err != nil {
		t.Fatal(err)
	}
	const types = "_id string, cn string, pr integer, tl integer, toex string, td array, "
	for _, want := range []string{
		`{"cn":"App\\Mail","pr":2,"tl":5,"toex":"","td":{"id":"to-php","parameters":{"to":"bob"}}}`,
		`{"cn":"b","pr":0,"tl":0,"toex":"","td":{"id":"empty","parameters":[]}}`,
	} {
		var got string
		for end := time.Now().Add(30 * time.Second); got == "" || got == "nothing" && time.Now().Before(end); { // its second has to pass
			got = php(t, phpPop, s.url)
		}
		if got != types+want {
			t.Errorf("PHP takes\n%s, want\n%s", got, types+want)
		}
	}
	var list []string
	for e, err := range q.List(t.Context(), nil) {
		list = append(list, fmt.Sprint(e.ID, " ", e.State, " ", err))
	}
	if got := strings.Join(list, ", "); got != "later scheduled <nil>" {
		t.Errorf("then there are %s", got)
	}
}

// TestLeptirConformance: but for priorities, and IDs that are queued twice, it keeps the
// promises of a broker, to the second.
func TestLeptirConformance(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for i, check := range conformance.Checks() {
		t.Run(check.Name, func(t *testing.T) {
			t.Parallel()
			clock := newFakeClock()
			open := func() *Leptir {
				q, err := NewLeptir(Options{URL: s.url + "/?serverSelectionTimeoutMS=60000", Collection: "check" + strconv.Itoa(i), Timeout: time.Minute}, leptir.Classes{})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = q.Close() })
				clock.by(q.Broker)
				return q
			}
			check.Run(t, conformance.Bench{
				Broker: open(), Other: open(), Pass: clock.pass, Step: 4 * time.Second,
				Now:   func() time.Time { return clock.now().Add(-2 * time.Second) }, // what PHP queues is ready in the next second
				Lacks: conformance.Lacks{Order: true, Unique: true},
				Body: func(seed string) []byte {
					text, _ := json.Marshal(seed)
					return fmt.Appendf(nil, `{"params":{"s":%s}}`, text)
				},
			})
		})
	}
}

// TestLeptirTakerDies: wherever he dies who takes a document, it is there once.
func TestLeptirTakerDies(t *testing.T) {
	t.Parallel()
	s, clock := startServer(t), newFakeClock()
	q := openLeptir(t, s.url)
	clock.by(q.Broker)
	ask := broker.Ask{Types: []string{"a"}, Max: 10, Lease: time.Hour}
	if leases, err := q.Claim(t.Context(), ask); err != nil || len(leases) > 0 {
		t.Fatal(leases, err)
	}
	c, err := q.shared()
	if err != nil {
		t.Fatal(err)
	}
	own, err := q.collection()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"copied", "removed"} {
		m := broker.Message{ID: id, Type: "a", RunAt: clock.now(), Body: []byte(`{"params":{}}`)}
		if err := q.Push(t.Context(), []broker.Message{m}); err != nil {
			t.Fatal(err)
		}
		var d struct {
			ID string `bson:"_id"`
		}
		if err := c.FindOne(t.Context(), is("td.id", id)).Decode(&d); err != nil {
			t.Fatal(err)
		}
		copied := newDocument(&m, clock.now().UnixMicro())
		copied.State, copied.From = stateTaking, d.ID
		if _, err := own.InsertOne(t.Context(), copied); err != nil {
			t.Fatal(err)
		}
		if id == "removed" {
			if _, err := c.DeleteOne(t.Context(), is("_id", d.ID)); err != nil {
				t.Fatal(err)
			}
		}
	}
	gone := broker.Message{ID: "gone", Type: "a", Body: []byte(`{"params":{}}`)}
	if d, ok, err := takeOne(t.Context(), c, own, &gone, leptir.MongoID(clock.now().Add(-time.Hour), 0), clock.now(), ask); ok || err != nil {
		t.Errorf("what PHP was faster to take is taken: %+v (%v)", d, err)
	}
	if left, err := own.CountDocuments(t.Context(), is("_id", "gone")); left > 0 || err != nil {
		t.Errorf("of what PHP has taken a copy is left (%v)", err)
	}
	clock.pass(time.Second)
	if leases, err := q.Claim(t.Context(), ask); err != nil || len(leases) > 0 {
		t.Errorf("while he may be alive somebody claims %+v (%v)", leases, err)
	}
	clock.pass(takenDead + sweepInterval)
	var got []string
	for range 2 {
		leases, err := q.Claim(t.Context(), ask)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, idsOf(leases)...)
	}
	if strings.Join(got, " ") != "copied removed" {
		t.Errorf("after he has died %q are claimed", got)
	}
}
