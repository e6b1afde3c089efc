package web

import (
	"cmp"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"procops/internal/heartbeat"
	"procops/internal/metrics"
)

// metrics answers with all that Prometheus may want to know.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) answer {
	all, err := s.all(r.Context())
	if err != nil {
		return s.troubled(w, err, "cannot read the heartbeats")
	}
	var page metrics.Page
	e := exposition{&page}
	e.heartbeats(all, time.Now())
	e.server(s)
	if s.more != nil {
		if err := s.more(r.Context(), &page); err != nil {
			return s.troubled(w, err, "cannot read the jobs")
		}
	}
	return answer{code: http.StatusOK, kind: metrics.ContentType, body: page.String()}
}

// exposition is the page of metrics.
type exposition struct{ *metrics.Page }

// heartbeats writes what the list says.
func (e exposition) heartbeats(all []heartbeat.Heartbeat, now time.Time) {
	statuses := make([]heartbeat.Status, len(all))
	count := map[heartbeat.Status]int{}
	for i, h := range all {
		statuses[i], _ = h.Status(now)
		count[statuses[i]]++
	}
	every := []heartbeat.Status{heartbeat.OK, heartbeat.Warning, heartbeat.Critical, heartbeat.Unknown}
	e.Family("procops_heartbeats", metrics.Gauge, "Heartbeats in the list, by status.")
	for _, status := range every {
		e.Sample(float64(count[status]), "status", string(status))
	}
	e.Family("procops_heartbeat_info", metrics.Gauge, "What people should know of a heartbeat; always 1.")
	for _, h := range all {
		e.Sample(1, "name", h.Name, "tags", strings.Join(h.Target.Tags, ","), "description", h.Target.Description)
	}
	e.Family("procops_heartbeat_status", metrics.Gauge, "Status of a heartbeat as monitoring plugins have it: 0 ok, 1 warning, 2 critical, 3 unknown.")
	for i, h := range all {
		e.Sample(float64(statuses[i].ExitCode()), "name", h.Name)
	}
	e.Family("procops_heartbeat_state", metrics.Gauge, "State of a heartbeat: 1 for the one that it is in, 0 for the others.")
	for _, h := range all {
		now := h.At(now).State
		for _, state := range heartbeat.States() {
			is := 0.
			if state == now {
				is = 1
			}
			e.Sample(is, "name", h.Name, "state", string(state))
		}
	}
	e.lastBeats(all, now)
	e.Family("procops_heartbeat_warning_seconds", metrics.Gauge, "Age of the last beat from which on a heartbeat is late.")
	for _, h := range all {
		e.Sample(h.Thresholds.Warning.Seconds(), "name", h.Name)
	}
	e.Family("procops_heartbeat_critical_seconds", metrics.Gauge, "Age of the last beat from which on a heartbeat is down.")
	for _, h := range all {
		e.Sample(h.Thresholds.Critical.Seconds(), "name", h.Name)
	}
}

// lastBeats writes what there is only of heartbeats that have beaten.
func (e exposition) lastBeats(all []heartbeat.Heartbeat, now time.Time) {
	beaten := slices.DeleteFunc(slices.Clone(all), func(h heartbeat.Heartbeat) bool { return h.Last == nil })
	e.Family("procops_heartbeat_last_beat_timestamp_seconds", metrics.Gauge, "When a heartbeat last beat, in seconds since 1970.")
	for _, h := range beaten {
		e.Sample(float64(h.Last.Time.UnixMilli())/1000, "name", h.Name)
	}
	e.Family("procops_heartbeat_lag_seconds", metrics.Gauge, "Age of the last beat.")
	for _, h := range beaten {
		e.Sample(h.Last.Lag(now).Seconds(), "name", h.Name)
	}
	e.Family("procops_heartbeat_beats_total", metrics.Counter, "Beats of a heartbeat since it was added.")
	for _, h := range beaten {
		e.Sample(float64(h.Last.Number), "name", h.Name)
	}
	e.Family("procops_heartbeat_coalesced_beats_total", metrics.Counter, "Beats that came too fast and were only counted.")
	for _, h := range beaten {
		e.Sample(float64(h.Coalesced), "name", h.Name)
	}
}

// server writes what this process knows of itself.
func (e exposition) server(s *Server) {
	pings, requests := s.stats.copies()
	e.Family("procops_pings_total", metrics.Counter, "Pings by HTTP, by kind and by what became of them.")
	for _, kind := range kinds() {
		for _, result := range results() {
			e.Sample(float64(pings[pingCount{kind, result}]), "kind", string(kind), "result", result)
		}
	}
	e.Family("procops_http_requests_total", metrics.Counter, "Requests that were answered.")
	for _, r := range slices.SortedFunc(maps.Keys(requests), func(a, b requestCount) int {
		return cmp.Or(strings.Compare(a.route, b.route), a.code-b.code)
	}) {
		e.Sample(float64(requests[r]), "route", r.route, "code", strconv.Itoa(r.code))
	}
	if p := s.pool.Load(); p != nil {
		c := p.counts()
		e.Single("procops_http_connections", metrics.Gauge, "Open connections.", float64(c.open))
		e.Single("procops_http_connections_max", metrics.Gauge, "How many connections can be open.", float64(c.most))
		e.Single("procops_http_connections_total", metrics.Counter, "Connections that were accepted.", float64(c.opened))
		e.Single("procops_http_connections_dropped_total", metrics.Counter, "Connections that were closed because there were too many.", float64(c.dropped))
	}
	e.Family("procops_build_info", metrics.Gauge, "What runs; always 1.")
	e.Sample(1, "version", s.build, "goversion", runtime.Version())
	e.Single("procops_serve_start_timestamp_seconds", metrics.Gauge, "When procops serve was started, in seconds since 1970.",
		float64(s.stats.began.UnixMilli())/1000)
}
