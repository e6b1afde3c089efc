package control

import (
	"net/http"
	"time"

	"procops/internal/fault"
	"procops/internal/supervise"
)

// logs answers with lines of output.
func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	var request supervise.LogRequest
	if err := s.read(w, r, &request); err != nil {
		s.answer(w, nil, err)
		return
	}
	if request.Follow {
		select {
		case s.followers <- struct{}{}:
			defer func() { <-s.followers }()
		default:
			s.answer(w, nil, fault.New(fault.Conflict, "cannot follow the logs: %d others do already", s.limits.followers))
			return
		}
	}
	out := &stream{w: w, control: http.NewResponseController(w), limit: s.limits.write, flush: request.Follow}
	err := s.supervisor.Logs(r.Context(), request, func(l supervise.LogLine) error { return out.send(l) })
	switch {
	case err == nil || out.err != nil:
		// Done, or there is nobody to tell.
	case !out.begun:
		s.answer(w, nil, err)
	default:
		_ = out.send(refusal{Error: toProblem(err)})
	}
}

// stream is an answer of many lines. A reader who takes nothing for as long as
// the limit ends it.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	limit   time.Duration
	flush   bool // each line is sent at once
	begun   bool
	err     error
}

func (s *stream) send(v any) error {
	raw, err := encode(v)
	if err != nil {
		return err
	}
	if !s.begun {
		s.w.Header().Set("Content-Type", "application/x-ndjson")
		s.begun = true
	}
	if s.err = s.write(raw); s.err != nil {
		return s.err
	}
	return nil
}

func (s *stream) write(raw []byte) error {
	if err := s.control.SetWriteDeadline(time.Now().Add(s.limit)); err != nil {
		return err
	}
	if _, err := s.w.Write(raw); err != nil {
		return err
	}
	if s.flush {
		return s.control.Flush()
	}
	return nil
}
