package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"procops/internal/event"
	"procops/internal/supervise"
)

// describer puts the events of the tree into words.
type describer struct{ cfg supervise.Config }

func newDescriber(cfg supervise.Config) describer { return describer{cfg} }

// probed reports whether a process becomes ready some time after its start.
func (d describer) probed(name string) bool {
	p, _ := d.cfg.Find(name)
	return p.Ready.IsSet()
}

// notice is what procops says about a process, a group or itself.
type notice struct {
	text   string
	colour colour
}

// eventData are the fields of the data of all supervise events together; see
// docs/events.md.
type eventData struct {
	PID       int      `json:"pid"`
	Processes int      `json:"processes"`
	Restarts  int      `json:"restarts"`
	Reason    string   `json:"reason"`
	Delay     float64  `json:"delay_seconds"`
	Code      int      `json:"code"`
	Text      string   `json:"text"`
	Expected  bool     `json:"expected"`
	Members   []string `json:"members"`
	ByHand    []string `json:"stopped_by_hand"`
	Added     []string `json:"added"`
	Removed   []string `json:"removed"`
	Restarted []string `json:"restarted"`
	Updated   []string `json:"updated"`
	Instances int      `json:"instances"`
	Before    int      `json:"before"`
	Process   string   `json:"process"`
	Program   string   `json:"program"`
	Message   string   `json:"message"`
	Link      string   `json:"link"`
	Error     string   `json:"error"`
	Action    string   `json:"action"`
}

// event returns the notice of an event, if it is worth one.
func (d describer) event(e event.Event) (notice, bool) {
	var data eventData
	raw, err := e.DataJSON()
	if err == nil && len(raw) > 0 {
		err = json.Unmarshal(raw, &data)
	}
	if err != nil {
		return notice{}, false
	}
	if state, ok := strings.CutPrefix(e.Type, "supervise.process."); ok {
		return d.process(e.Subject, state, data)
	}
	switch e.Type {
	case "supervise.started":
		text := fmt.Sprintf("supervising %s, pid %d", count(data.Processes, "process", "processes"), data.PID)
		if len(data.ByHand) > 0 {
			text += "; stopped by hand and left so: " + strings.Join(abbreviate(data.ByHand, 5), ", ")
		}
		return notice{text, bold}, true
	case "supervise.reloaded":
		return notice{fmt.Sprintf("reloaded: %d added, %d removed, %d restarted, %d updated",
			len(data.Added), len(data.Removed), len(data.Restarted), len(data.Updated)), bold}, true
	case "supervise.upgraded":
		return notice{fmt.Sprintf("is %s now and supervises on, pid %d", data.Program, data.PID), bold}, true
	case "supervise.scaled":
		return notice{fmt.Sprintf("scaled from %d to %s", data.Before, count(data.Instances, "instance", "instances")), bold}, true
	case "supervise.stopped":
		return notice{"all is down", bold}, true
	case "supervise.failed":
		return notice{"this failure ends supervision", red}, true
	case "supervise.concluded":
		return notice{fmt.Sprintf("its end, with exit code %d, ends supervision", data.Code), bold}, true
	default:
		return d.chain(e.Type, data)
	}
}

// chain returns the notice of an event of a chain or a group.
func (describer) chain(what string, data eventData) (notice, bool) {
	switch what {
	case "supervise.link.failed":
		return notice{fmt.Sprintf("its %s link failed: %s", data.Link, data.Error), yellow}, true
	case "supervise.link.ordered":
		return notice{fmt.Sprintf("its chain gives the order to %s %s", data.Action, strings.Join(abbreviate(data.Members, 5), ", ")), yellow}, true
	case "supervise.group.restarting":
		together := strings.Join(abbreviate(data.Members, 5), ", ")
		return notice{fmt.Sprintf("restarts %s together%s, because %q ended", together, afterDelay(data.Delay), data.Process), yellow}, true
	}
	return notice{}, false
}

// process returns the notice of an event of a process; what is its type
// without "supervise.process.".
func (d describer) process(name, what string, data eventData) (notice, bool) {
	switch what {
	case "log":
		return notice{data.Message, ""}, true
	case "exited":
		if data.Expected {
			return notice{"ended: " + data.Text, dim}, true
		}
		return notice{"failed: " + data.Text, red}, true
	}
	switch supervise.State(what) {
	case supervise.StateStarting:
		how := "started"
		if data.Reason != "" {
			how = data.Reason
		}
		if data.PID != 0 { // a service has no process of its own
			how += fmt.Sprintf(", pid %d", data.PID)
		}
		return notice{how, dim}, true
	case supervise.StateRunning:
		return notice{"ready", dim}, d.probed(name)
	case supervise.StateBackoff:
		return notice{"is started again" + afterDelay(data.Delay), yellow}, true
	case supervise.StateFatal:
		return notice{"given up: " + data.Reason, red}, true
	case supervise.StateStopping:
		return notice{"stopping", dim}, true
	case supervise.StateWaiting, supervise.StateEnding, supervise.StateStopped, supervise.StateCompleted:
		// Other notices have told it already, or the next one will.
	}
	return notice{}, false
}

func afterDelay(delay float64) string {
	if delay <= 0 {
		return ""
	}
	return fmt.Sprintf(" in %v", time.Duration(delay*float64(time.Second)).Round(100*time.Millisecond))
}

// count writes a number with its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
