package web

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"procops/internal/fault"
	"procops/internal/unit"
)

// crowd opens connections that send some bytes and then nothing more.
func (r *running) crowd(t *testing.T, n int, text string) {
	t.Helper()
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := worker; i < n; i += 8 {
				dialer := net.Dialer{Timeout: deadline}
				conn, err := dialer.DialContext(t.Context(), "tcp", r.addr)
				if err != nil {
					t.Error(err)
					return
				}
				t.Cleanup(func() { _ = conn.Close() })
				if _, err := io.WriteString(conn, text); err != nil {
					t.Logf("connection %d: %v", i, err) // closed for another
				}
			}
		})
	}
	wg.Wait()
}

// Thousands of connections that say nothing, or little, or are half way through a
// header or a body, are in nobody's way: neither below the bound nor beyond it.
func TestManyConnections(t *testing.T) {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	n := min(5000, int(files.Cur)/3) // both ends are here
	for name, bound := range map[string]int{"below the bound": n + 100, "beyond the bound": n / 10} {
		t.Run(name, func(t *testing.T) {
			l := newList("backup")
			l.uuids[testUUID] = "backup"
			cfg := testConfig()
			cfg.MaxConnections = bound
			s := serve(t, l, cfg)
			for _, text := range []string{
				"", "G", "GET /ping/" + testUUID + " HTTP/1.1\r\nHost: x\r\nX-A: ",
				"POST /ping/" + testUUID + " HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx",
				"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
			} {
				s.crowd(t, n/5, text)
				fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: deadline}
				kept := s.client
				for _, client := range []*http.Client{kept, fresh} {
					s.client = client
					began := time.Now()
					if r := s.get(t, "/ping/"+testUUID); r.code != 200 {
						t.Errorf("after %q: %+v", text, r)
					}
					if took := time.Since(began); took > 5*time.Second {
						t.Errorf("after %q: a ping took %s", text, took)
					}
				}
			}
			if got := len(l.take()); got != 10 {
				t.Errorf("%d pings were recorded, want 10", got)
			}
			c := s.server.pool.Load().counts()
			// Those that are being answered now are not closed, and may be more.
			if c.open > bound+n/50 || (c.dropped > 0) != (bound < n) {
				t.Errorf("with a bound of %d: %+v", bound, c)
			}
			if told := strings.Count(s.log.text(), "waited longest"); told != min(1, int(c.dropped)) {
				t.Errorf("the log says %d times that there are too many", told)
			}
		})
	}
}

// Whoever is being answered is not closed for another, and who has waited longest
// goes first.
func TestWhoIsDropped(t *testing.T) {
	l := newList("backup")
	l.uuids[testUUID] = "backup"
	inside, release := make(chan struct{}), make(chan struct{})
	l.during = func() { inside <- struct{}{}; <-release }
	cfg := testConfig()
	cfg.MaxConnections = 3
	s := serve(t, l, cfg)
	answered := s.dial(t, "GET /ping/"+testUUID+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	within(t, inside)
	oldest := s.dial(t, "G")
	s.waitOpen(t, 2)
	younger := s.dial(t, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := bufio.NewReader(younger).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	s.dial(t, "")
	if n, err := oldest.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("the oldest is still there: %d, %v", n, err)
	}
	close(release)
	if text, err := io.ReadAll(answered); err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 200 OK") {
		t.Errorf("who was being answered: %q, %v", text, err)
	}
	if _, err := io.WriteString(younger, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(younger); err != nil || strings.Count(string(text), "ok\n") == 0 {
		t.Errorf("the younger one: %q, %v", text, err)
	}
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error) //nolint:errorlint // as it comes from the connection
	return ok && e.Timeout()
}

// waitOpen waits until so many connections are open.
func (r *running) waitOpen(t *testing.T, want int) {
	t.Helper()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for end := time.Now().Add(deadline); ; <-look.C {
		p := r.server.pool.Load()
		if p != nil && p.counts().open == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("there are not %d open connections: %+v", want, p)
		}
	}
}

// Clients that send byte after byte are given up after a time.
func TestSlowClients(t *testing.T) {
	l := newList("backup")
	l.uuids[testUUID] = "backup"
	cfg := testConfig()
	cfg.HeaderTimeout, cfg.RequestTimeout, cfg.IdleTimeout = unit.Duration(100*time.Millisecond), unit.Duration(300*time.Millisecond), unit.Duration(100*time.Millisecond)
	s := serve(t, l, cfg)
	for name, c := range map[string]struct{ text, answer string }{
		"says nothing":     {"", ""},
		"half a line":      {"GET /pi", ""},
		"half a header":    {"GET /ping/" + testUUID + " HTTP/1.1\r\nHost: x\r\n", ""},
		"half a body":      {"POST /ping/" + testUUID + " HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", "HTTP/1.1 408 "},
		"half a chunk":     {"POST /ping/" + testUUID + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", "HTTP/1.1 408 "},
		"idle":             {"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 "},
		"a body elsewhere": {"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", "HTTP/1.1 405 "},
	} {
		conn := s.dial(t, c.text)
		answer, err := io.ReadAll(conn)
		if isTimeout(err) || !strings.HasPrefix(string(answer), c.answer) {
			t.Errorf("%s: %q, %v", name, answer, err)
		}
	}
	s.waitOpen(t, 0)
	if got := l.take(); len(got) > 0 {
		t.Errorf("recorded %+v", got)
	}
	// One that sends a byte every now and then gets no more time.
	drip := s.dial(t, "")
	for range 1000 {
		if _, err := io.WriteString(drip, "G"); err != nil {
			return
		}
		if err := drip.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := drip.Read(make([]byte, 1)); err != nil && !isTimeout(err) {
			return
		}
	}
	t.Error("somebody who sends a byte every 10 ms is never given up")
}

// A ping whose client has gone is recorded: it has said all that there is to say.
func TestClientDoesNotStay(t *testing.T) {
	l := newList("backup")
	l.uuids[testUUID] = "backup"
	inside, release := make(chan struct{}), make(chan struct{})
	l.during = func() { inside <- struct{}{}; <-release }
	s := serve(t, l, testConfig())
	conn := s.dial(t, "POST /ping/"+testUUID+" HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
	within(t, inside)
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	close(release)
	s.waitOpen(t, 0)
	if got := l.take(); len(got) != 1 || string(got[0].Body) != "hi" {
		t.Errorf("recorded %+v", got)
	}
}

// At the end what is under way is answered; those who only hold a connection do
// not hold up the end.
func TestGracefulEnd(t *testing.T) {
	l := newList("backup")
	l.uuids[testUUID] = "backup"
	inside, release := make(chan struct{}), make(chan struct{})
	l.during = func() { inside <- struct{}{}; <-release }
	s := serve(t, l, testConfig())
	s.dial(t, "")
	s.dial(t, "GET /ping/")
	answered := s.dial(t, "GET /ping/"+testUUID+" HTTP/1.1\r\nHost: x\r\n\r\n")
	sending := s.dial(t, "POST /ping/"+testUUID+" HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
	within(t, inside)
	goOn := make([]byte, len("HTTP/1.1 100 Continue\r\n\r\n"))
	if _, err := io.ReadFull(sending, goOn); err != nil { // its header has been read
		t.Fatal(err)
	}
	if _, err := io.WriteString(sending, "h"); err != nil {
		t.Fatal(err)
	}
	s.waitOpen(t, 4)
	s.stop()
	for { // until it listens no more
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.addr)
		if err != nil {
			break
		}
		_ = conn.Close()
	}
	close(release)
	if text, err := io.ReadAll(answered); err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 200 OK") || !strings.Contains(string(text), "Connection: close") {
		t.Errorf("the ping under way: %q, %v", text, err)
	}
	go func() { <-inside }()
	if _, err := io.WriteString(sending, "i"); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(sending); err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 200 OK") {
		t.Errorf("the ping that was being sent: %q, %v", text, err)
	}
	began := time.Now()
	err := within(t, s.ended)
	if took := time.Since(began); err != nil || took > 4*time.Second {
		t.Errorf("the end: %v after %s", err, took)
	}
	s.ended <- nil
	if got := l.take(); len(got) != 2 {
		t.Errorf("recorded %+v", got)
	}
}

// At the end a ping that is sent at the last moment is answered, and one whose body
// takes its time.
func TestEndHearsOut(t *testing.T) {
	l := newList("backup")
	l.uuids[testUUID] = "backup"
	s := serve(t, l, testConfig())
	late, silent := s.dial(t, ""), s.dial(t, "")
	slow := s.dial(t, "POST /ping/"+testUUID+" HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
	goOn := make([]byte, len("HTTP/1.1 100 Continue\r\n\r\n"))
	if _, err := io.ReadFull(slow, goOn); err != nil { // its header has been read
		t.Fatal(err)
	}
	s.waitOpen(t, 3)
	s.stop()
	for { // until it listens no more
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.addr)
		if err != nil {
			break
		}
		_ = conn.Close()
	}
	if _, err := io.WriteString(late, "GET /ping/"+testUUID+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(late); err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 200 OK") {
		t.Errorf("a ping at the last moment: %q, %v", text, err)
	}
	if text, err := io.ReadAll(silent); err != nil || len(text) > 0 {
		t.Errorf("who says nothing: %q, %v", text, err)
	}
	if _, err := io.WriteString(slow, "hi"); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(slow); err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 200 OK") {
		t.Errorf("a ping whose body takes its time: %q, %v", text, err)
	}
	if got := l.take(); len(got) != 2 {
		t.Errorf("recorded %+v", got)
	}
}

func TestHurriedEnd(t *testing.T) {
	l := newList("backup")
	l.uuids[testUUID] = "backup"
	s := serve(t, l, testConfig())
	s.dial(t, "POST /ping/"+testUUID+" HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nh")
	s.waitOpen(t, 1)
	s.stop()
	close(s.hurry)
	began := time.Now()
	if err := within(t, s.ended); err != nil || time.Since(began) > linger/2 {
		t.Errorf("the end: %v after %s", err, time.Since(began))
	}
	s.ended <- nil
}

func TestConnectionLimit(t *testing.T) {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if got := connectionLimit(16); got != 16 {
		t.Errorf("16 connections: %d", got)
	}
	lower := files
	lower.Cur = 200
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &lower); err != nil {
		t.Fatal(err)
	}
	got := connectionLimit(4096)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if got != 100 {
		t.Errorf("4096 connections with 200 files: %d, want 100", got)
	}
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "serve.sock")
	cfg := Config{Listen: Address("unix:" + path)}
	l, err := Listen(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != socketMode {
		t.Errorf("the socket: %v, %v", info, err)
	}
	if got := Where(l); got != "unix:"+path {
		t.Errorf("it listens on %q", got)
	}
	if _, err := Listen(t.Context(), cfg); !fault.Is(err, fault.Conflict) {
		t.Errorf("twice: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
	leaveStale(t, path)
	l, err = Listen(t.Context(), cfg)
	if err != nil {
		t.Fatalf("a stale socket: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("a file: %v", err)
	}

	tcp, err := Listen(t.Context(), Config{Listen: "localhost:0"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(t.Context(), Config{Listen: Address(tcp.Addr().String())}); !fault.Is(err, fault.Conflict) {
		t.Errorf("twice: %v", err)
	}
	if err := tcp.Close(); err != nil {
		t.Error(err)
	}
	for _, open := range []Address{":0", "0.0.0.0:0", "[::]:0", "example.org:0"} {
		if _, err := Listen(t.Context(), Config{Listen: open}); !fault.Is(err, fault.Usage) {
			t.Errorf("%s without a token: %v", open, err)
		}
	}
	all, err := Listen(t.Context(), Config{Listen: ":0", Token: "x"})
	if err != nil {
		t.Fatalf("with a token: %v", err)
	}
	if err := all.Close(); err != nil {
		t.Error(err)
	}
}

// leaveStale leaves a socket that nobody listens on.
func leaveStale(t *testing.T, path string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	u, ok := l.(*net.UnixListener)
	if !ok {
		t.Fatalf("a %T", l)
	}
	u.SetUnlinkOnClose(false)
	if err := u.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestServeOnSocket(t *testing.T) {
	l := newList("backup")
	l.uuids[testUUID] = "backup"
	cfg := testConfig()
	path := filepath.Join(t.TempDir(), "serve.sock")
	cfg.Listen = Address("unix:" + path)
	s := serve(t, l, cfg)
	s.client.Transport = &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}
	s.addr = "procops"
	if r := s.get(t, "/ping/"+testUUID, "User-Agent", "x"); r.code != 200 {
		t.Errorf("%+v", r)
	}
	if got := l.take(); len(got) != 1 || got[0].Source != "unix GET x" {
		t.Errorf("recorded %+v", got)
	}
}

func TestAddress(t *testing.T) {
	for _, good := range []string{"127.0.0.1:8580", ":0", "[::1]:80", "localhost:65535", "unix:/run/x.sock"} {
		var a Address
		if err := a.UnmarshalText([]byte(good)); err != nil || string(a) != good {
			t.Errorf("%q: %q, %v", good, a, err)
		}
	}
	for _, bad := range []string{"", "8580", "localhost", "localhost:http", "localhost:65536", "::1:80", "unix:", "unix:x.sock", "/run/x.sock"} {
		if err := new(Address).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestConfigCheck(t *testing.T) {
	for want, c := range map[string]Config{
		"[]":               {Listen: "127.0.0.1:1", PingKey: testKey},
		"[ping_key]":       {Listen: "127.0.0.1:1", PingKey: "a/b"},
		"[token]":          {Listen: ":1", Token: "a b"},
		"[listen]":         {Listen: ":1"},
		"[header_timeout]": {Listen: "[::1]:1", HeaderTimeout: 2, RequestTimeout: 1},
	} {
		blamed := []string{}
		c.Check(func(_ error, path ...string) { blamed = append(blamed, path...) })
		if got := fmt.Sprint(blamed); got != want {
			t.Errorf("%+v: blamed %s, want %s", c, got, want)
		}
	}
}
