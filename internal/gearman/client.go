package gearman

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"procops/internal/fault"
	"procops/internal/gearman/wire"
)

// Client submits jobs to servers and asks about them. It connects for each
// call. Its methods can be called by several goroutines at once. When nobody
// can be reached, or no sensible answer comes, their errors are
// fault.Unreachable; when the job cannot be what it is, fault.Usage. The end of
// a context ends each of them, with its cause in the error.
type Client struct{ cfg Config }

// NewClient returns a client of the servers that cfg has. What is not set in it
// has its default.
func NewClient(cfg Config) *Client { return &Client{cfg.withDefaults()} }

// Config returns the config of the client, with its defaults filled in.
func (c *Client) Config() Config { return c.cfg }

// Servers returns the servers in the order in which they are tried.
func (c *Client) Servers() []Address { return slices.Clone(c.cfg.Servers) }

// SubmitBackground submits a job for which nobody waits. Once it returns
// without an error the job is the server's. It tries the next server if one
// cannot be reached or has no room in its queue, but not if it cannot be known
// whether the one before has accepted the job.
func (c *Client) SubmitBackground(ctx context.Context, job Job) (Handle, error) {
	h, conn, err := c.submit(ctx, job, true)
	if err != nil {
		return h, fmt.Errorf("cannot submit job %q: %w", job.Function, err)
	}
	conn.close()
	return h, nil
}

// UpdateKind says what an Update tells.
type UpdateKind string

// The kinds of updates, as they come: first Created, then any number of Data,
// Warning and Progress, and at last Complete if the job succeeds.
const (
	Created  UpdateKind = "created"
	Data     UpdateKind = "data"     // a part of the result
	Warning  UpdateKind = "warning"  // not part of the result
	Progress UpdateKind = "progress" // Numerator and Denominator
	Complete UpdateKind = "complete" // the result, or the rest of it
)

// Update is news of a job that somebody waits for.
type Update struct {
	Kind   UpdateKind
	Handle Handle

	// Data is what comes with Data, Warning and Complete; else nil. It comes from
	// the connection while it is read, and is gone when the call for the update
	// returns. Size is how much it is.
	Data io.Reader
	Size int64

	Numerator, Denominator uint64
}

// Execute submits a job, calls each with what comes of it and returns when it
// has ended. A job that fails is a *JobError. An error of each ends it and is
// returned. While it waits only ctx limits the time. If the connection is lost
// then, so is the job's result: it is not submitted again.
func (c *Client) Execute(ctx context.Context, job Job, each func(Update) error) error {
	h, conn, err := c.submit(ctx, job, false)
	if err != nil {
		return fmt.Errorf("cannot submit job %q: %w", job.Function, err)
	}
	defer conn.close()
	if err := each(Update{Kind: Created, Handle: h}); err != nil {
		return err
	}
	for done := false; !done; {
		p, err := conn.next(time.Time{})
		if err == nil {
			done, err = conn.work(p, h, each)
		}
		if err != nil {
			return lostResult(ctx, err, h)
		}
	}
	return nil
}

// lostResult says which job it was, if its result cannot be waited for.
func lostResult(ctx context.Context, err error, h Handle) error {
	switch {
	case fault.Is(err, fault.Unreachable):
		return fault.Wrap(fault.Unreachable, err, "cannot wait for job %s", h.ID).
			WithHint("its result is lost; whether it is done its worker knows")
	case ctx.Err() != nil:
		return fmt.Errorf("cannot wait for job %s: %w", h.ID, err)
	}
	return err
}

// work passes on one packet about a job; it returns true when the job is
// complete.
func (c *conn) work(p *wire.Packet, h Handle, each func(Update) error) (done bool, err error) {
	u := Update{Handle: h}
	switch p.Type {
	case wire.WorkData:
		u.Kind = Data
	case wire.WorkWarning:
		u.Kind = Warning
	case wire.WorkComplete:
		u.Kind = Complete
	case wire.WorkStatus:
		u.Kind = Progress
	case wire.WorkException:
		return false, c.exception(p, h)
	case wire.WorkFail:
		return false, c.failure(p, h)
	case wire.Error:
		return false, c.refusal(p)
	default:
		return false, c.strange("%s while a job runs", p.Type)
	}
	if err := c.about(p.Type, p.Arg(0), h); err != nil {
		return false, err
	}
	if u.Kind == Progress {
		denominator, err := c.last(p)
		if err != nil {
			return false, err
		}
		u.Numerator, u.Denominator = number(p.Arg(1)), number([]byte(denominator))
		return false, each(u)
	}
	u.Data, u.Size = p.Stream(), p.Size()
	err = each(u)
	if _, broken := errors.AsType[*net.OpError](err); broken || errors.Is(err, io.ErrUnexpectedEOF) {
		err = c.failed(err) // it has come through u.Data
	}
	return u.Kind == Complete, err
}

// about checks that a packet is about the job that this connection waits for.
func (c *conn) about(t wire.Type, id []byte, h Handle) error {
	if string(id) != h.ID {
		return c.strange("%s for %s", t, forPeople(string(id)))
	}
	return nil
}

func (c *conn) failure(p *wire.Packet, h Handle) error {
	id, err := c.last(p)
	if err == nil {
		err = c.about(p.Type, []byte(id), h)
	}
	if err != nil {
		return err
	}
	return &JobError{Handle: h}
}

func (c *conn) exception(p *wire.Packet, h Handle) error {
	if err := c.about(p.Type, p.Arg(0), h); err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(p.Stream(), maxText))
	if err != nil {
		return c.failed(err)
	}
	return &JobError{Handle: h, Exception: text}
}

// submit submits a job to the first server that takes it, and returns the
// connection on which it was created.
func (c *Client) submit(ctx context.Context, job Job, background bool) (Handle, *conn, error) {
	if err := job.check(background); err != nil {
		return Handle{}, nil, err
	}
	job = job.withKey()
	head, err := job.head(background)
	if err != nil {
		return Handle{}, nil, err
	}
	var refused []error
	for _, server := range c.cfg.Servers {
		conn, id, err := c.submitTo(ctx, server, head, job.Workload, background)
		if err == nil {
			return Handle{Server: server, ID: id}, conn, nil
		}
		next, again := errors.AsType[*untakenError](err)
		if !again || ctx.Err() != nil {
			return Handle{}, nil, err
		}
		refused = append(refused, next.error)
	}
	return Handle{}, nil, noServer(refused)
}

// untakenError is an error after which it is sure that the server has not
// accepted the job.
type untakenError struct{ error }

// Unwrap returns why the server has not accepted the job.
func (e *untakenError) Unwrap() error { return e.error }

// codeQueueFull is gearmand's code for a queue that is full (maxqueue).
const codeQueueFull = "QUEUE_ERROR"

// submitTo submits a job to one server.
func (c *Client) submitTo(ctx context.Context, server Address, head, workload []byte, background bool) (_ *conn, id string, err error) {
	conn, err := c.connect(ctx, server)
	if fault.Is(err, fault.Usage) {
		return nil, "", err // no other server is better
	}
	if err != nil {
		return nil, "", &untakenError{err}
	}
	defer func() {
		if err != nil {
			conn.close()
		}
	}()
	if !background {
		err = conn.wantExceptions()
	}
	if err == nil {
		err = conn.send(slices.Clip(head), workload)
	}
	if err != nil {
		// A packet that was not sent to its end is no packet.
		return nil, "", &untakenError{err}
	}
	id, err = conn.created()
	if refusal, ok := errors.AsType[*ServerError](err); ok && refusal.Code == codeQueueFull {
		return nil, "", &untakenError{err}
	}
	if fault.Is(err, fault.Unreachable) {
		err = fault.Wrap(fault.Unreachable, err, "no answer whether the job was accepted")
	}
	return conn, id, err
}

// wantExceptions asks for exceptions, which a server otherwise sends as mere
// failures. One that does not know the option is fine, too.
func (c *conn) wantExceptions() error {
	if err := c.ask(wire.OptionReq, "exceptions"); err != nil {
		return err
	}
	_, err := c.receive(wire.OptionRes)
	if _, refused := errors.AsType[*ServerError](err); refused {
		return nil
	}
	return err
}

// created waits for the handle of a submitted job.
func (c *conn) created() (id string, err error) {
	p, err := c.receive(wire.JobCreated)
	if err != nil {
		return "", err
	}
	if id, err = c.last(p); err != nil {
		return "", err
	}
	if err := checkID(id); err != nil {
		return "", c.strange("%w", err)
	}
	return id, nil
}

// noServer makes one error of why no server has done it.
func noServer(why []error) error {
	lines := make([]string, len(why))
	down := false
	for i, err := range why {
		lines[i] = err.Error()
		down = down || fault.Is(err, fault.Unreachable)
	}
	if len(why) == 1 && !down {
		return why[0]
	}
	e := fault.New(fault.Failure, "%s", strings.Join(lines, "; "))
	if down {
		e.Kind = fault.Unreachable
		e.Hint = "a Gearman job server, such as gearmand, must run there; --server and `servers` in [worker] of the config say where"
		if better := fault.Hints(errors.Join(why...)); len(better) > 0 {
			e.Hint = better[0]
		}
	}
	return e
}

// Status asks the handle's server, or each in turn if the handle has none, what
// has become of a job. That no server knows it is no error.
func (c *Client) Status(ctx context.Context, h Handle) (Status, error) {
	servers := c.cfg.Servers
	if h.Server != "" {
		servers = []Address{h.Server}
	}
	s, err := c.find(ctx, servers, func(conn *conn) (Status, error) { return conn.status(h.ID) })
	if err != nil {
		return s, fmt.Errorf("cannot ask for job %s: %w", h, err)
	}
	return s, nil
}

// StatusByUnique is Status for a job with a unique key. gearmand knows such
// jobs of all functions together. The Handle in the answer has only a server.
func (c *Client) StatusByUnique(ctx context.Context, unique string) (Status, error) {
	s, err := c.find(ctx, c.cfg.Servers, func(conn *conn) (Status, error) { return conn.statusByUnique(unique) })
	if err != nil {
		return s, fmt.Errorf("cannot ask for the job with unique key %q: %w", unique, err)
	}
	return s, nil
}

// find asks one server after the other until one knows the job. It is not known
// if all of them say so.
func (c *Client) find(ctx context.Context, servers []Address, ask func(*conn) (Status, error)) (Status, error) {
	var (
		status Status
		silent []error
	)
	for _, server := range servers {
		s, err := c.askOne(ctx, server, ask)
		switch {
		case err == nil && s.Known:
			return s, nil
		case err == nil:
			status = s
		case ctx.Err() != nil || !fault.Is(err, fault.Unreachable):
			return Status{}, err
		default:
			silent = append(silent, err)
		}
	}
	if len(silent) > 0 {
		return Status{}, noServer(silent)
	}
	if len(servers) > 1 {
		status.Handle.Server = "" // none of them
	}
	return status, nil
}

func (c *Client) askOne(ctx context.Context, server Address, ask func(*conn) (Status, error)) (Status, error) {
	conn, err := c.connect(ctx, server)
	if err != nil {
		return Status{}, err
	}
	defer conn.close()
	return ask(conn)
}

func (c *conn) status(id string) (Status, error) {
	p, err := c.question(id, wire.GetStatus, wire.StatusRes)
	if err != nil {
		return Status{}, err
	}
	denominator, err := c.last(p)
	s := c.statusOf(p)
	s.Handle.ID, s.Denominator = id, number([]byte(denominator))
	return s, err
}

func (c *conn) statusByUnique(unique string) (Status, error) {
	p, err := c.question(unique, wire.GetStatusUnique, wire.StatusResUnique)
	if err != nil {
		return Status{}, err
	}
	clients, err := c.last(p)
	s := c.statusOf(p)
	s.Unique, s.Denominator, s.Clients = unique, number(p.Arg(4)), number([]byte(clients))
	return s, err
}

// question asks for a job and returns the answer about that very job.
func (c *conn) question(job string, t, want wire.Type) (*wire.Packet, error) {
	if err := c.ask(t, job); err != nil {
		return nil, err
	}
	p, err := c.receive(want)
	if err != nil {
		return nil, err
	}
	return p, c.about(p.Type, p.Arg(0), Handle{ID: job})
}

// statusOf reads what both answers have in common.
func (c *conn) statusOf(p *wire.Packet) Status {
	return Status{
		Handle: Handle{Server: c.server}, Known: string(p.Arg(1)) == "1", Running: string(p.Arg(2)) == "1",
		Numerator: number(p.Arg(3)),
	}
}
