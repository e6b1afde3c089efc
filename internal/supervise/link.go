package supervise

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"procops/internal/event"
	"procops/internal/fault"
	"procops/internal/webhook"
)

const (
	// execLimit is how long the command of an exec link may take.
	execLimit = time.Minute
	// handLimit is how long a task or job may take to be handed over, all attempts
	// together.
	handLimit = 30 * time.Second
	// handAttempts is how often it is tried, with handWait after the first attempt
	// and twice as long after each further one.
	handAttempts = 4
	handWait     = 250 * time.Millisecond
)

// errNoQueue says that nothing takes the tasks or jobs of links.
var errNoQueue = errors.New("this procops has nothing that takes it")

// work is what a link does beside the loop.
type work struct {
	link   string // its key
	target string // what it goes to, for people
	limit  time.Duration
	do     func(context.Context) error
}

// work returns what a link has to do with a failure; nil if that is not done
// beside the loop.
func (s *Supervisor) work(l LinkConfig, f Failure) *work {
	switch {
	case len(l.Exec) > 0:
		return &work{"exec", l.Exec.String(), execLimit, func(ctx context.Context) error {
			return s.exec(ctx, "on behalf of "+f.subject(), l.Exec, f.env(), f.json())
		}}
	case l.Webhook != nil:
		return &work{"webhook", l.Webhook.URL.Masked(), l.Webhook.Limit(), func(ctx context.Context) error {
			return f.post(ctx, *l.Webhook)
		}}
	case l.Task != nil:
		return &work{"task", l.Task.Type, handLimit, func(ctx context.Context) error {
			return s.pushTask(ctx, *l.Task, f)
		}}
	case l.Job != nil:
		return &work{"job", l.Job.Function, handLimit, func(ctx context.Context) error {
			return s.submitJob(ctx, *l.Job, f)
		}}
	default:
		return nil
	}
}

// aside does the work of a link beside the loop and then goes on, unless the walk
// has been stopped meanwhile. A link that fails is told of; the next one takes
// over all the same.
func (s *Supervisor) aside(c *chain, w *work, f Failure, next func()) {
	ctx, cancel := context.WithTimeout(s.ctx, w.limit)
	c.cancel = cancel
	number := c.number
	s.workers.Go(func() {
		defer cancel()
		err := w.do(ctx)
		if err != nil {
			s.logLink(w.link, f, err)
		}
		s.post(func() {
			if err != nil {
				s.journal.emit(eventLinkFailed.New(f.subject(), linkFailedData{Link: w.link, Target: w.target, Error: err.Error()}))
			}
			if c.number == number {
				c.cancel = nil
				next()
			}
		})
	})
}

func (s *Supervisor) logLink(link string, f Failure, err error) {
	s.deps.Log.Warn().Err(err).Str("link", link).Str("chain", f.subject()).Msg("a link of a chain has failed")
}

// post posts the failure to a webhook.
func (f Failure) post(ctx context.Context, cfg webhook.Config) error {
	sender, err := webhook.NewSender(cfg)
	if err != nil {
		return err
	}
	defer sender.Close()
	m, err := webhook.NewMessage("supervise", event.Event{Type: f.kind(), Subject: f.subject(), Time: f.Time, Data: f})
	if err != nil {
		return err
	}
	return sender.Send(ctx, m)
}

// kind is the type of the event that others are told of.
func (f Failure) kind() string {
	what, how := "process", "failed"
	if f.Group != "" {
		what = "group"
	}
	if f.good {
		how = "passed"
	}
	return "supervise." + what + "." + how
}

// subject is whose chain deals with the failure.
func (f Failure) subject() string {
	if f.Group != "" {
		return f.Group
	}
	return f.Process
}

func (s *Supervisor) pushTask(ctx context.Context, t TaskLink, f Failure) error {
	if s.deps.PushTask == nil {
		return fmt.Errorf("cannot queue task %q: %w", t.Type, errNoQueue)
	}
	payload := f.json()
	if t.Params != nil {
		var err error
		if payload, err = json.Marshal(f.fillAll(map[string]any(t.Params))); err != nil {
			return fmt.Errorf("cannot encode the parameters of task %q: %w", t.Type, err)
		}
	}
	return patiently(ctx, func() error { return s.deps.PushTask(ctx, t, payload) })
}

func (s *Supervisor) submitJob(ctx context.Context, j JobLink, f Failure) error {
	if s.deps.SubmitJob == nil {
		return fmt.Errorf("cannot submit job %q: %w", j.Function, errNoQueue)
	}
	payload := f.json()
	if j.Workload != "" {
		payload = []byte(f.fill(j.Workload))
	}
	j.Unique = f.fill(j.Unique)
	if j.Unique == "" {
		j.Unique = rand.Text() // so that a second attempt does not make a second job
	}
	return patiently(ctx, func() error { return s.deps.SubmitJob(ctx, j, payload) })
}

// patiently tries a few times what may work later. It does not when the attempt was
// cut off, for then nobody knows how far it got, nor when what is asked for makes
// no sense.
func patiently(ctx context.Context, try func() error) error {
	wait := handWait
	for attempt := 1; ; attempt++ {
		err := try()
		if err == nil || ctx.Err() != nil || fault.Is(err, fault.Usage) || fault.Is(err, fault.NotFound) {
			return err
		}
		if attempt == handAttempts {
			return fmt.Errorf("%w (in the last of %d attempts)", err, attempt)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
		wait *= 2
	}
}

// fillAll fills the strings in a value of Params in.
func (f Failure) fillAll(value any) any {
	switch v := value.(type) {
	case string:
		return f.fill(v)
	case map[string]any:
		filled := maps.Clone(v)
		for key := range filled {
			filled[key] = f.fillAll(filled[key])
		}
		return filled
	case []any:
		filled := make([]any, len(v))
		for i := range v {
			filled[i] = f.fillAll(v[i])
		}
		return filled
	case []map[string]any:
		filled := make([]any, len(v))
		for i := range v {
			filled[i] = f.fillAll(v[i])
		}
		return filled
	default:
		return v
	}
}

// fill fills a template of the config in with the failure.
func (f Failure) fill(template string) string {
	return strings.NewReplacer(
		"{{name}}", f.Process,
		"{{pid}}", fmt.Sprint(f.PID),
		"{{exit_code}}", fmt.Sprint(f.Code),
		"{{exit_text}}", f.Text,
	).Replace(template)
}
