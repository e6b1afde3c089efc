package gearman

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"procops/internal/fault"
	"procops/internal/gearman/wire"
	"procops/internal/unit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is how a server of these tests treats one connection.
type script func(t *testing.T, c *peer)

// peer is the server's end of a connection.
type peer struct {
	net.Conn
	reader *wire.Reader
}

// want waits for a packet of a type and returns it.
func (p *peer) want(t *testing.T, typ wire.Type) *wire.Packet {
	t.Helper()
	packet, err := p.reader.Next()
	if err != nil {
		t.Errorf("the server gets %v, wants %s", err, typ)
		return &wire.Packet{}
	}
	if packet.Type != typ {
		t.Errorf("the server gets %s, wants %s", packet.Type, typ)
	}
	return packet
}

func (p *peer) say(t *testing.T, typ wire.Type, args ...string) {
	t.Helper()
	packet, err := wire.Append(nil, wire.Response, typ, args...)
	if err != nil {
		t.Error(err)
		return
	}
	_, _ = p.Write(packet) // the client may have gone
}

// untilGone waits until the client closes the connection.
func (p *peer) untilGone() { _, _ = io.Copy(io.Discard, p) }

// serve runs a server that treats its connections one after the other as the
// scripts say, and refuses more.
func serve(t *testing.T, scripts ...script) Address {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		defer func() { _ = l.Close() }()
		for _, s := range scripts {
			conn, err := l.Accept()
			if err != nil {
				t.Errorf("the server is asked too seldom: %v", err)
				return
			}
			s(t, &peer{conn, wire.NewReader(conn, wire.Request, 0)})
			_ = conn.Close()
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		done.Wait()
	})
	return Address(l.Addr().String())
}

// nobody returns an address on which nobody listens.
func nobody(t *testing.T) Address {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return Address(l.Addr().String())
}

func client(servers ...Address) *Client {
	return NewClient(Config{Servers: servers, ConnectTimeout: unit.Duration(10 * time.Second), AnswerTimeout: unit.Duration(10 * time.Second)})
}

// takes is a server's script that takes a background job.
func takes(id string) script {
	return func(t *testing.T, c *peer) {
		c.want(t, wire.SubmitJobBg)
		c.say(t, wire.JobCreated, id)
		c.untilGone()
	}
}

func TestSubmitTriesTheNext(t *testing.T) {
	for name, first := range map[string]func(t *testing.T) Address{
		"down": nobody,
		"queue full": func(t *testing.T) Address {
			return serve(t, func(t *testing.T, c *peer) {
				c.want(t, wire.SubmitJobBg)
				c.say(t, wire.Error, "QUEUE_ERROR", "Job queue is full")
				c.untilGone()
			})
		},
	} {
		second := serve(t, takes("H:b:1"))
		h, err := client(first(t), second).SubmitBackground(t.Context(), Job{Function: "f"})
		if want := (Handle{second, "H:b:1"}); err != nil || h != want {
			t.Errorf("%s: %v, %v", name, h, err)
		}
	}
}

func TestSubmitNobodyTakes(t *testing.T) {
	full := func(t *testing.T, c *peer) {
		c.want(t, wire.SubmitJobBg)
		c.say(t, wire.Error, "QUEUE_ERROR", "Job queue is full")
		c.untilGone()
	}
	for name, c := range map[string]struct {
		servers []Address
		kind    fault.Kind
		hints   int
	}{
		"one down":       {[]Address{nobody(t)}, fault.Unreachable, 1},
		"two down":       {[]Address{nobody(t), nobody(t)}, fault.Unreachable, 1},
		"full":           {[]Address{serve(t, full)}, fault.Failure, 0},
		"both full":      {[]Address{serve(t, full), serve(t, full)}, fault.Failure, 0},
		"full, and down": {[]Address{serve(t, full), nobody(t)}, fault.Unreachable, 1},
	} {
		_, err := client(c.servers...).SubmitBackground(t.Context(), Job{Function: "f"})
		if !fault.Is(err, c.kind) || len(fault.Hints(err)) != c.hints {
			t.Errorf("%s: %v (%d), hints %q", name, err, fault.ExitCode(err), fault.Hints(err))
			continue
		}
		for _, server := range c.servers {
			if !strings.Contains(err.Error(), string(server)+": ") {
				t.Errorf("%s: %v does not tell of %s", name, err, server)
			}
		}
	}
}

// TestSubmitOnce has a server go away, or answer nonsense, when it may have
// accepted the job: no other server may get it then.
func TestSubmitOnce(t *testing.T) {
	after := func(say string) script {
		return func(t *testing.T, c *peer) {
			c.want(t, wire.SubmitJobBg)
			_, _ = io.WriteString(c, say)
		}
	}
	for name, c := range map[string]struct {
		say  string
		want string
	}{
		"closes at once":   {"", "it has closed the connection"},
		"closes in header": {"\x00RES\x00\x00", "it has closed the connection"},
		"closes in body":   {"\x00RES\x00\x00\x00\x08\x00\x00\x00\x06H:v", "it has closed the connection"},
		"garbage":          {"HTTP/1.1 400 Bad Request\r\n", `not a Gearman packet: it begins with "HTTP"`},
		"unknown type":     {"\x00RES\x00\x00\x00\x63\x00\x00\x00\x00", "unknown type of packet: type 99"},
		"wrong answer":     {"\x00RES\x00\x00\x00\x0a\x00\x00\x00\x00", "NO_JOB instead of JOB_CREATED"},
		"request":          {"\x00REQ\x00\x00\x00\x08\x00\x00\x00\x01x", "not a Gearman packet"},
		"empty handle":     {"\x00RES\x00\x00\x00\x08\x00\x00\x00\x00", "invalid handle"},
		"evil handle":      {"\x00RES\x00\x00\x00\x08\x00\x00\x00\x05H\x1b[2J", "invalid handle"},
		"huge handle":      {"\x00RES\x00\x00\x00\x08\xff\xff\xff\xff" + strings.Repeat("x", 70000), "JOB_CREATED with 4294967295 bytes"},
	} {
		server := serve(t, after(c.say))
		_, err := client(server, "127.0.0.1:1").SubmitBackground(t.Context(), Job{Function: "f"})
		if err == nil || !fault.Is(err, fault.Unreachable) || !strings.Contains(err.Error(), c.want) ||
			!strings.HasPrefix(err.Error(), `cannot submit job "f": no answer whether the job was accepted: `+string(server)+": ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSubmitRefused(t *testing.T) {
	server := serve(t, func(t *testing.T, c *peer) {
		c.want(t, wire.SubmitJobBg)
		c.say(t, wire.Error, "ARGUMENT_TOO_LARGE", "\x1b[2JUnique\nvalue too large")
		c.untilGone()
	})
	_, err := client(server, "127.0.0.1:1").SubmitBackground(t.Context(), Job{Function: "f"})
	refusal, ok := errors.AsType[*ServerError](err)
	if !ok || refusal.Code != "ARGUMENT_TOO_LARGE" || fault.ExitCode(err) != int(fault.Failure) || strings.ContainsAny(err.Error(), "\x1b\n") {
		t.Errorf("%v", err)
	}
}

// TestEachJobHasItsKey looks at what goes out.
func TestEachJobHasItsKey(t *testing.T) {
	var keys []string
	reads := func(t *testing.T, c *peer) {
		p := c.want(t, wire.SubmitJobBg)
		keys = append(keys, string(p.Arg(1)))
		c.say(t, wire.JobCreated, "H:1")
		c.untilGone()
	}
	c := client(serve(t, slices.Repeat([]script{reads}, 3)...))
	for _, unique := range []string{"", "", "mine"} {
		if _, err := c.SubmitBackground(t.Context(), Job{Function: "f", Unique: unique}); err != nil {
			t.Fatal(err)
		}
	}
	if keys[0] == keys[1] || len(keys[0]) < 20 || len(keys[0]) > 64 || keys[2] != "mine" {
		t.Errorf("%q", keys)
	}
}

func TestSubmissions(t *testing.T) {
	at := time.Unix(1900000000, 1)
	for typ, job := range map[wire.Type]Job{
		wire.SubmitJobBg:     {},
		wire.SubmitJobLowBg:  {Priority: Low},
		wire.SubmitJobHighBg: {Priority: High},
		wire.SubmitJobEpoch:  {At: at},
	} {
		server := serve(t, func(t *testing.T, c *peer) {
			p := c.want(t, typ)
			if typ == wire.SubmitJobEpoch && string(p.Arg(2)) != "1900000001" {
				t.Errorf("at %s, want the next full second", p.Arg(2))
			}
			if data, err := p.Data(); err != nil || string(p.Arg(0)) != "f" || string(data) != "a\x00b" {
				t.Errorf("%s %q %q %v", typ, p.Arg(0), data, err)
			}
			c.say(t, wire.JobCreated, "H:1")
			c.untilGone()
		})
		job.Function, job.Workload = "f", []byte("a\x00b")
		if _, err := client(server).SubmitBackground(t.Context(), job); err != nil {
			t.Errorf("%s: %v", typ, err)
		}
	}
	for _, job := range []Job{{}, {Function: "a\x00b"}, {Function: "f", Unique: "\x00"}, {Function: "f", At: at, Priority: Low}} {
		if _, err := client("127.0.0.1:1").SubmitBackground(t.Context(), job); !fault.Is(err, fault.Usage) {
			t.Errorf("%+v: %v", job, err)
		}
	}
	if err := client("127.0.0.1:1").Execute(t.Context(), Job{Function: "f", At: at}, nil); !fault.Is(err, fault.Usage) {
		t.Errorf("foreground, later: %v", err)
	}
}

// executes is a server's script that takes a foreground job H:1.
func executes(then script) script {
	return func(t *testing.T, c *peer) {
		c.want(t, wire.OptionReq)
		c.say(t, wire.OptionRes, "exceptions")
		c.want(t, wire.SubmitJob)
		c.say(t, wire.JobCreated, "H:1")
		then(t, c)
	}
}

// execute runs a job and returns its updates, one a line.
func execute(t *testing.T, c *Client) (string, error) {
	t.Helper()
	var told strings.Builder
	err := c.Execute(t.Context(), Job{Function: "f"}, func(u Update) error {
		fmt.Fprintf(&told, "%s", u.Kind)
		if u.Data != nil {
			data, err := io.ReadAll(u.Data)
			if err != nil {
				return err
			}
			fmt.Fprintf(&told, " %q", data)
		}
		if u.Kind == Progress {
			fmt.Fprintf(&told, " %d/%d", u.Numerator, u.Denominator)
		}
		told.WriteString("\n")
		return nil
	})
	return told.String(), err
}

func TestExecute(t *testing.T) {
	server := serve(t, executes(func(t *testing.T, c *peer) {
		c.say(t, wire.WorkData, "H:1", "a\x00b")
		c.say(t, wire.WorkWarning, "H:1", "hm")
		c.say(t, wire.WorkStatus, "H:1", "1", "2")
		c.say(t, wire.WorkStatus, "H:1", "half", "-1")
		c.say(t, wire.WorkComplete, "H:1", "")
		c.untilGone()
	}))
	told, err := execute(t, client(server))
	want := "created\ndata \"a\\x00b\"\nwarning \"hm\"\nprogress 1/2\nprogress 0/0\ncomplete \"\"\n"
	if err != nil || told != want {
		t.Errorf("%v\n%s", err, told)
	}
}

func TestExecuteEnds(t *testing.T) {
	for name, c := range map[string]struct {
		end  script
		want string
		kind fault.Kind
	}{
		"failed": {
			func(t *testing.T, c *peer) { c.say(t, wire.WorkFail, "H:1"); c.untilGone() },
			"//H:1 has failed", fault.Failure,
		},
		"exception": {
			func(t *testing.T, c *peer) { c.say(t, wire.WorkException, "H:1", "out of\nluck"); c.untilGone() },
			`//H:1 has failed with an exception: "out of\nluck"`, fault.Failure,
		},
		"server gone": {
			func(*testing.T, *peer) {},
			"cannot wait for job H:1: 127.0.0.1:", fault.Unreachable,
		},
		"gone in small data": {
			func(_ *testing.T, c *peer) {
				_, _ = io.WriteString(c, "\x00RES\x00\x00\x00\x1c\x00\x00\x00\x0aH:1\x00")
			},
			"it has closed the connection", fault.Unreachable,
		},
		"gone in large data": {
			func(_ *testing.T, c *peer) {
				_, _ = io.WriteString(c, "\x00RES\x00\x00\x00\x1c\x00\x10\x00\x00H:1\x00"+strings.Repeat("x", 50000))
			},
			"it has closed the connection", fault.Unreachable,
		},
		"another job": {
			func(t *testing.T, c *peer) { c.say(t, wire.WorkComplete, "H:2", "x"); c.untilGone() },
			`WORK_COMPLETE for H:2`, fault.Unreachable,
		},
		"another job fails": {
			func(t *testing.T, c *peer) { c.say(t, wire.WorkFail, "H:2"); c.untilGone() },
			`WORK_FAIL for H:2`, fault.Unreachable,
		},
		"out of order": {
			func(t *testing.T, c *peer) { c.say(t, wire.JobCreated, "H:2"); c.untilGone() },
			`JOB_CREATED while a job runs`, fault.Unreachable,
		},
		"garbage": {
			func(_ *testing.T, c *peer) { _, _ = io.WriteString(c, "garbage") },
			"not a Gearman packet", fault.Unreachable,
		},
	} {
		server := serve(t, executes(c.end))
		told, err := execute(t, client(server, "127.0.0.1:1"))
		if !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(told, "created\n") {
			t.Errorf("%s: %v\n%s", name, err, told)
		}
	}
}

// TestExecuteWithoutExceptions has a server that knows no options.
func TestExecuteWithoutExceptions(t *testing.T) {
	server := serve(t, func(t *testing.T, c *peer) {
		c.want(t, wire.OptionReq)
		c.say(t, wire.Error, "UNKNOWN_OPTION", "what?")
		c.want(t, wire.SubmitJob)
		c.say(t, wire.JobCreated, "H:1")
		c.say(t, wire.WorkComplete, "H:1", "done")
		c.untilGone()
	})
	if told, err := execute(t, client(server)); err != nil || told != "created\ncomplete \"done\"\n" {
		t.Errorf("%v\n%s", err, told)
	}
}

// TestExecuteLarge streams a result that is larger than any buffer, and sends
// a workload of that size.
func TestExecuteLarge(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789abcde\x00"), 1<<18)
	server := serve(t, func(t *testing.T, c *peer) {
		c.want(t, wire.OptionReq)
		c.say(t, wire.OptionRes, "exceptions")
		data, err := c.want(t, wire.SubmitJob).Data()
		if err != nil {
			t.Error(err)
		}
		c.say(t, wire.JobCreated, "H:1")
		c.say(t, wire.WorkComplete, "H:1", string(data))
		c.untilGone()
	})
	var result bytes.Buffer
	err := client(server).Execute(t.Context(), Job{Function: "f", Workload: large}, func(u Update) error {
		if u.Kind != Complete {
			return nil
		}
		if u.Size != int64(len(large)) {
			t.Errorf("size %d", u.Size)
		}
		_, err := io.Copy(&result, u.Data)
		return err
	})
	if err != nil || !bytes.Equal(result.Bytes(), large) {
		t.Errorf("%v, %d bytes", err, result.Len())
	}
}

func TestExecuteStopsWithItsObserver(t *testing.T) {
	enough := errors.New("enough")
	server := serve(t, executes(func(t *testing.T, c *peer) {
		c.say(t, wire.WorkData, "H:1", "x")
		c.untilGone()
	}))
	err := client(server).Execute(t.Context(), Job{Function: "f"}, func(u Update) error {
		if u.Kind == Data {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Error(err)
	}
}

// TestContextEnds has servers that say nothing: only the context ends it.
func TestContextEnds(t *testing.T) {
	over := errors.New("over")
	for name, call := range map[string]func(ctx context.Context, c *Client) error{
		"submit": func(ctx context.Context, c *Client) error {
			_, err := c.SubmitBackground(ctx, Job{Function: "f"})
			return err
		},
		"submit much": func(ctx context.Context, c *Client) error {
			_, err := c.SubmitBackground(ctx, Job{Function: "f", Workload: make([]byte, 64<<20)})
			return err
		},
		"execute": func(ctx context.Context, c *Client) error {
			return c.Execute(ctx, Job{Function: "f"}, func(Update) error { return nil })
		},
		"status": func(ctx context.Context, c *Client) error {
			_, err := c.Status(ctx, Handle{ID: "H:1"})
			return err
		},
		"ping": func(ctx context.Context, c *Client) error { _, err := c.Ping(ctx, c.Servers()[0], 1); return err },
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		server := serve(t, func(_ *testing.T, c *peer) {
			_, _ = c.Read(make([]byte, 4))
			cancel(over)
			if name != "submit much" {
				c.untilGone()
			}
		})
		if err := call(ctx, client(server, "127.0.0.1:1")); !errors.Is(err, over) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSilentServer has servers that accept a connection and nothing more.
func TestSilentServer(t *testing.T) {
	silent := func(_ *testing.T, c *peer) { c.untilGone() }
	c := client(serve(t, slices.Repeat([]script{silent}, 3)...))
	c.cfg.AnswerTimeout = unit.Duration(20 * time.Millisecond)
	want := "no answer within 20ms"
	if _, err := c.SubmitBackground(t.Context(), Job{Function: "f"}); !fault.Is(err, fault.Unreachable) || !strings.HasSuffix(err.Error(), want) {
		t.Error(err)
	}
	if _, err := c.Ping(t.Context(), c.Servers()[0], 1); !fault.Is(err, fault.Unreachable) || !strings.HasSuffix(err.Error(), want) {
		t.Error(err)
	}
	// For an answer about the exceptions, too; then the next server is asked.
	c.cfg.Servers = append(c.cfg.Servers, serve(t, func(t *testing.T, c *peer) {
		c.want(t, wire.OptionReq)
		c.say(t, wire.OptionRes, "exceptions")
		c.want(t, wire.SubmitJob)
		c.say(t, wire.JobCreated, "H:1")
		c.say(t, wire.WorkComplete, "H:1", "")
		c.untilGone()
	}))
	if _, err := execute(t, c); err != nil {
		t.Error(err)
	}
}

func TestStatus(t *testing.T) {
	answers := func(fields ...string) script {
		return func(t *testing.T, c *peer) {
			c.want(t, wire.GetStatus)
			c.say(t, wire.StatusRes, fields...)
			c.untilGone()
		}
	}
	unknown, running := answers("H:1", "0", "0", "0", "0"), answers("H:1", "1", "1", "5", "10")
	first, second := serve(t, unknown), serve(t, running)
	s, err := client(nobody(t), first, second).Status(t.Context(), Handle{ID: "H:1"})
	want := Status{Handle: Handle{second, "H:1"}, Known: true, Running: true, Numerator: 5, Denominator: 10}
	if err != nil || s != want || s.State() != StateRunning {
		t.Errorf("%+v, %v", s, err)
	}
	// A handle with its server asks that one alone.
	only := serve(t, unknown)
	s, err = client("127.0.0.1:1").Status(t.Context(), Handle{only, "H:1"})
	if err != nil || s.Known || s.State() != StateUnknown || s.Handle.Server != only {
		t.Errorf("%+v, %v", s, err)
	}
	// One that cannot be asked may know it.
	if s, err := client(serve(t, unknown), nobody(t)).Status(t.Context(), Handle{ID: "H:1"}); !fault.Is(err, fault.Unreachable) {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := client(serve(t, answers("H:2", "1", "1", "5", "10"))).Status(t.Context(), Handle{ID: "H:1"}); !fault.Is(err, fault.Unreachable) {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestPing(t *testing.T) {
	echo := func(change string) script {
		return func(t *testing.T, c *peer) {
			text, err := c.want(t, wire.EchoReq).Data()
			if err != nil {
				t.Error(err)
			}
			c.say(t, wire.EchoRes, string(text)+change)
			c.untilGone()
		}
	}
	c := client(serve(t, echo(""), echo("x")))
	if took, err := c.Ping(t.Context(), c.Servers()[0], 1); err != nil || len(took) != 1 || took[0] <= 0 {
		t.Error(took, err)
	}
	if _, err := c.Ping(t.Context(), c.Servers()[0], 1); !fault.Is(err, fault.Unreachable) {
		t.Error(err)
	}
}
