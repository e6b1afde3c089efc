package supervise

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"procops/internal/proc"
	"procops/internal/runner"
)

const (
	// maxRedirects is how many redirects, all to the same host, a try follows.
	maxRedirects = 10
	// maxHeader is how many bytes of header a try reads; the body is not read.
	maxHeader = 64 << 10
	// checkGrace is how long the command of a check has between SIGTERM and
	// SIGKILL when its time is over.
	checkGrace = time.Second
)

// question is what procops asks a process to learn whether it works; one of the
// first three is set, or none.
type question struct {
	tcp    string
	http   string
	exec   proc.Command
	status []int // answers to http that count; empty: 200 to 299
}

func (c *ReadyConfig) question() question { return question{c.TCP, c.HTTP, c.Exec, c.Status} }
func (c *AliveConfig) question() question { return question{c.TCP, c.HTTP, c.Exec, c.Status} }

// probe asks once. The error says, in the few words of an operator, what came
// instead of the good answer.
type probe func(ctx context.Context) error

// probe returns the probe of a question to p, whose run is in progress; nil when
// there is nothing to ask.
func (s *Supervisor) probe(p *process, q question) probe {
	switch {
	case q.tcp != "":
		return tcpProbe(q.tcp)
	case q.http != "":
		return httpProbe(q)
	case len(q.exec) > 0:
		return s.execProbe(p, q.exec)
	default:
		return nil
	}
}

// within asks once, within a limit of time.
func (ask probe) within(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := ask(ctx)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s", limit)
	}
	return err
}

// cause strips from an error of the network what its reader knows: which URL and
// which address were asked.
func cause(err error) error {
	var (
		inURL     *url.Error
		inNetwork *net.OpError
		inSystem  syscall.Errno
		atLookup  *net.DNSError
	)
	switch {
	case errors.As(err, &inSystem):
		return inSystem
	case errors.As(err, &atLookup):
		return atLookup
	case errors.As(err, &inNetwork):
		return inNetwork.Err
	case errors.As(err, &inURL):
		return inURL.Err
	default:
		return err
	}
}

// tcpProbe passes when the port accepts a connection.
func tcpProbe(address string) probe {
	return func(ctx context.Context) error {
		return connect(ctx, &net.Dialer{}, address)
	}
}

// errSelf says that the kernel has given a connection, to a port on which nobody
// listens, that very port as its own: TCP then connects it to itself.
var errSelf = errors.New("nobody listens: the connection went to itself")

func connect(ctx context.Context, d *net.Dialer, address string) error {
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return cause(err)
	}
	if conn.LocalAddr().String() == conn.RemoteAddr().String() {
		return errors.Join(errSelf, abort(conn))
	}
	return conn.Close()
}

// abort closes a connection without the wait that would keep its port from the
// process that is to listen on it.
func abort(conn net.Conn) error {
	var err error
	if c, ok := conn.(*net.TCPConn); ok {
		err = c.SetLinger(0)
	}
	return errors.Join(err, conn.Close())
}

// httpProbe passes when the answer has a good status. No proxy is asked: the
// question is whether this process works, not whether others let it through.
func httpProbe(q question) probe {
	transport := &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeader}
	client := &http.Client{Transport: transport, CheckRedirect: q.redirect}
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, q.http, http.NoBody)
		if err != nil {
			return err
		}
		request.Header.Set("User-Agent", "procops")
		response, err := client.Do(request)
		if err != nil {
			return cause(err)
		}
		_ = response.Body.Close() // nothing was read, so nothing can be lost
		if !q.good(response.StatusCode) {
			return fmt.Errorf("the answer is %s", response.Status)
		}
		return nil
	}
}

// redirect decides about a redirect: a good answer is taken as it is, and what
// another host says is no news of this process.
func (q question) redirect(next *http.Request, via []*http.Request) error {
	switch {
	case len(q.status) > 0 && q.good(next.Response.StatusCode):
		return http.ErrUseLastResponse
	case next.URL.Host != via[0].URL.Host:
		return fmt.Errorf("it redirects to another host, %q", next.URL.Host)
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	default:
		return nil
	}
}

func (q question) good(status int) bool {
	if len(q.status) == 0 {
		return status >= 200 && status <= 299
	}
	return slices.Contains(q.status, status)
}

// execProbe passes when the command exits with 0. It runs as the present run of p
// does, in its cgroup as well, and finds the pid of p in PROCOPS_PID.
func (s *Supervisor) execProbe(p *process, command proc.Command) probe {
	spec := p.run.spec
	u := runner.Unit{
		Command: command, Dir: spec.Dir, Env: append(slices.Clip(spec.Env), "PROCOPS_PID="+strconv.Itoa(p.run.child.PID())),
		MaxOutput: -1, Hurry: s.ctx.Done(),
		Ladder: proc.Ladder{Steps: []proc.Step{{Signal: proc.Signal(syscall.SIGTERM), Wait: checkGrace}}},
		User:   spec.User, Umask: spec.Umask, Nice: spec.Nice, CPUs: spec.CPUs, Limits: spec.Limits, Cgroup: spec.Cgroup,
	}
	return func(ctx context.Context) error {
		result, err := runner.Run(ctx, s.deps.Host, u)
		if err != nil || result.Outcome == runner.Success {
			return err
		}
		text := "the command ended with " + result.Exit.Text()
		if said := lastLine(result.Diagnostics); said != "" {
			text += ": " + said
		}
		return errors.New(text)
	}
}

// lastLine returns the last line that is not blank.
func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}
