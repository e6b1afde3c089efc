package web

import (
	"net/http"
	"strings"
)

// guarded asks for the token, if there is one.
func (s *Server) guarded(next answerer) answerer {
	if s.cfg.Token == "" {
		return next
	}
	return func(w http.ResponseWriter, r *http.Request) answer {
		given, bearer := bearerToken(r)
		if _, password, ok := r.BasicAuth(); ok && !bearer {
			given = password
		}
		if same(given, s.cfg.Token) {
			return next(w, r)
		}
		w.Header().Add("WWW-Authenticate", `Basic realm="procops", charset="UTF-8"`)
		w.Header().Add("WWW-Authenticate", `Bearer realm="procops"`)
		return words(http.StatusUnauthorized, "this needs the token of [serve]")
	}
}

func bearerToken(r *http.Request) (string, bool) {
	scheme, token, found := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), found && strings.EqualFold(scheme, "Bearer")
}
