package metrics

import (
	"context"
	"errors"
	"log" //nolint:depguard // net/http takes no other logger
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/rs/zerolog"
)

const (
	maxHeader = 16 << 10 // bytes
	// readTimeout is how long a request may take to arrive, writeTimeout how long its
	// answer may take.
	readTimeout  = 5 * time.Second
	writeTimeout = 10 * time.Second
)

// Serve answers GET /metrics with a page that write writes, until ctx ends; it closes l.
func Serve(ctx context.Context, l net.Listener, logger zerolog.Logger, write func(context.Context, *Page) error) error {
	server := &http.Server{
		Handler:           handler(logger, write),
		ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: time.Minute,
		MaxHeaderBytes: maxHeader,
		BaseContext:    func(net.Listener) context.Context { return ctx },
		ErrorLog:       log.New(logger, "", 0),
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func handler(logger zerolog.Logger, write func(context.Context, *Page) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/metrics":
			http.Error(w, "not found: there is only /metrics", http.StatusNotFound)
			return
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		var page Page
		if err := write(r.Context(), &page); err != nil {
			logger.Error().Err(err).Msg("cannot tell the metrics")
			http.Error(w, "cannot tell the metrics", http.StatusServiceUnavailable)
			return
		}
		text := page.String()
		w.Header().Set("Content-Type", ContentType)
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		if _, err := w.Write([]byte(text)); err != nil {
			logger.Debug().Err(err).Msg("cannot send the metrics") // who has asked is gone
		}
	})
}
