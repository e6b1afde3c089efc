package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"procops/internal/fault"
	"procops/internal/supervise"
)

// statusTimeout is how long a supervisor may take to say how it is.
const statusTimeout = 10 * time.Second

// lookEvery is how long after the last sign of life a supervisor is asked for one
// while something else is waited for.
const lookEvery = 5 * time.Second

// Client asks a running supervisor through its socket. Where nobody answers its
// errors are fault.Unreachable; errors of the supervisor keep their kind,
// message and hint.
type Client struct {
	path    string
	http    *http.Client
	look    time.Duration // lookEvery
	silence time.Duration // statusTimeout
}

// Dial returns a client for the supervisor with the socket path. It connects
// for each request.
func Dial(path string) *Client {
	return &Client{path: path, look: lookEvery, silence: statusTimeout, http: &http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return connect(ctx, path) },
		DisableKeepAlives: true,
	}}}
}

// StateDir returns the state directory whose supervisor the client asks.
func (c *Client) StateDir() string { return filepath.Dir(c.path) }

// Status returns a picture of the tree. It waits 10 seconds at most.
func (c *Client) Status(ctx context.Context) (status supervise.Status, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.silence, c.silent())
	defer cancel()
	err = c.ask(ctx, http.MethodGet, pathStatus, nil, &status)
	return status, err
}

// Do carries out an action.
func (c *Client) Do(ctx context.Context, r supervise.Request) (results []supervise.Result, err error) {
	err = c.order(ctx, pathDo, r, &results)
	return results, err
}

// Scale changes how many instances of processes there are.
func (c *Client) Scale(ctx context.Context, r supervise.ScaleRequest) (results []supervise.Result, err error) {
	err = c.order(ctx, pathScale, r, &results)
	return results, err
}

// WaitReady returns when all the named processes and groups (none: all that are
// wanted) are ready, and an error when one of them will not be.
func (c *Client) WaitReady(ctx context.Context, names []string) error {
	var nothing struct{}
	return c.order(ctx, pathWait, waitRequest{Names: names}, &nothing)
}

// Reload reads the config again and brings the tree to it; with dryRun it only
// says what it would do.
func (c *Client) Reload(ctx context.Context, dryRun bool) (plan supervise.Plan, err error) {
	err = c.order(ctx, pathReload, reloadRequest{DryRun: dryRun}, &plan)
	return plan, err
}

// Upgrade makes the supervising process the procops at an absolute path. When it has
// become that, the connection is closed and the error is fault.Unreachable: ask the
// status whether there was one upgrade more.
func (c *Client) Upgrade(ctx context.Context, program string) error {
	var nothing struct{}
	return c.order(ctx, pathUpgrade, upgradeRequest{Program: program}, &nothing)
}

// Shutdown asks the tree to go down and returns when it is asked. The second
// time it hurries.
func (c *Client) Shutdown(ctx context.Context) error {
	var nothing struct{}
	return c.order(ctx, pathShutdown, struct{}{}, &nothing)
}

// Logs calls emit with lines of output. An error of emit ends it and is
// returned.
func (c *Client) Logs(ctx context.Context, r supervise.LogRequest, emit func(supervise.LogLine) error) error {
	ctx, done := c.whileItLives(ctx)
	defer done()
	body, err := c.send(ctx, http.MethodPost, pathLogs, r)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	lines := json.NewDecoder(body)
	for {
		var record logRecord
		err := lines.Decode(&record)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return c.lost(ctx, err)
		case record.Error != nil:
			return record.Error.fault()
		}
		if err := emit(record.LogLine); err != nil {
			return err
		}
	}
}

// order is ask for what may take as long as it takes, but only while the supervisor
// is alive: one that was stopped by a signal, say, would be waited for for ever.
func (c *Client) order(ctx context.Context, path string, request, answer any) error {
	ctx, done := c.whileItLives(ctx)
	defer done()
	return c.ask(ctx, http.MethodPost, path, request, answer)
}

// whileItLives returns a context that ends when the supervisor does not say any more
// how it is. Call done in the end.
func (c *Client) whileItLives(ctx context.Context) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	var looking sync.WaitGroup
	looking.Go(func() {
		look := time.NewTimer(c.look)
		defer look.Stop()
		for {
			select {
			case <-look.C:
			case <-ctx.Done():
				return
			}
			if silent := c.knock(ctx); silent != nil {
				cancel(silent)
				return
			}
			look.Reset(c.look)
		}
	})
	return ctx, func() {
		cancel(nil)
		looking.Wait()
	}
}

// knock returns an error if the supervisor keeps silent. One that refuses is alive, or
// the connection to it has ended by itself.
func (c *Client) knock(ctx context.Context) error {
	silent := c.silent()
	ctx, cancel := context.WithTimeoutCause(ctx, c.silence, silent)
	defer cancel()
	var status supervise.Status
	if err := c.ask(ctx, http.MethodGet, pathStatus, nil, &status); err != nil && errors.Is(context.Cause(ctx), silent) {
		return silent
	}
	return nil
}

// silent is the error for a supervisor that is there and says nothing.
func (c *Client) silent() *fault.Error {
	return c.unreachable(fmt.Sprintf("has not answered for %v", c.silence), nil).
		WithHint("its process may be stopped (SIGSTOP; `kill -CONT` lets it go on), or its disk or the machine be very slow")
}

// ask sends a request and decodes the answer.
func (c *Client) ask(ctx context.Context, method, path string, request, answer any) error {
	body, err := c.send(ctx, method, path, request)
	if err != nil {
		return err
	}
	err = json.NewDecoder(body).Decode(answer)
	if err := errors.Join(err, body.Close()); err != nil {
		return c.lost(ctx, err)
	}
	return nil
}

// send sends a request and returns the body of the answer, unless that is a
// refusal.
func (c *Client) send(ctx context.Context, method, path string, request any) (io.ReadCloser, error) {
	raw, err := encode(request)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://procops"+path, bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(r)
	if err != nil {
		return nil, c.lost(ctx, err)
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	var no refusal
	err = json.NewDecoder(response.Body).Decode(&no)
	if err := errors.Join(err, response.Body.Close()); err != nil || no.Error == nil {
		return nil, c.unreachable("gives an answer that procops does not understand: "+response.Status, err)
	}
	return nil, no.Error.fault()
}

// lost says why there is no answer.
func (c *Client) lost(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ECONNREFUSED):
		return fault.New(fault.Unreachable, "no supervisor runs on state directory %q", filepath.Dir(c.path)).
			WithHint("`procops supervise run` starts one, `procops supervise start` in the background")
	case errors.Is(err, fs.ErrPermission):
		return c.unreachable("may not be asked: permission denied", nil).
			WithHint("only the user who runs it and root may")
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE):
		return c.unreachable("has closed the connection", nil).
			WithHint("it may have ended, or have become another procops by an upgrade: `procops supervise status` tells; and only the user who runs it and root may ask it")
	}
	return c.unreachable("does not answer", err)
}

func (c *Client) unreachable(what string, cause error) *fault.Error {
	message := fmt.Sprintf("the supervisor on state directory %q %s", filepath.Dir(c.path), what)
	return &fault.Error{Kind: fault.Unreachable, Message: message, Cause: cause}
}
