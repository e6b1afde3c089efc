package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"procops/internal/fault"
	"procops/internal/supervise"
)

func TestMain(m *testing.M) {
	if path := os.Getenv("CONTROL_TEST_SERVE"); path != "" {
		serveForTest(path)
		return
	}
	goleak.VerifyTestMain(m)
}

// deadline is how long a test waits for what must happen.
const deadline = 10 * time.Second

// fake is a supervisor of nothing. Its methods that are nil must not be called.
type fake struct {
	status   func(context.Context) (supervise.Status, error)
	do       func(context.Context, supervise.Request) ([]supervise.Result, error)
	scale    func(context.Context, supervise.ScaleRequest) ([]supervise.Result, error)
	logs     func(context.Context, supervise.LogRequest, func(supervise.LogLine) error) error
	wait     func(context.Context, []string) error
	reload   func(context.Context, bool) (supervise.Plan, error)
	shutdown func(context.Context) error
}

func (f *fake) Status(ctx context.Context) (supervise.Status, error) { return f.status(ctx) }

func (f *fake) Reload(ctx context.Context, dryRun bool) (supervise.Plan, error) {
	return f.reload(ctx, dryRun)
}

func (f *fake) Do(ctx context.Context, r supervise.Request) ([]supervise.Result, error) {
	return f.do(ctx, r)
}

func (f *fake) Scale(ctx context.Context, r supervise.ScaleRequest) ([]supervise.Result, error) {
	return f.scale(ctx, r)
}

func (f *fake) Logs(ctx context.Context, r supervise.LogRequest, emit func(supervise.LogLine) error) error {
	return f.logs(ctx, r, emit)
}

func (f *fake) WaitReady(ctx context.Context, names []string) error { return f.wait(ctx, names) }

func (f *fake) Upgrade(context.Context, string) error { return nil }

func (f *fake) Shutdown(ctx context.Context) error { return f.shutdown(ctx) }

// healthy answers to status.
func healthy() *fake {
	return &fake{status: func(context.Context) (supervise.Status, error) { return supervise.Status{PID: 42}, nil }}
}

func testLimits() limits {
	l := defaultLimits()
	l.request, l.write, l.linger = 200*time.Millisecond, 200*time.Millisecond, 200*time.Millisecond
	return l
}

// serve serves s until the test ends and returns the path of the socket.
func serve(t *testing.T, s Supervisor, l limits) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "supervise.sock")
	listener, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- newServer(s, zerolog.New(zerolog.NewTestWriter(t)), l).Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := within(t, ended); err != nil {
			t.Errorf("serve: %v", err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	return path
}

func within[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(deadline):
		t.Fatal("it did not happen in time")
		panic("unreachable")
	}
}

func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	return ctx
}

// mustAnswer fails the test unless the server answers.
func mustAnswer(t *testing.T, path string) {
	t.Helper()
	status, err := Dial(path).Status(limited(t))
	if err != nil || status.PID != 42 {
		t.Errorf("status: %d, %v", status.PID, err)
	}
}

func TestEverythingGetsThrough(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	status := supervise.Status{
		PID: 7, Started: now, StateDir: "/x", Processes: []supervise.ProcessStatus{{
			Name: "web", State: supervise.StateRunning, Wanted: true, Since: now, CPU: 0.25, Memory: 1 << 40,
			LastExit: &supervise.ExitStatus{Code: 143, Signal: "TERM", Text: "143 Termination", Time: now},
		}},
		Tree: []supervise.Node{{Name: "g", Group: true, State: supervise.StateFatal, Children: []supervise.Node{{Name: "web", State: supervise.StateRunning}}}},
	}
	lines := []supervise.LogLine{
		{Time: now, Name: "web", Stream: "stdout", Text: "ünï\t\"x\"\x00<&>\u2028"},
		{Time: now, Name: "web", Stream: "stderr"},
	}
	wantRequest := supervise.Request{Action: supervise.ActionSignal, Names: []string{"a", "b"}, All: true, Signal: "HUP", NoWait: true, Rolling: true}
	wantScale := supervise.ScaleRequest{Instances: map[string]int{"a": 3, "b": 0}, NoWait: true}
	wantResults := []supervise.Result{{Name: "a", State: supervise.StateFatal, PID: 3, OK: true, Note: "n"}}
	wantLogs := supervise.LogRequest{Names: []string{"web"}, Lines: 3}
	asked := 0
	client := Dial(serve(t, &fake{
		status: func(context.Context) (supervise.Status, error) { return status, nil },
		do: func(_ context.Context, r supervise.Request) ([]supervise.Result, error) {
			if !reflect.DeepEqual(r, wantRequest) {
				t.Errorf("asked for %+v", r)
			}
			return wantResults, nil
		},
		scale: func(_ context.Context, r supervise.ScaleRequest) ([]supervise.Result, error) {
			if !reflect.DeepEqual(r, wantScale) {
				t.Errorf("asked for %+v", r)
			}
			return wantResults, nil
		},
		logs: func(_ context.Context, r supervise.LogRequest, emit func(supervise.LogLine) error) error {
			if !reflect.DeepEqual(r, wantLogs) {
				t.Errorf("asked for %+v", r)
			}
			return errors.Join(emit(lines[0]), emit(lines[1]))
		},
		wait: func(_ context.Context, names []string) error {
			if !reflect.DeepEqual(names, []string{"x", "y"}) {
				t.Errorf("asked to wait for %q", names)
			}
			return nil
		},
		shutdown: func(context.Context) error { asked++; return nil },
	}, testLimits()))

	if got, err := client.Status(limited(t)); err != nil || !reflect.DeepEqual(got, status) {
		t.Errorf("status: got %+v, %v", got, err)
	}
	if got, err := client.Do(limited(t), wantRequest); err != nil || !reflect.DeepEqual(got, wantResults) {
		t.Errorf("do: got %+v, %v", got, err)
	}
	if got, err := client.Scale(limited(t), wantScale); err != nil || !reflect.DeepEqual(got, wantResults) {
		t.Errorf("scale: got %+v, %v", got, err)
	}
	var got []supervise.LogLine
	err := client.Logs(limited(t), wantLogs, func(l supervise.LogLine) error { got = append(got, l); return nil })
	if err != nil || !reflect.DeepEqual(got, lines) {
		t.Errorf("logs: got %+v, %v", got, err)
	}
	if err := client.WaitReady(limited(t), []string{"x", "y"}); err != nil {
		t.Errorf("wait: %v", err)
	}
	if err := client.Shutdown(limited(t)); err != nil || asked != 1 {
		t.Errorf("shutdown: asked %d times, %v", asked, err)
	}
}

func TestErrorsKeepKindMessageAndHint(t *testing.T) {
	cause := errors.New("the cause")
	for _, want := range []*fault.Error{
		{Kind: fault.Failure, Message: "a failure"},
		{Kind: fault.Usage, Message: "a usage error", Hint: "read the manual"},
		{Kind: fault.NotFound, Message: `there is no process "wep"`, Hint: `did you mean "web"?`},
		{Kind: fault.Conflict, Message: "a conflict", Cause: cause},
		{Kind: fault.Unreachable, Message: "far away"},
	} {
		t.Run(want.Message, func(t *testing.T) {
			client := Dial(serve(t, &fake{
				status: func(context.Context) (supervise.Status, error) { return supervise.Status{}, want },
				do: func(context.Context, supervise.Request) ([]supervise.Result, error) {
					return nil, fmt.Errorf("cannot do it: %w", want)
				},
				logs: func(_ context.Context, r supervise.LogRequest, emit func(supervise.LogLine) error) error {
					for range r.Lines {
						if err := emit(supervise.LogLine{}); err != nil {
							return err
						}
					}
					return want
				},
				wait:     func(context.Context, []string) error { return want },
				shutdown: func(context.Context) error { return want },
			}, testLimits()))
			_, statusErr := client.Status(limited(t))
			_, doErr := client.Do(limited(t), supervise.Request{})
			noLine := func(supervise.LogLine) error { return nil }
			for name, c := range map[string]struct {
				err    error
				prefix string
			}{
				"status":              {statusErr, ""},
				"do":                  {doErr, "cannot do it: "},
				"wait":                {client.WaitReady(limited(t), nil), ""},
				"shutdown":            {client.Shutdown(limited(t)), ""},
				"logs at once":        {client.Logs(limited(t), supervise.LogRequest{}, noLine), ""},
				"logs after 10 lines": {client.Logs(limited(t), supervise.LogRequest{Lines: 10}, noLine), ""},
			} {
				if !fault.Is(c.err, want.Kind) || c.err.Error() != c.prefix+want.Error() || strings.Join(fault.Hints(c.err), "") != want.Hint {
					t.Errorf("%s: got %d %v %q", name, fault.ExitCode(c.err), c.err, fault.Hints(c.err))
				}
			}
		})
	}
}

func TestFollowedLinesArriveAtOnce(t *testing.T) {
	next := make(chan string)
	gone := make(chan error, 1)
	client := Dial(serve(t, &fake{logs: func(ctx context.Context, _ supervise.LogRequest, emit func(supervise.LogLine) error) error {
		for {
			select {
			case text := <-next:
				if err := emit(supervise.LogLine{Text: text}); err != nil {
					return err
				}
			case <-ctx.Done():
				gone <- ctx.Err()
				return nil
			}
		}
	}}, testLimits()))
	ctx, cancel := context.WithCancel(limited(t))
	got := make(chan string)
	ended := make(chan error, 1)
	go func() {
		ended <- client.Logs(ctx, supervise.LogRequest{Follow: true}, func(l supervise.LogLine) error { got <- l.Text; return nil })
	}()
	for i := range 3 {
		next <- fmt.Sprint(i)
		if text := within(t, got); text != fmt.Sprint(i) {
			t.Errorf("got %q", text)
		}
	}
	cancel()
	if err := within(t, ended); !errors.Is(err, context.Canceled) {
		t.Errorf("logs: %v", err)
	}
	if err := within(t, gone); !errors.Is(err, context.Canceled) {
		t.Errorf("the supervisor's side: %v", err)
	}
}

func TestEmitEndsTheLogs(t *testing.T) {
	enough := errors.New("enough")
	client := Dial(serve(t, &fake{logs: func(_ context.Context, _ supervise.LogRequest, emit func(supervise.LogLine) error) error {
		for {
			if err := emit(supervise.LogLine{}); err != nil {
				return err
			}
		}
	}}, testLimits()))
	err := client.Logs(limited(t), supervise.LogRequest{Follow: true}, func(supervise.LogLine) error { return enough })
	if !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
}

func TestAnActionMayTakeLongerThanItsRequest(t *testing.T) {
	l := testLimits()
	l.request, l.write = 50*time.Millisecond, 50*time.Millisecond
	client := Dial(serve(t, &fake{do: func(ctx context.Context, _ supervise.Request) ([]supervise.Result, error) {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(8 * l.request):
			return []supervise.Result{{Name: "slow"}}, nil
		}
	}}, l))
	if got, err := client.Do(limited(t), supervise.Request{}); err != nil || len(got) != 1 {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestAnActionEndsWithItsClient(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan struct{})
	client := Dial(serve(t, &fake{do: func(ctx context.Context, _ supervise.Request) ([]supervise.Result, error) {
		close(begun)
		<-ctx.Done()
		close(ended)
		return nil, context.Cause(ctx)
	}}, testLimits()))
	ctx, cancel := context.WithCancelCause(limited(t))
	why := errors.New("Ctrl-C")
	answer := make(chan error, 1)
	go func() {
		_, err := client.Do(ctx, supervise.Request{})
		answer <- err
	}()
	within(t, begun)
	cancel(why)
	within(t, ended)
	if err := within(t, answer); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

// TestSilenceEndsAnOrder: a supervisor that is there and has stopped to answer is not
// waited for for ever, whatever it was asked; one that is slow with the order is.
func TestSilenceEndsAnOrder(t *testing.T) {
	hang := func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
	silent := &fake{
		status:   func(ctx context.Context) (supervise.Status, error) { return supervise.Status{}, hang(ctx) },
		do:       func(ctx context.Context, _ supervise.Request) ([]supervise.Result, error) { return nil, hang(ctx) },
		scale:    func(ctx context.Context, _ supervise.ScaleRequest) ([]supervise.Result, error) { return nil, hang(ctx) },
		wait:     func(ctx context.Context, _ []string) error { return hang(ctx) },
		reload:   func(ctx context.Context, _ bool) (supervise.Plan, error) { return supervise.Plan{}, hang(ctx) },
		shutdown: hang,
		logs: func(ctx context.Context, _ supervise.LogRequest, _ func(supervise.LogLine) error) error {
			return hang(ctx)
		},
	}
	client := Dial(serve(t, silent, testLimits()))
	client.look, client.silence = 10*time.Millisecond, 50*time.Millisecond
	for name, order := range map[string]func(context.Context) error{
		"do":       func(ctx context.Context) error { _, err := client.Do(ctx, supervise.Request{}); return err },
		"scale":    func(ctx context.Context) error { _, err := client.Scale(ctx, supervise.ScaleRequest{}); return err },
		"wait":     func(ctx context.Context) error { return client.WaitReady(ctx, nil) },
		"reload":   func(ctx context.Context) error { _, err := client.Reload(ctx, false); return err },
		"shutdown": client.Shutdown,
		"logs": func(ctx context.Context) error {
			return client.Logs(ctx, supervise.LogRequest{Follow: true}, func(supervise.LogLine) error { return nil })
		},
	} {
		var f *fault.Error
		if err := order(limited(t)); !errors.As(err, &f) || f.Kind != fault.Unreachable || !strings.Contains(f.Message, "has not answered for 50ms") {
			t.Errorf("%s: got %v", name, err)
		}
	}

	looked := make(chan struct{}, 2)
	slow := Dial(serve(t, &fake{
		status: func(context.Context) (supervise.Status, error) {
			select {
			case looked <- struct{}{}:
			default:
			}
			return supervise.Status{}, nil
		},
		do: func(ctx context.Context, _ supervise.Request) ([]supervise.Result, error) {
			for range cap(looked) {
				select {
				case <-looked:
				case <-ctx.Done():
					return nil, context.Cause(ctx)
				}
			}
			return []supervise.Result{{Name: "slow"}}, nil
		},
	}, testLimits()))
	slow.look = time.Millisecond
	if got, err := slow.Do(limited(t), supervise.Request{}); err != nil || len(got) != 1 {
		t.Errorf("slow: got %v, %v", got, err)
	}
}

func TestServerEndsItsAnswersWithItself(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listener, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	begun := make(chan struct{}, 2)
	server := NewServer(&fake{
		do: func(ctx context.Context, _ supervise.Request) ([]supervise.Result, error) {
			begun <- struct{}{}
			<-ctx.Done()
			return nil, context.Cause(ctx)
		},
		logs: func(ctx context.Context, _ supervise.LogRequest, _ func(supervise.LogLine) error) error {
			begun <- struct{}{}
			<-ctx.Done()
			return nil
		},
	}, zerolog.Nop())
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener) }()
	answers := make(chan error, 1)
	var clients sync.WaitGroup
	clients.Go(func() {
		_, err := Dial(path).Do(limited(t), supervise.Request{})
		answers <- err
	})
	clients.Go(func() {
		if err := Dial(path).Logs(limited(t), supervise.LogRequest{Follow: true}, nil); err != nil {
			t.Errorf("logs: %v", err)
		}
	})
	within(t, begun)
	within(t, begun)
	cancel()
	if err := within(t, served); err != nil {
		t.Errorf("serve: %v", err)
	}
	if err := within(t, answers); !fault.Is(err, fault.Unreachable) {
		t.Errorf("do: %v", err)
	}
	clients.Wait()
}

func TestNobodyThere(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	l, err := net.Listen("unix", stale) //nolint:noctx // it does not wait
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) //nolint:errcheck,forcetypeassert // that is what it is
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "none"), stale, filepath.Join(dir, "no", "where")} {
		client := Dial(path)
		_, statusErr := client.Status(limited(t))
		_, findErr := client.Find(limited(t))
		for _, err := range []error{statusErr, findErr, client.Shutdown(limited(t))} {
			want := fmt.Sprintf("no supervisor runs on state directory %q", filepath.Dir(path))
			if !fault.Is(err, fault.Unreachable) || err.Error() != want || len(fault.Hints(err)) != 1 {
				t.Errorf("got %d %v", fault.ExitCode(err), err)
			}
		}
	}
}
