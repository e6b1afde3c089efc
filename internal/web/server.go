package web

import (
	"context"
	"errors"
	"log" //nolint:depguard // net/http takes no other logger
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"procops/internal/heartbeat"
	"procops/internal/metrics"
)

const (
	maxHeader = 16 << 10 // bytes
	// writeTimeout is how long a client may take to read an answer.
	writeTimeout = 10 * time.Second
	// stateTimeout is how long the state may take to be read or written.
	stateTimeout = 10 * time.Second
	// linger is how long requests under way may take when the server stops.
	linger = 10 * time.Second
	// lastWords is how long those who have not sent the header of a request then get.
	lastWords = 500 * time.Millisecond
)

// Server answers requests about heartbeats.
type Server struct {
	cfg        Config
	heartbeats Heartbeats
	log        zerolog.Logger
	build      string
	stats      stats
	troubles   troubles
	pool       atomic.Pointer[pool] // nil before Serve
	// readers of the whole list: one at a time, so that nobody makes work for the
	// database by asking often.
	readers chan struct{}
	more    func(context.Context, *metrics.Page) error // what others add to /metrics; may be nil
}

// AddMetrics has write add to /metrics. It is to be called before Serve.
func (s *Server) AddMetrics(write func(context.Context, *metrics.Page) error) { s.more = write }

// NewServer returns a server for h. build names the program in /metrics.
func NewServer(cfg Config, h Heartbeats, log zerolog.Logger, build string) *Server {
	s := &Server{cfg: cfg, heartbeats: h, log: log, build: build, readers: make(chan struct{}, 1)}
	s.stats.began = time.Now()
	return s
}

// Serve answers requests that come through l until ctx ends; it closes l. What
// is under way then has ten seconds, or until hurry is closed.
func (s *Server) Serve(ctx context.Context, l net.Listener, hurry <-chan struct{}) error {
	connections := newPool(l, connectionLimit(s.cfg.MaxConnections), s.log)
	s.pool.Store(connections)
	server := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: s.cfg.HeaderTimeout.Std(),
		ReadTimeout:       s.cfg.RequestTimeout.Std(),
		IdleTimeout:       s.cfg.IdleTimeout.Std(),
		MaxHeaderBytes:    maxHeader,
		// A request that is under way is answered though ctx has ended.
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		ConnContext: withConn,
		ErrorLog:    log.New(s.log, "", 0),
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { stopped <- s.stop(server, connections, hurry) })
	err := server.Serve(connections)
	if stop() {
		return errors.Join(err, server.Close())
	}
	return <-stopped
}

func (s *Server) stop(server *http.Server, connections *pool, hurry <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(context.Background(), linger)
	defer cancel()
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-hurry:
			cancel()
		case <-over:
		}
	}()
	// Shutdown drops the requests that are sent and not yet read, so they are read
	// before it.
	server.SetKeepAlivesEnabled(false)
	err := connections.Close()
	connections.hasten(time.Now().Add(lastWords))
	connections.hearOut(ctx)
	end := server.Shutdown(ctx)
	if ctx.Err() != nil {
		end = server.Close()
	}
	if errors.Is(end, net.ErrClosed) {
		end = nil // the listener is, above
	}
	return errors.Join(err, end)
}

// The routes, as the metrics name them.
const (
	routePing    = "ping"
	routeMetrics = "metrics"
	routeHealth  = "healthz"
	routeBadge   = "badge"
	routeNone    = "none"
)

// handler answers all requests. http.ServeMux would redirect paths with "//"
// and the like, which healthchecks does not know.
func (s *Server) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := connOf(r.Context())
		defer c.again()
		if c.begins(); r.ContentLength == 0 {
			c.answering() // else once the body is there
		}
		route, answer := s.route(r)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		s.send(w, route, answer(w, r))
	})
}

// answer is what is sent back.
type answer struct {
	code int
	kind string // of the body; empty: plain text
	body string
}

// words is an answer in plain text.
func words(code int, text string) answer { return answer{code: code, body: text} }

func notFound() answer { return words(http.StatusNotFound, "not found") }

type answerer func(http.ResponseWriter, *http.Request) answer

// route finds out who answers a request.
func (s *Server) route(r *http.Request) (string, answerer) {
	path := r.URL.Path
	if target, ok := parsePing(path); ok {
		return routePing, allow(func(w http.ResponseWriter, r *http.Request) answer { return s.ping(w, r, target) },
			http.MethodGet, http.MethodHead, http.MethodPost)
	}
	switch {
	case path == "/metrics":
		return routeMetrics, reading(s.guarded(s.metrics))
	case path == "/healthz":
		return routeHealth, reading(s.health)
	case strings.HasPrefix(path, badgePrefix) && strings.HasSuffix(path, badgeSuffix):
		if s.cfg.PublicBadges {
			return routeBadge, reading(s.badge)
		}
		return routeBadge, reading(s.guarded(s.badge))
	}
	return routeNone, func(http.ResponseWriter, *http.Request) answer { return notFound() }
}

// allow lets only these methods through.
func allow(next answerer, methods ...string) answerer {
	return func(w http.ResponseWriter, r *http.Request) answer {
		if slices.Contains(methods, r.Method) {
			return next(w, r)
		}
		w.Header().Set("Allow", strings.Join(methods, ", "))
		return words(http.StatusMethodNotAllowed, "method not allowed")
	}
}

func reading(next answerer) answerer { return allow(next, http.MethodGet, http.MethodHead) }

// send writes an answer.
func (s *Server) send(w http.ResponseWriter, route string, a answer) {
	s.stats.request(route, a.code)
	kind := a.kind
	if kind == "" {
		kind = "text/plain; charset=utf-8"
	}
	header := w.Header()
	header.Set("Content-Type", kind)
	header.Set("Content-Length", strconv.Itoa(len(a.body)))
	// As healthchecks has it: a ping from a cache would be none, and a badge from
	// one would be old.
	header.Set("Cache-Control", "max-age=0, no-cache, no-store, must-revalidate, private")
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		s.log.Debug().Err(err).Msg("cannot limit the time of an answer")
	}
	w.WriteHeader(a.code)
	if _, err := w.Write([]byte(a.body)); err != nil {
		s.log.Debug().Err(err).Msg("cannot send an answer") // the client has gone
	}
}

// all reads the list.
func (s *Server) all(ctx context.Context, tags ...string) ([]heartbeat.Heartbeat, error) {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	select {
	case s.readers <- struct{}{}:
		defer func() { <-s.readers }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return s.heartbeats.All(ctx, tags)
}

// troubled answers when the state cannot be read or written. What exactly is the
// matter is for the log; what is confidential in it stays out of it.
func (s *Server) troubled(w http.ResponseWriter, err error, what string, confidential ...string) answer {
	if text := s.redact(err.Error(), confidential...); s.troubles.isNews(what + text) {
		s.log.Error().Str(zerolog.ErrorFieldName, text).Msg(what)
	}
	w.Header().Set("Retry-After", "10")
	return words(http.StatusServiceUnavailable, what)
}

// troubles keep the log from having the same trouble again for each request.
type troubles struct {
	mu   sync.Mutex
	text string // of the last one that was logged
	at   time.Time
}

// troublePause is the time between two records in the log of the same trouble.
const troublePause = 10 * time.Second

// isNews reports whether a text was not logged just now.
func (t *troubles) isNews(text string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if text == t.text && time.Since(t.at) < troublePause {
		return false
	}
	t.text, t.at = text, time.Now()
	return true
}

// redact takes the secrets out of a text.
func (s *Server) redact(text string, further ...string) string {
	for _, secret := range append(further, s.cfg.PingKey, s.cfg.Token) {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "********")
		}
	}
	return text
}

func (s *Server) health(w http.ResponseWriter, r *http.Request) answer {
	if _, err := s.all(r.Context()); err != nil {
		return s.troubled(w, err, "cannot read the heartbeats")
	}
	return words(http.StatusOK, "ok\n")
}
