package supervise

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"procops/internal/launch"
	"procops/internal/proc"
	"procops/internal/runner"
)

// verdict is what a chain has decided about an end.
type verdict int

const (
	verdictOpen    verdict = iota // no link has settled it
	verdictSettled                // settled: the parent does not hear of it
	verdictRetry                  // to be started again
	verdictRaise                  // to be handed to the parent
)

// chain is where a process or group is in its chain of reactions: how often
// each retry link was used, and the work of a link that is done beside the loop now.
type chain struct {
	used   map[int]int // by the link's place
	number int         // of the walk, so that a walk that was stopped is told apart
	cancel context.CancelFunc
}

// busy reports whether a link of the chain is at work now.
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
// decide. It is called at once unless a link has work to do beside the loop.
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
	default:
		if action, names := l.order(); len(names) > 0 {
			s.soon(func() { s.orderOthers(action, names, f) })
		}
		if w := s.work(l, f); w != nil {
			s.aside(c, w, f, next)
			return
		}
		next()
	}
}

// exec runs a command of the config that is not part of the tree, until ctx ends,
// and logs what it prints. It is killed when the tree is told to hurry.
func (s *Supervisor) exec(ctx context.Context, why string, command proc.Command, env []string, input []byte) error {
	result, err := runner.Run(ctx, s.deps.Host, runner.Unit{
		Command: command,
		Env:     launch.MergeEnv(env),
		Input:   bytes.NewReader(input),
		Hurry:   s.ctx.Done(),
	})
	if err != nil {
		return err
	}
	if said := strings.TrimSpace(string(result.Output)); said != "" {
		s.deps.Log.Info().Str("command", command.String()).Str("why", why).Msg(said)
	}
	if result.Outcome == runner.Success {
		return nil
	}
	text := "ended with " + result.Exit.Text()
	if said := lastLine(result.Diagnostics); said != "" {
		text += ": " + said
	}
	return fmt.Errorf("the command %q %s", command.String(), text)
}

// env returns the failure as variables for a command.
func (f Failure) env() []string {
	return []string{
		"PROCOPS_PROCESS=" + f.Process,
		"PROCOPS_PID=" + strconv.Itoa(f.PID),
		"PROCOPS_EXIT_CODE=" + strconv.Itoa(f.Code),
		"PROCOPS_EXIT_TEXT=" + f.Text,
		"PROCOPS_GROUP=" + f.Group,
	}
}
