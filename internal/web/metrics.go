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
)

// metricsKind is the type of the Prometheus text format.
const metricsKind = "text/plain; version=0.0.4; charset=utf-8"

// metrics answers with all that Prometheus may want to know.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) answer {
	all, err := s.all(r.Context())
	if err != nil {
		return s.troubled(w, err, "cannot read the heartbeats")
	}
	var e exposition
	e.heartbeats(all, time.Now())
	e.server(s)
	return answer{code: http.StatusOK, kind: metricsKind, body: e.String()}
}

// heartbeats writes what the list says.
func (e *exposition) heartbeats(all []heartbeat.Heartbeat, now time.Time) {
	statuses := make([]heartbeat.Status, len(all))
	count := map[heartbeat.Status]int{}
	for i, h := range all {
		statuses[i], _ = h.Status(now)
		count[statuses[i]]++
	}
	every := []heartbeat.Status{heartbeat.OK, heartbeat.Warning, heartbeat.Critical, heartbeat.Unknown}
	e.family("procops_heartbeats", gauge, "Heartbeats in the list, by status.")
	for _, status := range every {
		e.sample(float64(count[status]), "status", string(status))
	}
	e.family("procops_heartbeat_info", gauge, "What people should know of a heartbeat; always 1.")
	for _, h := range all {
		e.sample(1, "name", h.Name, "tags", strings.Join(h.Target.Tags, ","), "description", h.Target.Description)
	}
	e.family("procops_heartbeat_status", gauge, "Status of a heartbeat as monitoring plugins have it: 0 ok, 1 warning, 2 critical, 3 unknown.")
	for i, h := range all {
		e.sample(float64(statuses[i].ExitCode()), "name", h.Name)
	}
	e.family("procops_heartbeat_state", gauge, "State of a heartbeat: 1 for the one that it is in, 0 for the others.")
	for _, h := range all {
		now := h.At(now).State
		for _, state := range heartbeat.States() {
			is := 0.
			if state == now {
				is = 1
			}
			e.sample(is, "name", h.Name, "state", string(state))
		}
	}
	e.lastBeats(all, now)
	e.family("procops_heartbeat_warning_seconds", gauge, "Age of the last beat from which on a heartbeat is late.")
	for _, h := range all {
		e.sample(h.Thresholds.Warning.Seconds(), "name", h.Name)
	}
	e.family("procops_heartbeat_critical_seconds", gauge, "Age of the last beat from which on a heartbeat is down.")
	for _, h := range all {
		e.sample(h.Thresholds.Critical.Seconds(), "name", h.Name)
	}
}

// lastBeats writes what there is only of heartbeats that have beaten.
func (e *exposition) lastBeats(all []heartbeat.Heartbeat, now time.Time) {
	beaten := slices.DeleteFunc(slices.Clone(all), func(h heartbeat.Heartbeat) bool { return h.Last == nil })
	e.family("procops_heartbeat_last_beat_timestamp_seconds", gauge, "When a heartbeat last beat, in seconds since 1970.")
	for _, h := range beaten {
		e.sample(float64(h.Last.Time.UnixMilli())/1000, "name", h.Name)
	}
	e.family("procops_heartbeat_lag_seconds", gauge, "Age of the last beat.")
	for _, h := range beaten {
		e.sample(h.Last.Lag(now).Seconds(), "name", h.Name)
	}
	e.family("procops_heartbeat_beats_total", counter, "Beats of a heartbeat since it was added.")
	for _, h := range beaten {
		e.sample(float64(h.Last.Number), "name", h.Name)
	}
	e.family("procops_heartbeat_coalesced_beats_total", counter, "Beats that came too fast and were only counted.")
	for _, h := range beaten {
		e.sample(float64(h.Coalesced), "name", h.Name)
	}
}

// server writes what this process knows of itself.
func (e *exposition) server(s *Server) {
	pings, requests := s.stats.copies()
	e.family("procops_pings_total", counter, "Pings by HTTP, by kind and by what became of them.")
	for _, kind := range kinds() {
		for _, result := range results() {
			e.sample(float64(pings[pingCount{kind, result}]), "kind", string(kind), "result", result)
		}
	}
	e.family("procops_http_requests_total", counter, "Requests that were answered.")
	for _, r := range slices.SortedFunc(maps.Keys(requests), func(a, b requestCount) int {
		return cmp.Or(strings.Compare(a.route, b.route), a.code-b.code)
	}) {
		e.sample(float64(requests[r]), "route", r.route, "code", strconv.Itoa(r.code))
	}
	if p := s.pool.Load(); p != nil {
		c := p.counts()
		e.single("procops_http_connections", gauge, "Open connections.", float64(c.open))
		e.single("procops_http_connections_max", gauge, "How many connections can be open.", float64(c.most))
		e.single("procops_http_connections_total", counter, "Connections that were accepted.", float64(c.opened))
		e.single("procops_http_connections_dropped_total", counter, "Connections that were closed because there were too many.", float64(c.dropped))
	}
	e.family("procops_build_info", gauge, "What runs; always 1.")
	e.sample(1, "version", s.build, "goversion", runtime.Version())
	e.single("procops_serve_start_timestamp_seconds", gauge, "When procops serve was started, in seconds since 1970.",
		float64(s.stats.began.UnixMilli())/1000)
}

// The types of metrics.
const (
	gauge   = "gauge"
	counter = "counter"
)

// exposition is a text in the Prometheus format.
type exposition struct {
	strings.Builder
	name string // of the family
}

// family begins the samples of a metric. help must have no line breaks.
func (e *exposition) family(name, kind, help string) {
	e.name = name
	e.WriteString("# HELP " + name + " " + help + "\n# TYPE " + name + " " + kind + "\n")
}

// single writes a metric that has one sample.
func (e *exposition) single(name, kind, help string, value float64) {
	e.family(name, kind, help)
	e.sample(value)
}

// sample writes a value; labels are names and values in turn.
func (e *exposition) sample(value float64, labels ...string) {
	e.WriteString(e.name)
	for i := 0; i < len(labels); i += 2 {
		if i == 0 {
			e.WriteByte('{')
		} else {
			e.WriteByte(',')
		}
		e.WriteString(labels[i] + `="` + escapeLabel(labels[i+1]) + `"`)
	}
	if len(labels) > 0 {
		e.WriteByte('}')
	}
	e.WriteString(" " + strconv.FormatFloat(value, 'f', -1, 64) + "\n")
}

// escapeLabel writes the value of a label as the format wants it.
func escapeLabel(value string) string {
	return labelEscapes.Replace(strings.ToValidUTF8(value, "\ufffd"))
}

var labelEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
