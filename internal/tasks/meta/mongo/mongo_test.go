package mongo

import (
	"bufio"
	"context"
	"os/exec"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/goleak"

	"procops/integration/harness"
	"procops/internal/tasks/leptir"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// openStore opens a store of a server of its own.
func openStore(t *testing.T, o Options) *Store {
	t.Helper()
	port := harness.FreePort(t)
	command := harness.MongoServer(t, port, t.TempDir())
	server := exec.CommandContext(context.WithoutCancel(t.Context()), command[0], command[1:]...)
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); !strings.HasPrefix(line, "serving ") {
		t.Fatalf("the server says %q (%v)", line, err)
	}
	o.URL = "mongodb://" + harness.Loopback(port) + "/?serverSelectionTimeoutMS=60000"
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestStore(t *testing.T) {
	t.Parallel()
	s := openStore(t, Options{ExpireAfter: time.Hour})
	ctx := t.Context()
	save := func(infos ...leptir.Info) {
		t.Helper()
		if err := s.Save(ctx, infos); err != nil {
			t.Fatal(err)
		}
	}
	want := func(info leptir.Info) {
		t.Helper()
		if got, found, err := s.Load(ctx, info.ID); err != nil || !found || !reflect.DeepEqual(got, info) {
			t.Errorf("loaded %+v (%t, %v), want %+v", got, found, err, info)
		}
	}
	if info, found, err := s.Load(ctx, "x"); err != nil || found {
		t.Errorf("of a task that nobody knows: %+v (%t, %v)", info, found, err)
	}
	start := time.Now().UTC().Truncate(time.Millisecond)
	fresh := leptir.Info{ID: "x", Status: leptir.StatusPending, Code: leptir.CodeUnknown, Class: "A"}
	begun := leptir.Info{ID: "x", Status: leptir.StatusInProgress, Code: leptir.CodeUnknown, Class: "A", Started: start}
	done := leptir.Info{
		ID: "x", Status: leptir.StatusCompleted, Code: leptir.CodeSuccess, Seconds: 1.5, Response: "sent ä", Class: "A", Started: start,
		Extra: []leptir.Field{{Key: "n", Value: []byte(`{"b":[1,"x",null,true],"a":5000000000}`)}},
	}
	save(fresh)
	want(fresh)
	save(begun, leptir.Info{ID: "other"})
	want(begun)
	save(fresh) // whoever has queued it was slower
	want(begun)
	save(done)
	want(done)

	c, err := s.collection()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := c.FindOne(ctx, bson.D{{Key: "_id", Value: "x"}}).Raw()
	if err != nil {
		t.Fatal(err)
	}
	elements, err := raw.Elements()
	if err != nil {
		t.Fatal(err)
	}
	var has []string
	for _, e := range elements {
		has = append(has, e.Key()+" "+e.Value().Type.String())
	}
	if got := strings.Join(has, ", "); got != "_id string, status 32-bit integer, retC 32-bit integer, exTime double, respM string, type string, exStart UTC datetime, n embedded document" {
		t.Errorf("the document has %s", got)
	}

	old := done
	old.ID, old.Started = "old", start.Add(-2*time.Hour)
	save(old)
	want(old)
	s.swept = time.Time{} // FerretDB has no indexes that expire: it is done from here
	save(done)
	if _, found, err := s.Load(ctx, "old"); found || err != nil {
		t.Errorf("what is to be forgotten is there (%v)", err)
	}
	want(done)
}

// TestWhatTasksAdd: it is kept but for what a document has no place for.
func TestWhatTasksAdd(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 200) + strings.Repeat("]", 200)
	i := leptir.Info{ID: "x", Status: leptir.StatusCompleted, Code: leptir.CodeSuccess}
	for key, value := range map[string]string{"a.b": "1", "$set": "1", "_id": "1", "id": "1", "": "1", "deep": deep, "bad": "{", "retC": "3", "good": `{"$date":1.5}`} {
		i.Extra = append(i.Extra, leptir.Field{Key: key, Value: []byte(value)})
	}
	d := document(&i)
	if len(d) != 7 || d[1].Value != int32(3) || d[6].Key != "good" || !reflect.DeepEqual(d[6].Value, bson.D{{Key: "$date", Value: 1.5}}) {
		t.Errorf("the document is %v", d)
	}
}

func TestAway(t *testing.T) {
	t.Parallel()
	s, err := Open(Options{URL: "mongodb://" + harness.Loopback(harness.FreePort(t)) + "/?serverSelectionTimeoutMS=100"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := s.Save(t.Context(), []leptir.Info{{ID: "x"}}); err == nil || !strings.HasPrefix(err.Error(), "no server can be reached: ") {
		t.Errorf("nobody is there, and: %v", err)
	}
	if _, err := Open(Options{URL: "http://x"}); err == nil || !strings.HasPrefix(err.Error(), "invalid URL of a MongoDB server: ") {
		t.Errorf("an invalid URL: %v", err)
	}
}
