package supervise

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"time"

	"procops/internal/proc"
	"procops/internal/runner"
)

// execLimit is how long the command of an exec link may take.
const execLimit = time.Minute

// verdict is what a chain has decided about an end.
type verdict int

const (
	verdictOpen    verdict = iota // no link has settled it
	verdictSettled                // settled: the parent does not hear of it
	verdictRetry                  // to be started again
	verdictRaise                  // to be handed to the parent
)

// chain is where a process or group is in its chain of reactions: how often
// each retry link was used, and the command of an exec link that runs now.
type chain struct {
	used   map[int]int // by the link's place
	number int         // of the walk, so that a walk that was stopped is told apart
	cancel context.CancelFunc
}

// busy reports whether a command of the chain runs now.
func (c *chain) busy() bool { return c.cancel != nil }

// stop ends the walk along the chain; its verdict will not come.
func (c *chain) stop() {
	c.number++
	if c.cancel != nil {
		c.cancel()
		c.cancel = nil
	}
}

// reset forgets the retries.
func (c *chain) reset() { c.used = nil }

// retry takes one of the retries of the i-th link, if one is left.
func (c *chain) retry(i, limit int) bool {
	if c.used[i] >= limit {
		return false
	}
	if c.used == nil {
		c.used = map[int]int{}
	}
	c.used[i]++
	return true
}

// attempts returns how many retries were taken.
func (c *chain) attempts() int {
	n := 0
	for _, used := range c.used {
		n += used
	}
	return n
}

// walk tries the links in order and calls done, in the loop, with what they
// decide. It is called at once unless a link runs a command.
func (s *Supervisor) walk(c *chain, links []LinkConfig, f Failure, done func(verdict, Failure)) {
	c.stop()
	s.walkFrom(0, c, links, f, done)
}

func (s *Supervisor) walkFrom(i int, c *chain, links []LinkConfig, f Failure, done func(verdict, Failure)) {
	if i == len(links) {
		done(verdictOpen, f)
		return
	}
	next := func() {
		if links[i].Settle {
			done(verdictSettled, f)
			return
		}
		s.walkFrom(i+1, c, links, f, done)
	}
	switch l := links[i]; {
	case l.Raise:
		done(verdictRaise, f)
	case l.Retry > 0 && c.retry(i, l.Retry):
		done(verdictRetry, f)
	case l.Log != "":
		s.journal.emit(eventLog.New(f.Process, linkData{Message: f.fill(l.Log)}))
		next()
	case len(l.Exec) > 0:
		s.execLink(c, l.Exec, f, next)
	default:
		next()
	}
}

// execLink runs the command of a link and then goes on, unless the walk has
// been stopped meanwhile.
func (s *Supervisor) execLink(c *chain, command proc.Command, f Failure, next func()) {
	ctx, cancel := context.WithTimeout(s.ctx, execLimit)
	c.cancel = cancel
	number := c.number
	s.workers.Go(func() {
		defer cancel()
		s.exec(ctx, "on behalf of "+f.Process, command, f.env(), f.json())
		s.post(func() {
			if c.number == number {
				c.cancel = nil
				next()
			}
		})
	})
}

// exec runs a command of the config that is not part of the tree, until ctx ends,
// and logs its failure and what it prints.
func (s *Supervisor) exec(ctx context.Context, why string, command proc.Command, env []string, input []byte) {
	result, err := runner.Run(ctx, s.deps.Host, runner.Unit{
		Command: command,
		Env:     mergeEnv(env),
		Input:   bytes.NewReader(input),
	})
	log := s.deps.Log.With().Str("command", command.String()).Str("why", why).Logger()
	switch {
	case err != nil:
		log.Error().Err(err).Msg("cannot run command")
	case result.Outcome != runner.Success:
		log.Warn().Str("exit", result.Exit.Text()).Str("stderr", strings.TrimSpace(result.Diagnostics)).Msg("command failed")
	case len(result.Output) > 0:
		log.Info().Msg(strings.TrimSpace(string(result.Output)))
	}
}

// env returns the failure as variables for a command.
func (f Failure) env() []string {
	return []string{
		"PROCOPS_PROCESS=" + f.Process,
		"PROCOPS_PID=" + strconv.Itoa(f.PID),
		"PROCOPS_EXIT_CODE=" + strconv.Itoa(f.Code),
		"PROCOPS_EXIT_TEXT=" + f.Text,
	}
}

// fill fills a template of the config in with the failure.
func (f Failure) fill(template string) string {
	return strings.NewReplacer(
		"{{name}}", f.Process,
		"{{pid}}", strconv.Itoa(f.PID),
		"{{exit_code}}", strconv.Itoa(f.Code),
		"{{exit_text}}", f.Text,
	).Replace(template)
}
