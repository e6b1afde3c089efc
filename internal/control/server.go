package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log" //nolint:depguard // net/http takes no other logger
	"net"
	"net/http"
	"time"

	"github.com/rs/zerolog"

	"procops/internal/fault"
	"procops/internal/supervise"
)

// limits are what a client may take of the server.
type limits struct {
	connections int           // at a time
	followers   int           // of logs, at a time
	body        int64         // bytes of a request
	header      int           // bytes of its header
	request     time.Duration // to send a whole request
	write       time.Duration // to take what is written
	linger      time.Duration // for answers under way when the server stops
}

func defaultLimits() limits {
	return limits{
		connections: 256, followers: 64,
		body: 1 << 20, header: 16 << 10,
		request: 5 * time.Second, write: 10 * time.Second, linger: 2 * time.Second,
	}
}

// Server answers requests with a Supervisor.
type Server struct {
	supervisor Supervisor
	log        zerolog.Logger
	limits     limits
	followers  chan struct{} // one for each
}

// NewServer returns a server for s, which tells log whom it refused.
func NewServer(s Supervisor, log zerolog.Logger) *Server { return newServer(s, log, defaultLimits()) }

func newServer(s Supervisor, log zerolog.Logger, l limits) *Server {
	return &Server{supervisor: s, log: log, limits: l, followers: make(chan struct{}, l.followers)}
}

// Serve answers requests that come through l until ctx ends. It closes l. The
// answers under way then have two seconds to end; their contexts end with ctx.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:        s.handler(),
		ReadTimeout:    s.limits.request,
		MaxHeaderBytes: s.limits.header,
		BaseContext:    func(net.Listener) context.Context { return ctx },
		ErrorLog:       log.New(s.log, "", 0),
	}
	// A connection for each request: they are cheap here, and no idle ones
	// take the place of others.
	server.SetKeepAlivesEnabled(false)
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { stopped <- s.stop(server) })
	err := server.Serve(newGatekeeper(l, s.limits.connections, s.log))
	if stop() {
		return errors.Join(err, server.Close())
	}
	return <-stopped
}

func (s *Server) stop(server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.limits.linger)
	defer cancel()
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return server.Close()
	}
	return err
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathStatus, func(w http.ResponseWriter, r *http.Request) {
		status, err := s.supervisor.Status(r.Context())
		s.answer(w, status, err)
	})
	mux.HandleFunc("POST "+pathDo, func(w http.ResponseWriter, r *http.Request) {
		var request supervise.Request
		if err := s.read(w, r, &request); err != nil {
			s.answer(w, nil, err)
			return
		}
		results, err := s.supervisor.Do(r.Context(), request)
		s.answer(w, results, err)
	})
	mux.HandleFunc("POST "+pathScale, func(w http.ResponseWriter, r *http.Request) {
		var request supervise.ScaleRequest
		if err := s.read(w, r, &request); err != nil {
			s.answer(w, nil, err)
			return
		}
		results, err := s.supervisor.Scale(r.Context(), request)
		s.answer(w, results, err)
	})
	mux.HandleFunc("POST "+pathWait, func(w http.ResponseWriter, r *http.Request) {
		var request waitRequest
		if err := s.read(w, r, &request); err != nil {
			s.answer(w, nil, err)
			return
		}
		s.answer(w, struct{}{}, s.supervisor.WaitReady(r.Context(), request.Names))
	})
	mux.HandleFunc("POST "+pathReload, func(w http.ResponseWriter, r *http.Request) {
		var request reloadRequest
		if err := s.read(w, r, &request); err != nil {
			s.answer(w, nil, err)
			return
		}
		plan, err := s.supervisor.Reload(r.Context(), request.DryRun)
		s.answer(w, plan, err)
	})
	mux.HandleFunc("POST "+pathUpgrade, func(w http.ResponseWriter, r *http.Request) {
		var request upgradeRequest
		if err := s.read(w, r, &request); err != nil {
			s.answer(w, nil, err)
			return
		}
		s.answer(w, struct{}{}, s.supervisor.Upgrade(r.Context(), request.Program))
	})
	mux.HandleFunc("POST "+pathShutdown, func(w http.ResponseWriter, r *http.Request) {
		s.answer(w, struct{}{}, s.supervisor.Shutdown(r.Context()))
	})
	mux.HandleFunc("POST "+pathLogs, s.logs)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.answer(w, nil, fault.New(fault.NotFound, "the control socket does not know %q %q", r.Method, r.URL.Path).
			WithHint("this procops and the one that runs may be of different versions"))
	})
	return mux
}

// read decodes the body of a request. What it does not know it refuses: it may
// be from a newer procops and matter.
func (s *Server) read(w http.ResponseWriter, r *http.Request, into any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, s.limits.body))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil && d.More() {
		err = errors.New("something follows it")
	}
	if err == nil {
		_, err = io.Copy(io.Discard, r.Body)
	}
	if err != nil {
		return fault.Wrap(fault.Usage, err, "cannot read the request")
	}
	// The answer may take longer than the request was allowed to; without this
	// net/http takes the end of that time for a client that has gone.
	return http.NewResponseController(w).SetReadDeadline(time.Time{})
}

func (s *Server) answer(w http.ResponseWriter, v any, err error) {
	code := http.StatusOK
	if errors.Is(err, context.Canceled) {
		err = fault.New(fault.Unreachable, "the supervisor ended before it was done")
	}
	if err != nil {
		p := toProblem(err)
		v, code = refusal{Error: p}, p.httpStatus()
	}
	raw, err := encode(v)
	if err != nil {
		s.log.Error().Err(err).Msg("cannot encode an answer")
		code = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.limits.write)); err != nil {
		s.log.Debug().Err(err).Msg("cannot limit the time of an answer")
	}
	w.WriteHeader(code)
	if _, err := w.Write(raw); err != nil {
		s.log.Debug().Err(err).Msg("cannot send an answer") // the client has gone
	}
}
