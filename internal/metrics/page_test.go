package metrics

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

func TestPage(t *testing.T) {
	var p Page
	p.Family("jobs", Gauge, "How many.")
	p.Sample(2, "name", "a\"b\\c\n\xff", "kind", "x")
	p.Single("up", Counter, "Whether.", 1.5)
	var h Histogram
	for _, took := range []time.Duration{-1, 999 * time.Microsecond, time.Millisecond, 3 * time.Millisecond, time.Hour} {
		h.Add(took)
	}
	p.Histograms("took", "How long.")
	p.Histogram(&h, "f", "g")
	got := p.String()
	for _, want := range []string{
		"# HELP jobs How many.\n# TYPE jobs gauge\n" + `jobs{name="a\"b\\c\n` + "\ufffd" + `",kind="x"} 2` + "\n",
		"# TYPE up counter\nup 1.5\n",
		"# TYPE took histogram\n" + `took_bucket{f="g",le="0.001"} 2` + "\n" + `took_bucket{f="g",le="0.002"} 3` + "\n" + `took_bucket{f="g",le="0.004"} 4` + "\n",
		`took_bucket{f="g",le="262.144"} 4` + "\n" + `took_bucket{f="g",le="+Inf"} 5` + "\n" + `took_sum{f="g"} 3600.004999` + "\n" + `took_count{f="g"} 5` + "\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no\n%s\nin\n%s", want, got)
		}
	}
}

func TestServe(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	var trouble error
	go func() {
		ended <- Serve(ctx, l, zerolog.Nop(), func(_ context.Context, p *Page) error {
			p.Single("up", Gauge, "Whether.", 1)
			return trouble
		})
	}()
	client := &http.Client{Timeout: time.Minute}
	t.Cleanup(client.CloseIdleConnections)
	ask := func(method, path string) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, "http://"+l.Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(text)
	}
	if code, text := ask(http.MethodGet, "/metrics"); code != http.StatusOK || !strings.HasSuffix(text, "up 1\n") {
		t.Error(code, text)
	}
	if code, _ := ask(http.MethodPost, "/metrics"); code != http.StatusMethodNotAllowed {
		t.Error(code)
	}
	if code, _ := ask(http.MethodGet, "/"); code != http.StatusNotFound {
		t.Error(code)
	}
	trouble = errors.New("no luck")
	if code, text := ask(http.MethodGet, "/metrics"); code != http.StatusServiceUnavailable || strings.Contains(text, "luck") {
		t.Error(code, text)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
