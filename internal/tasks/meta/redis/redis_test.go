package redis

import (
	"context"
	"net"
	"os/exec"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"procops/internal/tasks/leptir"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startServer starts a redis-server and returns its URL.
func startServer(tb testing.TB) string {
	tb.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	if err := listener.Close(); err != nil {
		tb.Fatal(err)
	}
	server := exec.CommandContext(context.WithoutCancel(tb.Context()), "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", tb.TempDir())
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := server.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGTERM)
		_ = server.Wait()
	})
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + port})
	defer func() { _ = client.Close() }()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(30 * time.Second); client.Ping(tb.Context()).Err() != nil; <-again.C {
		if time.Now().After(end) {
			tb.Fatal("redis-server does not answer")
		}
	}
	return "redis://127.0.0.1:" + port
}

func TestStore(t *testing.T) {
	s, err := Open(Options{URL: startServer(t) + "/3", ExpireAfter: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
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
	begun := leptir.Info{ID: "x", Status: leptir.StatusInProgress, Code: leptir.CodeUnknown, Class: "A", Started: time.Date(2013, 12, 4, 2, 43, 35, 0, time.UTC)}
	fresh := leptir.Info{ID: "x", Status: leptir.StatusPending, Code: leptir.CodeUnknown, Class: "A"}
	if info, found, err := s.Load(ctx, "x"); err != nil || found {
		t.Errorf("of a task that nobody knows: %+v (%t, %v)", info, found, err)
	}
	save(fresh)
	want(fresh)
	save(begun)
	want(begun)
	save(fresh) // whoever has queued it was slower
	want(begun)
	again := begun
	again.Status = leptir.StatusPending
	save(again)
	want(again)
	odd := begun
	odd.ID, odd.Extra = "y", []leptir.Field{{Key: "n", Value: []byte(strings.Repeat("[", 600) + strings.Repeat("]", 600))}}
	save(odd)
	odd.Extra = nil
	want(odd)

	if ttl := s.client.TTL(ctx, "leptir:taskinfo:x").Val(); ttl <= 59*time.Minute || ttl > time.Hour {
		t.Errorf("it expires after %s", ttl)
	}
	if err := s.client.Set(ctx, "leptir:taskinfo:z", "?", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if _, found, err := s.Load(ctx, "z"); err == nil || found || !strings.Contains(err.Error(), `key "leptir:taskinfo:z": it is not a JSON object`) {
		t.Errorf("what is not readable: %t, %v", found, err)
	}
}

// TestForEver: without expire_after a key has no end, and a prefix of one's own is used.
func TestForEver(t *testing.T) {
	s, err := Open(Options{URL: startServer(t), Prefix: "x:"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	var many []leptir.Info
	for i := range 500 {
		many = append(many, leptir.Info{ID: strconv.Itoa(i), Status: leptir.StatusCompleted, Code: leptir.CodeSuccess, Class: "A"})
	}
	if err := s.Save(t.Context(), many); err != nil {
		t.Fatal(err)
	}
	if ttl := s.client.TTL(t.Context(), "x:499").Val(); ttl != -1 {
		t.Errorf("it expires after %s", ttl)
	}
}

func TestAway(t *testing.T) {
	s, err := Open(Options{URL: "redis://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := s.Save(t.Context(), []leptir.Info{{ID: "x"}}); err == nil {
		t.Error("nobody is there, and it is saved")
	}
	if _, found, err := s.Load(t.Context(), "x"); err == nil || found {
		t.Error("nobody is there, and it is loaded")
	}
	if _, err := Open(Options{URL: "http://x"}); err == nil || !strings.Contains(err.Error(), "invalid URL of a Redis server") {
		t.Error(err)
	}
}
