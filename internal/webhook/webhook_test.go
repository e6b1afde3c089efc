package webhook

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"procops/internal/event"
	"procops/internal/unit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receiver is a server that keeps what it gets and answers as it is told.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	requests []request
}

type request struct {
	header http.Header
	body   string
}

// newReceiver answers the n-th request, n from 0, with answer.
func newReceiver(t *testing.T, answer func(n int, w http.ResponseWriter)) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		n := len(r.requests)
		r.requests = append(r.requests, request{q.Header, string(body)})
		r.mu.Unlock()
		answer(n, w)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) got() []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests)
}

func status(codes ...int) func(int, http.ResponseWriter) {
	return func(n int, w http.ResponseWriter) { w.WriteHeader(codes[min(n, len(codes)-1)]) }
}

// sender makes a sender that waits next to nothing between attempts.
func sender(t *testing.T, cfg Config) *Sender {
	t.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = unit.Duration(10 * time.Second)
	}
	s, err := NewSender(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.wait = time.Millisecond
	t.Cleanup(s.Close)
	return s
}

func message(t *testing.T) Message {
	t.Helper()
	m, err := NewMessage("supervise", event.Event{
		Type: "supervise.process.failed", Subject: "web",
		Time: time.Date(2026, 3, 1, 13, 0, 0, 5000, time.FixedZone("", 3600)), Data: map[string]int{"code": 7},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestCloudEvent checks the request against the JSON format of CloudEvents 1.0.
func TestCloudEvent(t *testing.T) {
	r := newReceiver(t, status(204))
	if err := sender(t, Config{URL: URL(r.URL + "/hook"), Headers: map[string]string{"X-Team": "ops"}}).Send(t.Context(), message(t)); err != nil {
		t.Fatal(err)
	}
	got := r.got()[0]
	if kind := got.header.Get("Content-Type"); kind != "application/cloudevents+json; charset=utf-8" || got.header.Get("X-Team") != "ops" {
		t.Errorf("headers %v", got.header)
	}
	if got.header.Get("webhook-signature") != "" {
		t.Error("signed without a secret")
	}
	var attributes map[string]any
	if err := json.Unmarshal([]byte(got.body), &attributes); err != nil {
		t.Fatal(err)
	}
	id, _ := attributes["id"].(string)
	source, _ := attributes["source"].(string)
	if len(id) < 20 || !strings.HasPrefix(source, "/procops/") || !strings.HasSuffix(source, "/supervise") {
		t.Errorf("id %q, source %q", id, source)
	}
	delete(attributes, "id")
	delete(attributes, "source")
	rest, _ := json.Marshal(attributes)
	if want := `{"data":{"code":7},"datacontenttype":"application/json","specversion":"1.0","subject":"web","time":"2026-03-01T12:00:00.000005Z","type":"supervise.process.failed"}`; string(rest) != want {
		t.Errorf("got\n%s\nwant\n%s", rest, want)
	}
	if other := message(t); other.ID == id {
		t.Error("two messages have the same id")
	}
}

// TestSignature uses the example of the Standard Webhooks libraries' own tests.
func TestSignature(t *testing.T) {
	raw, err := key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := sign(raw, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("signature %q, want %q", got, want)
	}
}

// TestSignedAttempts: a repetition has the same id and body, and a signature that
// holds.
func TestSignedAttempts(t *testing.T) {
	for name, secret := range map[string]string{"text": "correct horse", "base64": "whsec_Y29ycmVjdCBob3JzZQ=="} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t, status(500, 429, 200))
			if err := sender(t, Config{URL: URL(r.URL), Secret: &secret, Retries: 3}).Send(t.Context(), message(t)); err != nil {
				t.Fatal(err)
			}
			got := r.got()
			if len(got) != 3 {
				t.Fatalf("%d attempts, want 3", len(got))
			}
			for _, q := range got {
				seconds, err := strconv.ParseInt(q.header.Get("webhook-timestamp"), 10, 64)
				if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > time.Minute {
					t.Errorf("timestamp %d, %v", seconds, err)
				}
				id := q.header.Get("webhook-id")
				if id != got[0].header.Get("webhook-id") || q.body != got[0].body || !strings.Contains(q.body, id) {
					t.Errorf("request %+v, the first was %+v", q, got[0])
				}
				if want := sign([]byte("correct horse"), id, time.Unix(seconds, 0), []byte(q.body)); q.header.Get("webhook-signature") != want {
					t.Errorf("signature %q, want %q", q.header.Get("webhook-signature"), want)
				}
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		status   int
		attempts int
		says     string // empty: it is delivered
	}{
		"accepted":     {202, 1, ""},
		"bad request":  {400, 1, "it is refused: the answer is 400 Bad Request"},
		"gone":         {410, 1, "it is refused: the answer is 410 Gone"},
		"not modified": {304, 1, "it is refused: the answer is 304 Not Modified"},
		"too many":     {429, 3, "the answer is 429 Too Many Requests (in the last of 3 attempts)"},
		"down":         {503, 3, "the answer is 503 Service Unavailable (in the last of 3 attempts)"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t, status(c.status))
			err := sender(t, Config{URL: URL(r.URL + "/T0P-S3CRET"), Retries: 2}).Send(t.Context(), message(t))
			if n := len(r.got()); n != c.attempts {
				t.Errorf("%d attempts, want %d", n, c.attempts)
			}
			if c.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if want := "cannot deliver an event to " + r.URL + ": " + c.says; err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}

// TestRedirectIsNotFollowed: neither the event nor its signature go where the
// config does not send them.
func TestRedirectIsNotFollowed(t *testing.T) {
	other := newReceiver(t, status(200))
	r := newReceiver(t, func(_ int, w http.ResponseWriter) {
		w.Header().Set("Location", other.URL)
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	err := sender(t, Config{URL: URL(r.URL), Retries: 2}).Send(t.Context(), message(t))
	if err == nil || !strings.Contains(err.Error(), "307 Temporary Redirect, to another address") || len(r.got()) != 1 || len(other.got()) != 0 {
		t.Errorf("%v after %d requests; the other host has got %d", err, len(r.got()), len(other.got()))
	}
}

// TestNobodyListens: a refused connection is tried again, and the message names
// no more than the host.
func TestNobodyListens(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	err = sender(t, Config{URL: URL("http://" + l.Addr().String() + "/T0P-S3CRET?x=y"), Retries: 1}).Send(t.Context(), message(t))
	if err == nil || strings.Contains(err.Error(), "S3CRET") || !strings.Contains(err.Error(), "connection refused (in the last of 2 attempts)") {
		t.Error(err)
	}
}

// TestEndlessAnswer: what a receiver says is not waited for beyond a little.
func TestEndlessAnswer(t *testing.T) {
	r := newReceiver(t, func(_ int, w http.ResponseWriter) {
		for {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})
	if err := sender(t, Config{URL: URL(r.URL)}).Send(t.Context(), message(t)); err != nil {
		t.Error(err)
	}
}

// TestSilence: a receiver that does not answer is given up, by the time limit and
// by the end of the context.
func TestSilence(t *testing.T) {
	free := make(chan struct{})
	asked := make(chan struct{}, 10)
	r := newReceiver(t, func(int, http.ResponseWriter) { asked <- struct{}{}; <-free })
	t.Cleanup(func() { close(free) })
	err := sender(t, Config{URL: URL(r.URL), Timeout: unit.Duration(20 * time.Millisecond), Retries: 1}).Send(t.Context(), message(t))
	if err == nil || !strings.HasSuffix(err.Error(), "no answer within 20ms (in the last of 2 attempts)") {
		t.Errorf("time limit: %v", err)
	}
	<-asked
	<-asked
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if err := sender(t, Config{URL: URL(r.URL), Retries: 10}).Send(ctx, message(t)); err == nil || !strings.HasSuffix(err.Error(), "cut off in attempt 1") {
		t.Errorf("cut off: %v", err)
	}
}

// TestPauseEndsWithTheContext: a wait between two attempts does, too.
func TestPauseEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan bool)
	go func() { ended <- pause(ctx, time.Hour) }()
	cancel()
	if <-ended {
		t.Error("the wait is said to be over")
	}
	if !pause(t.Context(), time.Microsecond) {
		t.Error("the wait is said to be cut off")
	}
}

func TestBackoff(t *testing.T) {
	s := sender(t, Config{})
	s.wait = firstWait
	for _, c := range []struct {
		attempt   int
		asked     time.Duration
		low, high time.Duration
	}{
		{1, 0, 750 * time.Millisecond, time.Second},
		{3, 0, 3 * time.Second, 4 * time.Second},
		{10, 0, 22 * time.Second, maxWait},
		{1, 5 * time.Second, 5 * time.Second, 5 * time.Second},
		{1, time.Hour, maxWait, maxWait},
		{1, -time.Hour, 750 * time.Millisecond, time.Second},
	} {
		if got := s.backoff(c.attempt, c.asked); got < c.low || got > c.high {
			t.Errorf("after attempt %d, asked for %s: %s, want %s to %s", c.attempt, c.asked, got, c.low, c.high)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 0, "7": 7 * time.Second, "-1": 0, "soon": 0, "Thu, 01 Jan 1970 00:00:00 GMT": time.Until(time.Unix(0, 0))} {
		got := retryAfter(http.Header{"Retry-After": {text}})
		if (got - want).Abs() > time.Minute {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}

func TestCheck(t *testing.T) {
	text := func(s string) *string { return &s }
	for name, c := range map[string]struct {
		cfg  Config
		want []string
	}{
		"good":            {cfg: Config{URL: "https://user:pass@example.org:8443/x?y", Secret: text("s"), Headers: map[string]string{"Authorization": "Bearer x\ty"}}},
		"no scheme":       {Config{URL: "example.org/x"}, []string{`url: invalid URL: want something like "https://example.org/hook"`}},
		"other scheme":    {Config{URL: "ftp://example.org/x"}, []string{`url: invalid URL: want something like "https://example.org/hook"`}},
		"port":            {Config{URL: "http://a:70000"}, []string{`url: invalid URL: want something like "https://example.org/hook"`}},
		"empty secret":    {Config{URL: "http://a", Secret: text("")}, []string{`secret: it is empty`}},
		"no base64":       {Config{URL: "http://a", Secret: text("whsec_%")}, []string{`secret: what follows "whsec_" is not base64`}},
		"name of header":  {Config{URL: "http://a", Headers: map[string]string{"a b": ""}}, []string{`headers/a b: it is no name of a header`}},
		"own header":      {Config{URL: "http://a", Headers: map[string]string{"Webhook-ID": ""}}, []string{`headers/Webhook-ID: procops sets this header itself`}},
		"value of header": {Config{URL: "http://a", Headers: map[string]string{"A": "b\r\nC: d"}}, []string{`headers/A: the value of a header cannot have control characters in it`}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			c.cfg.Check(func(err error, path ...string) { got = append(got, strings.Join(path, "/")+": "+err.Error()) })
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestMasked(t *testing.T) {
	for text, want := range map[URL]string{
		"https://hooks.example.org/services/T0/B1/xyz": "https://hooks.example.org/********",
		"https://user:pass@example.org/?token=x":       "https://example.org/********",
		"http://127.0.0.1:8080":                        "http://127.0.0.1:8080",
		"http://127.0.0.1:8080/":                       "http://127.0.0.1:8080/",
		"nonsense":                                     "********",
	} {
		if got := text.Masked(); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}
