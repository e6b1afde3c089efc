package supervise

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

// answer asks once and returns the error's text.
func answer(t *testing.T, ask probe, limit time.Duration) string {
	t.Helper()
	if err := ask.within(t.Context(), limit); err != nil {
		return err.Error()
	}
	return ""
}

func TestHTTPProbe(t *testing.T) {
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	defer server.Close()
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the redirect to another host was followed")
	}))
	defer other.Close()
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.PathValue("code"))
		w.WriteHeader(code)
	})
	mux.Handle("/here", http.RedirectHandler("/status/200", http.StatusFound))
	mux.Handle("/there", http.RedirectHandler(other.URL, http.StatusFound))
	mux.Handle("/loop", http.RedirectHandler("/loop", http.StatusFound))
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	})
	t.Setenv("HTTP_PROXY", other.URL)
	t.Setenv("http_proxy", other.URL)
	for _, c := range []struct {
		path   string
		status []int
		want   string
	}{
		{"/status/200", nil, ""},
		{"/status/204", nil, ""},
		{"/status/404", nil, "the answer is 404 Not Found"},
		{"/status/503", nil, "the answer is 503 Service Unavailable"},
		{"/status/200", []int{204}, "the answer is 200 OK"},
		{"/status/401", []int{200, 401}, ""},
		{"/here", nil, ""},
		{"/here", []int{302}, ""},
		{"/there", nil, `it redirects to another host, "` + strings.TrimPrefix(other.URL, "http://") + `"`},
		{"/there", []int{302}, ""},
		{"/loop", nil, "more than 10 redirects"},
		{"/slow", nil, "no answer within 100ms"},
		{"/endless", nil, ""},
	} {
		limit := 10 * time.Second
		if c.path == "/slow" {
			limit = 100 * time.Millisecond
		}
		ask := httpProbe(question{http: server.URL + c.path, status: c.status})
		if got := answer(t, ask, limit); got != c.want {
			t.Errorf("%s with status %v: %q, want %q", c.path, c.status, got, c.want)
		}
	}
}

func TestProbesOfADeadPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not wait
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if got := answer(t, tcpProbe(address), time.Minute); got != "" {
		t.Errorf("listening port: %q", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := answer(t, tcpProbe(address), time.Minute); got != "connection refused" {
		t.Errorf("tcp: %q", got)
	}
	if got := answer(t, httpProbe(question{http: "http://" + address}), time.Minute); got != "connection refused" {
		t.Errorf("http: %q", got)
	}
}

// TestProbeOfAServerThatHangsUp: it accepts, and says nothing.
func TestProbeOfAServerThatHangsUp(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not wait
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	if got := answer(t, httpProbe(question{http: "http://" + l.Addr().String()}), time.Minute); got == "" || strings.Contains(got, "no answer within") {
		t.Errorf("http: %q", got)
	}
	_ = l.Close()
	<-served
}

func TestProbeIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ask := probe(func(ctx context.Context) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	})
	if err := ask.within(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// TestTCPProbeIsNotFooledByItself: a port on which nobody listens is not ready
// because a connection from that port to itself succeeds.
func TestTCPProbeIsNotFooledByItself(t *testing.T) {
	var listener net.ListenConfig
	l, err := listener.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := connect(t.Context(), &net.Dialer{LocalAddr: address}, address.String()); !errors.Is(err, errSelf) {
		t.Errorf("a connection of %s to itself: %v", address, err)
	}
	again, err := listener.Listen(t.Context(), "tcp", address.String())
	if err != nil {
		t.Fatalf("the port cannot be used afterwards: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}
