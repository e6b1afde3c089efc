// Package control lets the commands of an operator reach a running supervisor:
// HTTP with JSON over a unix socket in the state directory. Only the user who
// runs the supervisor, and root, get an answer.
//
//	GET  /v1/status    the tree at this moment (supervise.Status)
//	POST /v1/do        an action (supervise.Request) -> []supervise.Result
//	POST /v1/scale     numbers of instances (supervise.ScaleRequest) -> []supervise.Result
//	POST /v1/wait      until {"names": [...]} are ready (none: all) -> {}
//	POST /v1/logs      output (supervise.LogRequest) -> supervise.LogLine, one JSON object a line
//	POST /v1/reload    the config is read again ({"dry_run": true}: only looked at) -> supervise.Plan
//	POST /v1/upgrade   procops becomes {"program": "/path"}; on success the connection is closed without an answer
//	POST /v1/shutdown  the tree goes down; the second time it hurries
//
// A refusal is {"error": {"kind", "message", "hint"}}; kind is the exit code of
// procops. If a stream of lines fails, that is its last line.
package control

import (
	"context"

	"procops/internal/supervise"
)

// Supervisor is what can be asked of a running supervisor. The Server answers
// with one, and the Client is one.
type Supervisor interface {
	// Status returns a picture of the tree.
	Status(ctx context.Context) (supervise.Status, error)
	// Do carries out an action and, unless the request says otherwise, returns
	// when it has come true.
	Do(ctx context.Context, r supervise.Request) ([]supervise.Result, error)
	// Scale changes how many instances of processes there are and, unless the
	// request says otherwise, returns when that has come true.
	Scale(ctx context.Context, r supervise.ScaleRequest) ([]supervise.Result, error)
	// WaitReady returns when all the named processes and groups (none: all that
	// are wanted) are ready, and an error when one of them will not be.
	WaitReady(ctx context.Context, names []string) error
	// Logs calls emit, one call at a time, with lines of output. An error of
	// emit ends it. emit may take as long as its reader.
	Logs(ctx context.Context, r supervise.LogRequest, emit func(supervise.LogLine) error) error
	// Reload reads the config again and brings the tree to it; with dryRun it
	// only says what it would do.
	Reload(ctx context.Context, dryRun bool) (supervise.Plan, error)
	// Upgrade makes the supervising process the procops at an absolute path. It
	// returns only if that is not to be or has failed.
	Upgrade(ctx context.Context, program string) error
	// Shutdown asks the tree to go down and returns when it is asked. The
	// second time it hurries.
	Shutdown(ctx context.Context) error
}
