package web

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"unicode"

	"procops/internal/fault"
	"procops/internal/heartbeat"
	"procops/internal/name"
)

const (
	// bodyKept is how much of a body is kept, its end. Clients learn it from the
	// header Ping-Body-Limit and send no more.
	bodyKept = 10_000
	// agentKept is how much of the name of the client is kept.
	agentKept = 200
)

// The results of a ping, as the metrics name them.
const (
	resultOK        = "ok"
	resultCreated   = "created"
	resultInvalid   = "invalid"   // the URL or the body
	resultUnknown   = "unknown"   // no such heartbeat, or not that key
	resultAmbiguous = "ambiguous" // several heartbeats have that slug
	resultRefused   = "refused"   // too fast
	resultFailed    = "failed"    // the state could not be written
)

func results() []string {
	return []string{resultOK, resultCreated, resultInvalid, resultUnknown, resultAmbiguous, resultRefused, resultFailed}
}

// ping answers a ping.
func (s *Server) ping(w http.ResponseWriter, r *http.Request, t target) answer {
	a, result := s.record(w, r, t)
	s.stats.ping(t.kind, result)
	return a
}

func (s *Server) record(w http.ResponseWriter, r *http.Request, t target) (answer, string) {
	p, problem := pingOf(r, t)
	find := s.byUUID
	if t.uuid == "" {
		find = s.bySlug
		p.Create = s.mayCreate(r)
	}
	if t.slug != strings.ToLower(t.slug) {
		return invalid("invalid url format"), resultInvalid
	}
	if t.uuid == "" && !same(t.key, s.cfg.PingKey) {
		return notFound(), resultUnknown
	}
	if problem == "" {
		var err error
		if p.Body, err = s.readBody(w, r); err != nil {
			return unread(err), resultInvalid
		}
	}
	if !connOf(r.Context()).answering() {
		// Nobody will hear that it was recorded, and who hears nothing pings again.
		return notFound(), resultInvalid
	}
	// Who has said all that there is to say need not stay for the answer.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), stateTimeout)
	defer cancel()
	receipt, err := find(ctx, t, p, problem)
	switch {
	case errors.Is(err, errInvalid):
		return invalid(problem), resultInvalid
	case errors.Is(err, errAmbiguous):
		return words(http.StatusConflict, "ambiguous slug"), resultAmbiguous
	case fault.Is(err, fault.NotFound):
		return notFound(), resultUnknown
	case fault.Is(err, fault.Usage):
		return invalid("invalid url format"), resultInvalid
	case fault.Is(err, fault.Conflict):
		return words(http.StatusTooManyRequests, "too many pings"), resultRefused
	case err != nil:
		return s.troubled(w, err, "cannot record the ping", t.uuid, t.key), resultFailed
	}
	w.Header().Set("Ping-Body-Limit", strconv.Itoa(bodyKept))
	w.Header().Set("Access-Control-Allow-Origin", "*")
	if receipt.Created {
		return words(http.StatusCreated, "Created"), resultCreated
	}
	return words(http.StatusOK, "OK"), resultOK
}

func invalid(text string) answer { return words(http.StatusBadRequest, text) }

func (s *Server) mayCreate(r *http.Request) bool {
	create := last(r.URL.Query()["create"])
	return create == "1" && s.cfg.Create != CreateNever
}

// last returns the value that counts of a parameter that is there several times.
func last(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

// same compares secrets in a time that tells nothing about either. None is the
// same as no secret.
func same(given, secret string) bool {
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(secret))
	return secret != "" && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// pingOf returns the ping without its body, and what is wrong with the request.
func pingOf(r *http.Request, t target) (p heartbeat.Ping, problem string) {
	p = heartbeat.Ping{Kind: t.kind, Source: sourceOf(r)}
	if t.code >= 0 {
		p.ExitCode, p.HasCode = t.code, true
	}
	if t.code > lastCode {
		return p, "invalid url format"
	}
	if rid, given := r.URL.Query()["rid"]; given {
		p.Run = strings.ToLower(last(rid))
		if !heartbeat.IsUUID(p.Run) {
			return p, "invalid uuid format"
		}
	}
	return p, ""
}

// sourceOf says who pings, for people.
func sourceOf(r *http.Request) string {
	agent := strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return -1
		}
		return c
	}, strings.ToValidUTF8(r.UserAgent(), ""))
	if len(agent) > agentKept {
		agent = strings.ToValidUTF8(agent[:agentKept], "")
	}
	return strings.TrimSpace(peerOf(r) + " " + r.Method + " " + agent)
}

// peerOf returns the address of the client. A proxy on this machine is believed
// when it says for whom it asks.
func peerOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	peer := net.ParseIP(host)
	if err == nil && !peer.IsLoopback() {
		return host
	}
	first, _, _ := strings.Cut(r.Header.Get("X-Forwarded-For"), ",")
	first = strings.TrimSpace(first)
	if withoutPort, _, err := net.SplitHostPort(first); err == nil {
		first = withoutPort // Azure adds it
	}
	switch {
	case net.ParseIP(first) != nil:
		return first
	case peer == nil:
		return "unix"
	}
	return host
}

var (
	// errInvalid says that the heartbeat is there but the request is wrong.
	errInvalid   = errors.New("the request is not valid")
	errAmbiguous = errors.New("several heartbeats have that slug")
)

// byUUID pings the heartbeat with a UUID.
func (s *Server) byUUID(ctx context.Context, t target, p heartbeat.Ping, problem string) (heartbeat.Receipt, error) {
	found, err := s.heartbeats.NameOf(ctx, t.uuid)
	if err != nil {
		return heartbeat.Receipt{}, err
	}
	if problem != "" {
		return heartbeat.Receipt{}, errInvalid
	}
	return s.heartbeats.Ping(ctx, found, p)
}

// bySlug pings the heartbeat whose name is the slug; if there is none, the one of
// whose name the slug is made.
func (s *Server) bySlug(ctx context.Context, t target, p heartbeat.Ping, problem string) (heartbeat.Receipt, error) {
	create := p.Create
	p.Create = false
	if problem == "" && name.Check(t.slug) == nil {
		// Nearly every ping: the list need not be read for it.
		receipt, err := s.heartbeats.Ping(ctx, t.slug, p)
		if !fault.Is(err, fault.NotFound) {
			return receipt, err
		}
	}
	all, err := s.all(ctx)
	if err != nil {
		return heartbeat.Receipt{}, err
	}
	found, err := pick(all, t.slug)
	switch {
	case err != nil:
		return heartbeat.Receipt{}, err
	case found == "" && !create:
		return heartbeat.Receipt{}, fault.New(fault.NotFound, "there is no such heartbeat")
	case problem != "":
		return heartbeat.Receipt{}, errInvalid
	case found == "" && len(all) >= s.cfg.CreateLimit:
		s.log.Warn().Int("create_limit", s.cfg.CreateLimit).Msg("a ping adds no heartbeat: the list has as many as create_limit")
		return heartbeat.Receipt{}, fault.New(fault.NotFound, "there are too many heartbeats")
	case found == "":
		found, p.Create = t.slug, true
	}
	return s.heartbeats.Ping(ctx, found, p)
}

// pick returns the name of the heartbeat with a slug; "" if there is none.
func pick(all []heartbeat.Heartbeat, slug string) (found string, err error) {
	for _, h := range all {
		switch {
		case h.Name == slug:
			return slug, nil
		case slugOf(h.Name) != slug:
		case found != "":
			err = errAmbiguous
		default:
			found = h.Name
		}
	}
	return found, err
}

// readBody reads a whole body and returns its end.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.Body == http.NoBody {
		return nil, nil
	}
	var kept []byte
	body := http.MaxBytesReader(w, r.Body, s.cfg.MaxBody.Bytes())
	chunk := make([]byte, 4096)
	for {
		n, err := body.Read(chunk)
		kept = append(kept, chunk[:n]...)
		if excess := len(kept) - bodyKept; excess > bodyKept || err != nil && excess > 0 {
			kept = append(kept[:0], kept[excess:]...)
		}
		if errors.Is(err, io.EOF) {
			return kept, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// unread answers when a body could not be read.
func unread(err error) answer {
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
		return words(http.StatusRequestEntityTooLarge, "the body is too long")
	}
	return words(http.StatusRequestTimeout, "the request did not arrive in time")
}
