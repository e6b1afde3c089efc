package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	// maxAnswer is how many bytes of an answer are read, so that its connection
	// can be used again; what it says does not matter.
	maxAnswer = 4 << 10
	// maxHeader is how many bytes of header an answer may have.
	maxHeader = 64 << 10
	// firstWait is the wait before the first retry; each further one is twice as
	// long, at most maxWait, and as long as the receiver asks for if that is
	// between. A quarter of it is random.
	firstWait = time.Second
	maxWait   = 30 * time.Second
)

// Sender sends messages to one webhook. Send may be called from any goroutine.
type Sender struct {
	cfg    Config
	key    []byte // nil: requests are not signed
	client *http.Client
	wait   time.Duration // before the first retry
}

// NewSender returns a sender for a checked config.
func NewSender(cfg Config) (*Sender, error) {
	s := &Sender{cfg: cfg, wait: firstWait}
	if cfg.Secret != nil {
		var err error
		if s.key, err = key(*cfg.Secret); err != nil {
			return nil, fmt.Errorf("cannot use the secret of a webhook: %w", err)
		}
	}
	s.client = &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
			MaxResponseHeaderBytes: maxHeader, IdleConnTimeout: time.Minute,
		},
		// A redirected POST becomes a GET, or carries what is signed for one host
		// to another: the receiver's address has to be put right instead.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s, nil
}

// Close closes the connections that are kept for further messages.
func (s *Sender) Close() { s.client.CloseIdleConnections() }

// Send delivers a message, in several attempts if need be. It returns nil when
// the receiver has taken it (a status of 200 to 299), and an error when it has
// refused it, when all attempts have failed, or when ctx ends. One call takes at
// most timeout for each attempt and 30 seconds for each wait between.
func (s *Sender) Send(ctx context.Context, m Message) error {
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("cannot encode an event for a webhook: %w", err)
	}
	for attempt := 1; ; attempt++ {
		wait, err := s.attempt(ctx, m.ID, body)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("cannot deliver an event to %s: cut off in attempt %d", s.cfg.URL.host(), attempt)
		}
		if errors.Is(err, errRefused) || attempt > s.cfg.Retries {
			return fmt.Errorf("cannot deliver an event to %s: %w%s", s.cfg.URL.host(), err, attempts(attempt))
		}
		if !pause(ctx, s.backoff(attempt, wait)) {
			return fmt.Errorf("cannot deliver an event to %s: cut off after attempt %d: %w", s.cfg.URL.host(), attempt, err)
		}
	}
}

func attempts(n int) string {
	if n == 1 {
		return ""
	}
	return fmt.Sprintf(" (in the last of %d attempts)", n)
}

// errRefused says that a further attempt would not help.
var errRefused = errors.New("it is refused")

// attempt tries once. With an error it returns how long the receiver wants to be
// left alone, 0 if it does not say.
func (s *Sender) attempt(ctx context.Context, id string, body []byte) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout.Std())
	defer cancel()
	request, err := s.request(ctx, id, body)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errRefused, err)
	}
	response, err := s.client.Do(request)
	if errors.Is(err, context.DeadlineExceeded) {
		return 0, fmt.Errorf("no answer within %s", s.cfg.Timeout)
	}
	if err != nil {
		return 0, withoutURL(err)
	}
	_, _ = io.CopyN(io.Discard, response.Body, maxAnswer) // whatever it says, it has answered
	_ = response.Body.Close()
	return verdict(response)
}

// request makes the request of an attempt, signed with the present time.
func (s *Sender) request(ctx context.Context, id string, body []byte) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, string(s.cfg.URL), bytes.NewReader(body))
	if err != nil {
		return nil, withoutURL(err)
	}
	for name, value := range s.cfg.Headers {
		request.Header.Set(name, value)
	}
	if request.Header.Get("User-Agent") == "" {
		request.Header.Set("User-Agent", "procops")
	}
	request.Header.Set("Content-Type", "application/cloudevents+json; charset=utf-8")
	if s.key != nil {
		now := time.Now()
		request.Header.Set(headerID, id)
		request.Header.Set(headerTimestamp, strconv.FormatInt(now.Unix(), 10))
		request.Header.Set(headerSignature, sign(s.key, id, now, body))
	}
	return request, nil
}

// verdict reads an answer.
func verdict(response *http.Response) (time.Duration, error) {
	status := response.StatusCode
	switch {
	case status >= 200 && status <= 299:
		return 0, nil
	case status == http.StatusTooManyRequests || status >= 500:
		return retryAfter(response.Header), fmt.Errorf("the answer is %s", response.Status)
	case status >= 300 && status <= 399 && response.Header.Get("Location") != "":
		return 0, fmt.Errorf("%w: the answer is %s, to another address", errRefused, response.Status)
	default:
		return 0, fmt.Errorf("%w: the answer is %s", errRefused, response.Status)
	}
}

// retryAfter reads Retry-After, seconds or a date.
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if n, err := strconv.ParseUint(text, 10, 16); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return time.Until(at)
	}
	return 0
}

// backoff returns the wait after the n-th attempt; asked is what the receiver
// asks for.
func (s *Sender) backoff(n int, asked time.Duration) time.Duration {
	wait := min(s.wait<<min(n-1, 10), maxWait)
	wait -= time.Duration(rand.Int64N(int64(wait)/4 + 1)) // so that not all come back at once
	return max(wait, min(asked, maxWait))
}

// pause waits; it returns false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// withoutURL strips the URL from an error of the HTTP client.
func withoutURL(err error) error {
	if inURL, ok := errors.AsType[*url.Error](err); ok {
		return inURL.Err
	}
	return err
}
