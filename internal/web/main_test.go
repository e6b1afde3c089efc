package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"procops/internal/fault"
	"procops/internal/heartbeat"
	"procops/internal/store"
	"procops/internal/unit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// deadline is how long a test waits for what must happen.
const deadline = 20 * time.Second

const (
	testUUID = "5bf66975-d4c7-4bf5-bcc8-b8d8a82ea278"
	testKey  = "fqOOd6-F4MMNuCEnzTU01w"
)

// fakeList is a list of heartbeats in memory.
type fakeList struct {
	mu     sync.Mutex
	names  []string // in order
	tags   map[string][]string
	uuids  map[string]string
	last   map[string]heartbeat.Outcome
	got    []pinging
	broken error // what every method returns, if it is set
	during func()
}

type pinging struct {
	name string
	heartbeat.Ping
}

func newList(names ...string) *fakeList {
	slices.Sort(names)
	return &fakeList{names: names, tags: map[string][]string{}, uuids: map[string]string{}, last: map[string]heartbeat.Outcome{}}
}

func (l *fakeList) Ping(_ context.Context, name string, p heartbeat.Ping) (heartbeat.Receipt, error) {
	if l.during != nil {
		l.during()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return heartbeat.Receipt{}, l.broken
	}
	var receipt heartbeat.Receipt
	if !slices.Contains(l.names, name) {
		if !p.Create {
			return receipt, fault.New(fault.NotFound, "there is no %q", name)
		}
		if err := heartbeat.CheckName(name); err != nil {
			return receipt, err
		}
		l.names = append(l.names, name)
		slices.Sort(l.names)
		receipt.Created = true
	}
	l.got = append(l.got, pinging{name, p})
	l.last[name] = heartbeat.Good
	if p.Kind == heartbeat.PingFail {
		l.last[name] = heartbeat.Bad
	}
	return receipt, nil
}

func (l *fakeList) NameOf(_ context.Context, uuid string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return "", fmt.Errorf("cannot find %q: %w", uuid, l.broken)
	}
	name, known := l.uuids[uuid]
	if !known {
		return "", fault.New(fault.NotFound, "there is no %q", uuid)
	}
	return name, nil
}

// All asks a real list to which all that was told is told again.
func (l *fakeList) All(ctx context.Context, tags []string) (all []heartbeat.Heartbeat, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	dir, err := os.MkdirTemp("", "web")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	st, err := store.Open(ctx, dir, store.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	cfg := heartbeat.Config{DefaultPeriod: unit.Duration(time.Hour), Heartbeats: map[string]heartbeat.Target{}}
	for _, name := range l.names {
		cfg.Heartbeats[name] = heartbeat.Target{Tags: l.tags[name]}
	}
	list := heartbeat.New(st, cfg)
	for name, outcome := range l.last {
		kind := heartbeat.PingSuccess
		if outcome == heartbeat.Bad {
			kind = heartbeat.PingFail
		}
		for range 7 {
			if _, err := list.Ping(ctx, name, heartbeat.Ping{Kind: kind}); err != nil {
				return nil, err
			}
		}
	}
	all, err = list.All(ctx, tags)
	return all, errors.Join(err, l.broken)
}

// take returns the pings since the last call.
func (l *fakeList) take() []pinging {
	l.mu.Lock()
	defer l.mu.Unlock()
	got := l.got
	l.got = nil
	return got
}

func testConfig() Config {
	return Config{
		Listen: "127.0.0.1:0", PingKey: testKey, Create: CreateOnRequest, CreateLimit: 1000, MaxConnections: 64,
		HeaderTimeout: unit.Duration(deadline), RequestTimeout: unit.Duration(deadline), IdleTimeout: unit.Duration(deadline),
		MaxBody: 1 << 20,
	}
}

// running is a server that runs until the test ends.
type running struct {
	server *Server
	addr   string
	log    *logBuffer
	client *http.Client
	stop   context.CancelFunc
	hurry  chan struct{}
	ended  chan error
}

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *logBuffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.String()
}

func serve(t *testing.T, l *fakeList, cfg Config) *running {
	t.Helper()
	listener, err := Listen(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{
		addr: listener.Addr().String(), log: &logBuffer{}, stop: cancel,
		hurry: make(chan struct{}), ended: make(chan error, 1),
		client: &http.Client{Transport: &http.Transport{}, Timeout: deadline},
	}
	r.server = NewServer(cfg, l, zerolog.New(r.log), "1.2.3")
	go func() { r.ended <- r.server.Serve(ctx, listener, r.hurry) }()
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		cancel()
		if err := within(t, r.ended); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return r
}

func within[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(deadline):
		t.Fatal("it did not happen in time")
		panic("unreachable")
	}
}

// reply is what the server says.
type reply struct {
	code   int
	body   string
	header http.Header
}

func (r *running) do(t *testing.T, method, path, body string, header ...string) reply {
	t.Helper()
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+r.addr+path, content)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := r.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{response.StatusCode, string(text), response.Header}
}

func (r *running) get(t *testing.T, path string, header ...string) reply {
	t.Helper()
	return r.do(t, http.MethodGet, path, "", header...)
}

// dial connects and sends some bytes as they are.
func (r *running) dial(t *testing.T, text string) net.Conn {
	t.Helper()
	dialer := net.Dialer{Timeout: deadline}
	conn, err := dialer.DialContext(t.Context(), "tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(deadline)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn
}
