package control

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"procops/internal/fault"
	"procops/internal/supervise"
)

// raw opens a connection to send anything through.
func raw(t *testing.T, path string) net.Conn {
	t.Helper()
	c, err := connect(limited(t), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(deadline)); err != nil {
		t.Fatal(err)
	}
	return c
}

// request is a request as it goes over the wire.
func request(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

func TestGarbageHarmsNobody(t *testing.T) {
	path := serve(t, healthy(), testLimits())
	for name, bytes := range map[string]string{
		"nothing":         "",
		"noise":           "\x00\xff\x16\x03\x01\x02\x00\x01\xfc\r\n\r\n",
		"not HTTP":        "hello there\r\n\r\n",
		"no version":      "GET /v1/status\r\n\r\n",
		"huge line":       strings.Repeat("A", 1<<20),
		"huge header":     "GET /v1/status HTTP/1.1\r\nX: " + strings.Repeat("A", 1<<20) + "\r\n\r\n",
		"many headers":    "GET /v1/status HTTP/1.1\r\n" + strings.Repeat("A: b\r\n", 100_000) + "\r\n",
		"no such path":    request("/v1/../../etc/passwd", "{}"),
		"no JSON":         request(pathDo, "what?"),
		"half JSON":       request(pathDo, `{"action":"sto`),
		"wrong type":      request(pathDo, `{"names":7}`),
		"two requests":    request(pathDo, `{"action":"stop"}{"action":"start"}`),
		"unknown field":   request(pathDo, `{"action":"stop","dry_run":true}`),
		"deep JSON":       request(pathDo, `{"names":`+strings.Repeat("[", 500_000)),
		"negative length": "POST /v1/do HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
		"false length":    "POST /v1/do HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n{",
	} {
		t.Run(name, func(t *testing.T) {
			c := raw(t, path)
			_, _ = io.WriteString(c, bytes) // may be cut short by the server
			answer, _ := io.ReadAll(c)      // until the server closes it
			if strings.HasPrefix(string(answer), "HTTP/1.1 200") {
				t.Errorf("answered %q", answer)
			}
			mustAnswer(t, path)
		})
	}
}

func TestRefusalsSayWhy(t *testing.T) {
	limits := defaultLimits()
	client := Dial(serve(t, healthy(), limits))
	// What is beyond the limit fits into the socket: a client that is still
	// writing when the server hangs up may never get to read why.
	tooLarge := strings.Repeat("x", int(limits.body)+64<<10)
	for _, c := range []struct {
		method, path string
		body         any
		kind         fault.Kind
		want         string
	}{
		{http.MethodPost, pathDo, map[string]bool{"dry_run": true}, fault.Usage, `cannot read the request: json: unknown field "dry_run"`},
		{http.MethodPost, pathLogs, 7, fault.Usage, `cannot read the request: json: cannot unmarshal number into Go value of type supervise.LogRequest`},
		{http.MethodPost, pathDo, tooLarge, fault.Usage, `cannot read the request: http: request body too large`},
		{http.MethodPost, "/v2/do", nil, fault.NotFound, `the control socket does not know "POST" "/v2/do"`},
		{http.MethodDelete, pathStatus, nil, fault.NotFound, `the control socket does not know "DELETE" "/v1/status"`},
	} {
		var nothing any
		err := client.ask(limited(t), c.method, c.path, c.body, &nothing)
		if !fault.Is(err, c.kind) || err.Error() != c.want {
			t.Errorf("%s %s: got %d %v", c.method, c.path, fault.ExitCode(err), err)
		}
	}
}

func TestHalfRequestsMakeRoomForOthers(t *testing.T) {
	l := testLimits()
	l.connections = 3
	path := serve(t, healthy(), l)
	for i := range 4 * l.connections {
		c := raw(t, path)
		if _, err := io.WriteString(c, "POST /v1/do HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"[:10+4*i]); err != nil {
			t.Fatal(err)
		}
	}
	mustAnswer(t, path)
}

func TestFloodIsAnswered(t *testing.T) {
	l := testLimits()
	l.connections = 4
	l.request = deadline
	path := serve(t, healthy(), l)
	var clients sync.WaitGroup
	for range 300 {
		clients.Go(func() { mustAnswer(t, path) })
	}
	clients.Wait()
}

func TestFollowerWhoStopsReadingIsDropped(t *testing.T) {
	dropped := make(chan error, 1)
	f := healthy()
	f.logs = func(_ context.Context, _ supervise.LogRequest, emit func(supervise.LogLine) error) error {
		for {
			if err := emit(supervise.LogLine{Text: strings.Repeat("x", 1000)}); err != nil {
				dropped <- err
				return err
			}
		}
	}
	path := serve(t, f, testLimits())
	c := raw(t, path)
	if _, err := io.WriteString(c, request(pathLogs, `{"follow":true}`)); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || line != "HTTP/1.1 200 OK\r\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	mustAnswer(t, path)
	if err := within(t, dropped); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("dropped with %v", err)
	}
	mustAnswer(t, path)
}

func TestTooManyFollowers(t *testing.T) {
	l := testLimits()
	l.followers = 2
	begun := make(chan struct{})
	client := Dial(serve(t, &fake{logs: func(ctx context.Context, _ supervise.LogRequest, _ func(supervise.LogLine) error) error {
		begun <- struct{}{}
		<-ctx.Done()
		return nil
	}}, l))
	ctx, cancel := context.WithCancel(limited(t))
	follow := func() error { return client.Logs(ctx, supervise.LogRequest{Follow: true}, nil) }
	var followers sync.WaitGroup
	for range l.followers {
		followers.Go(func() {
			if err := follow(); !errors.Is(err, context.Canceled) {
				t.Errorf("follow: %v", err)
			}
		})
		within(t, begun)
	}
	if err := follow(); !fault.Is(err, fault.Conflict) || err.Error() != "cannot follow the logs: 2 others do already" {
		t.Errorf("got %v", err)
	}
	cancel()
	followers.Wait()
}

// TestAbruptEnds cuts the supervisor off in the middle of answers.
func TestAbruptEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l := listen(t, path)
	answers := []string{
		"",
		"HTTP/1.1 200 OK\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"pid\":",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n",
		"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\n{",
		"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n{}",
		"\x00\x01\x02",
	}
	go func() {
		for _, answer := range append(answers, answers...) {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_, _ = io.Copy(c, bytes.NewReader([]byte(answer)))
			_ = c.Close()
		}
	}()
	client := Dial(path)
	for _, answer := range answers {
		if err := client.Logs(limited(t), supervise.LogRequest{}, func(supervise.LogLine) error { return nil }); !fault.Is(err, fault.Unreachable) {
			t.Errorf("logs, after %q: %v", answer, err)
		}
	}
	for _, answer := range answers {
		if _, err := client.Status(limited(t)); !fault.Is(err, fault.Unreachable) && !strings.Contains(answer, "{}") {
			t.Errorf("status, after %q: %v", answer, err)
		}
	}
}

// serveForTest is the helper process of TestRunning: a supervisor that is
// killed.
func serveForTest(path string) {
	l, err := Listen(path)
	if err == nil {
		err = NewServer(healthy(), zerolog.Nop()).Serve(context.Background(), l)
	}
	fmt.Fprintln(os.Stderr, err)
}

func TestRunningSeesTheEndOfTheSupervisor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	helper := exec.CommandContext(t.Context(), os.Args[0])
	helper.Env = append(os.Environ(), "CONTROL_TEST_SERVE="+path)
	helper.Stderr = os.Stderr
	if err := helper.Start(); err != nil {
		t.Fatal(err)
	}
	client := Dial(path)
	running, err := client.Find(limited(t))
	for fault.Is(err, fault.Unreachable) && t.Context().Err() == nil {
		running, err = client.Find(limited(t))
	}
	if err != nil {
		t.Fatal(err)
	}
	if running.PID != helper.Process.Pid {
		t.Errorf("it is process %d, want %d", running.PID, helper.Process.Pid)
	}
	impatient, cancel := context.WithCancelCause(t.Context())
	why := errors.New("no time")
	cancel(why)
	if err := running.Wait(impatient); !errors.Is(err, why) {
		t.Errorf("wait: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- running.Wait(limited(t)) }()
	if err := helper.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := within(t, ended); err != nil {
		t.Errorf("wait: %v", err)
	}
	if err := helper.Wait(); err == nil {
		t.Error("the helper was not killed")
	}
	if err := running.Close(); err != nil {
		t.Error(err)
	}
	// A killed supervisor leaves a stale socket, which is replaced.
	listen(t, path)
}
