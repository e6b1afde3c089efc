package cli

import (
	"encoding/json"
	"io"
	"time"

	"procops/internal/heartbeat"
)

// The JSON forms of the heartbeat commands. They are an interface: fields are
// added, never renamed.

// heartbeatView is a heartbeat as list --json and knock --json print it.
type heartbeatView struct {
	Name          string           `json:"name"`
	From          string           `json:"from"` // config or attached
	Status        heartbeat.Status `json:"status"`
	Message       string           `json:"message"`
	Description   string           `json:"description"`
	Tags          []string         `json:"tags"`
	WarnAfter     float64          `json:"warn_after_seconds"`
	CriticalAfter float64          `json:"critical_after_seconds"`
	Coalesced     int64            `json:"coalesced"`
	Last          *beatView        `json:"last"` // null before the first beat
	State         heartbeat.State  `json:"state"`
	Since         *time.Time       `json:"since"` // of the state; null before the first beat
	Next          *time.Time       `json:"next"`  // when it is late, down or no longer paused; null: never by itself
	UUID          string           `json:"uuid"`
}

type beatView struct {
	Number  int64             `json:"number"`
	Time    time.Time         `json:"time"`
	Lag     float64           `json:"lag_seconds"`
	Uptime  float64           `json:"uptime_seconds"`
	Memory  int64             `json:"memory_bytes"`
	PID     int               `json:"pid"`
	Outcome heartbeat.Outcome `json:"outcome"`
	Message string            `json:"message,omitempty"`
	Data    map[string]any    `json:"data,omitempty"`
}

// knockView is one knock as knock --json prints it.
type knockView struct {
	ID   int64     `json:"id"`
	Time time.Time `json:"time"`
	heartbeatView
	Run *runView `json:"run"` // the newest run of a wrapped command, or null
}

// runView is one run as runs --json prints it.
type runView struct {
	ID       int64              `json:"id"`
	Name     string             `json:"name"`
	Program  string             `json:"program"`
	State    heartbeat.RunState `json:"state"`
	PID      int                `json:"pid"`
	Started  time.Time          `json:"started"`
	Ended    *time.Time         `json:"ended"` // null while it runs
	Duration float64            `json:"duration_seconds"`
	Code     *int               `json:"exit_code"` // null while it runs
	Message  string             `json:"message,omitempty"`
	Output   string             `json:"output"`
}

// keptPingView is one ping as pings --json prints it.
type keptPingView struct {
	ID     int64              `json:"id"`
	Name   string             `json:"name"`
	Time   time.Time          `json:"time"`
	Kind   heartbeat.PingKind `json:"kind"`
	Code   *int               `json:"exit_code"` // null if it told none
	Run    string             `json:"rid"`
	Source string             `json:"source"`
	Body   string             `json:"body"`
}

// entryView is one entry as history --json prints it.
type entryView struct {
	ID      int64            `json:"id"`
	Name    string           `json:"name"`
	Time    time.Time        `json:"time"`
	Status  heartbeat.Status `json:"status"`
	Lag     *float64         `json:"lag_seconds"` // null without a beat
	Message string           `json:"message"`
}

func viewOf(h heartbeat.Heartbeat, now time.Time) heartbeatView {
	v := heartbeatView{
		Name: h.Name, From: origin(h), Description: h.Target.Description, Tags: h.Target.Tags,
		WarnAfter: h.Thresholds.Warning.Seconds(), CriticalAfter: h.Thresholds.Critical.Seconds(),
		Coalesced: h.Coalesced,
	}
	if v.Tags == nil {
		v.Tags = []string{}
	}
	v.Status, v.Message = h.Status(now)
	h = h.At(now)
	v.State, v.Since, v.Next, v.UUID = h.State, timeOrNull(h.Since), timeOrNull(h.Next()), h.UUID
	if b := h.Last; b != nil {
		v.Last = &beatView{
			Number: b.Number, Time: b.Time, Lag: b.Lag(now).Seconds(),
			Uptime: b.Client.Uptime.Seconds(), Memory: b.Client.Memory, PID: b.Client.PID,
			Outcome: b.Outcome, Message: b.Message, Data: b.Data,
		}
	}
	return v
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func viewsOf(all []heartbeat.Heartbeat, now time.Time) []heartbeatView {
	views := make([]heartbeatView, len(all))
	for i, h := range all {
		views[i] = viewOf(h, now)
	}
	return views
}

func knockViews(knocks []heartbeat.Knock) []knockView {
	views := make([]knockView, len(knocks))
	for i, k := range knocks {
		v := knockView{ID: k.ID, Time: k.Time, heartbeatView: viewOf(k.Heartbeat, k.Time)}
		v.Status, v.Message = k.Status, k.Message
		if k.Run != nil {
			run := runViewOf(*k.Run)
			v.Run = &run
		}
		views[i] = v
	}
	return views
}

func runViewOf(r heartbeat.Run) runView {
	v := runView{
		ID: r.ID, Name: r.Name, Program: r.Program, State: r.State, PID: r.PID, Started: r.Started,
		Duration: r.Duration.Seconds(), Message: r.Message, Output: string(r.Output),
	}
	if !r.Ended.IsZero() {
		v.Ended, v.Code = &r.Ended, &r.Code
	}
	return v
}

func keptPingViewOf(name string, p heartbeat.KeptPing) keptPingView {
	v := keptPingView{ID: p.ID, Name: name, Time: p.Time, Kind: p.Kind, Run: p.Run, Source: p.Source, Body: string(p.Body)}
	if p.HasCode {
		v.Code = &p.ExitCode
	}
	return v
}

func entryViews(entries []heartbeat.Entry) []entryView {
	views := make([]entryView, len(entries))
	for i, e := range entries {
		views[i] = entryView{ID: e.ID, Name: e.Name, Time: e.Time, Status: e.Status, Message: e.Message}
		if e.HasLag {
			lag := e.Lag.Seconds()
			views[i].Lag = &lag
		}
	}
	return views
}

// printJSON writes a value as JSON, indented for people who look at it.
func printJSON(w io.Writer, value any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(value)
}
