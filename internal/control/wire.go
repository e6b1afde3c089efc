package control

import (
	"encoding/json"
	"net/http"
	"strings"

	"procops/internal/fault"
	"procops/internal/supervise"
)

// The paths of the requests.
const (
	pathStatus   = "/v1/status"
	pathDo       = "/v1/do"
	pathScale    = "/v1/scale"
	pathWait     = "/v1/wait"
	pathLogs     = "/v1/logs"
	pathReload   = "/v1/reload"
	pathUpgrade  = "/v1/upgrade"
	pathShutdown = "/v1/shutdown"
)

// waitRequest is the body of a request to pathWait.
type waitRequest struct {
	Names []string `json:"names,omitempty"`
}

// reloadRequest is the body of a request to pathReload.
type reloadRequest struct {
	DryRun bool `json:"dry_run,omitempty"`
}

// upgradeRequest is the body of a request to pathUpgrade.
type upgradeRequest struct {
	Program string `json:"program"`
}

// problem is an error on the wire.
type problem struct {
	Kind    fault.Kind `json:"kind"`
	Message string     `json:"message"`
	Hint    string     `json:"hint,omitempty"`
}

// refusal is the body of an answer that is an error.
type refusal struct {
	Error *problem `json:"error"`
}

// logRecord is a line of a stream of output.
type logRecord struct {
	supervise.LogLine
	Error *problem `json:"error,omitempty"`
}

func toProblem(err error) *problem {
	return &problem{
		Kind:    fault.Kind(fault.ExitCode(err)),
		Message: err.Error(),
		Hint:    strings.Join(fault.Hints(err), "; "),
	}
}

func (p *problem) fault() error {
	return &fault.Error{Kind: p.Kind, Message: p.Message, Hint: p.Hint}
}

// httpStatus is for who looks at the socket with a tool for HTTP; the client
// goes by the kind.
func (p *problem) httpStatus() int {
	switch p.Kind {
	case fault.Usage:
		return http.StatusBadRequest
	case fault.NotFound:
		return http.StatusNotFound
	case fault.Conflict:
		return http.StatusConflict
	case fault.Unreachable:
		return http.StatusServiceUnavailable
	case fault.Failure:
	}
	return http.StatusInternalServerError
}

// encode returns v as a line of JSON.
func encode(v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	return append(raw, '\n'), err
}
