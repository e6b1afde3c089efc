package supervise

import (
	"context"
	"errors"
	"slices"
	"sync"
	"syscall"
	"time"

	"procops/internal/fault"
	"procops/internal/launch"
	"procops/internal/proc"
	"procops/internal/unit"
)

// A service is what the same config says beside the tree. One that only waits for its time,
// such as a daemon, runs inside procops in the place of a process: what it starts are
// children of procops' own, and there is no process between. One that holds connections or
// data of others is a process of its own: procops again. The tree treats both as any other
// process.

// Service is the inside of a service that is about to run.
type Service interface {
	// Run runs it until it has ended; an error is a failure.
	Run() error
	// Signal tells it what a signal would tell a process: TERM and INT to stop, QUIT to
	// end when that loses nothing.
	Signal(sig proc.Signal)
	// Hurry kills what it is still stopping, or will be.
	Hurry()
	// Status says what it does, in a line for people.
	Status() string
}

// ServiceCalls are what a service tells.
type ServiceCalls struct {
	Ready  func()                                // once
	Output func(stream proc.Stream, data []byte) // bytes of its processes' output
}

// Hosted is a service in the config of the tree.
type Hosted struct {
	Instances   int           // of which each is a service; 0 and 1: one, without a number
	Command     proc.Command  // what is shown as its command
	Process     bool          // it is a process of its own: procops with the arguments of Command
	After       []string      // services that it is started after and stopped before, if they are in the tree
	Grace       unit.Duration // time to end
	Fingerprint string        // changes with all that makes it run in another way
}

// config is how the tree treats a service.
func (h Hosted) config(name string) ProcessConfig {
	c := ProcessConfig{
		Command: h.Command, Autostart: true, Restart: RestartOnFailure, SuccessCodes: []int{0},
		Backoff:      launch.Backoff{Initial: unit.Duration(time.Second), Factor: 2, Max: unit.Duration(time.Minute), Jitter: 0.1},
		HealthyAfter: unit.Duration(10 * time.Second),
		Ready:        ReadyConfig{Timeout: unit.Duration(time.Minute)},
		Stop:         StopConfig{Signal: proc.Signal(syscall.SIGTERM), Grace: h.Grace},
		Output:       OutputConfig{File: noFile},
		hosted:       hosted{name: name, fingerprint: h.Fingerprint, process: h.Process},
	}
	if h.Process {
		c.Restart = RestartAlways // it ends by itself to be started afresh
		// It says what it waits for, and goes on waiting: a restart would not bring it.
		c.Ready = ReadyConfig{Notify: true}
		c.Output = OutputConfig{Format: formatText, MaxSize: 10 << 20, MaxFiles: 5} // as those of processes
	}
	return c
}

// hosted says which service a process is; the zero value: none.
type hosted struct {
	name, fingerprint string
	process           bool // it has a process of its own
}

// inside reports whether it is a service without a process.
func (h hosted) inside() bool { return h.name != "" && !h.process }

// IsService reports whether c is a service, in an expanded config.
func (c ProcessConfig) IsService() bool { return c.hosted.name != "" }

// addHosted puts the services that have a place in the tree among the processes.
func (c *Config) addHosted() {
	placed := c.placedServices()
	for _, name := range placed {
		h := c.Hosted[name]
		add := func(one string) {
			p := h.config(one)
			for _, first := range h.After {
				if slices.Contains(placed, first) {
					p.DependsOn = append(p.DependsOn, DependencyConfig{Name: first, Condition: ConditionReady})
				}
			}
			c.Process[one] = p
		}
		if h.Instances <= 1 {
			add(name)
			continue
		}
		g := GroupConfig{Strategy: OneForOne, Restart: RestartNever}
		for n := range h.Instances {
			one := instanceName(name, n+1)
			g.Children = append(g.Children, one)
			add(one)
		}
		c.Group[name] = g
	}
}

// placedServices returns the services that some list of children names and that nothing
// else is called.
func (c *Config) placedServices() (names []string) {
	for _, name := range c.listed() {
		if _, known := c.Hosted[name]; known && c.free(name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// Places reports whether a name in some list of children means a service of that name.
func (c *Config) Places(service string) bool {
	return slices.Contains(c.listed(), service) && c.free(service)
}

// listed returns all names in lists of children.
func (c *Config) listed() []string {
	names := slices.Clone(c.Children)
	for _, g := range c.Group {
		names = append(names, g.Children...)
	}
	return names
}

// free reports whether no process or group has the name.
func (c *Config) free(name string) bool {
	_, process := c.Process[name]
	_, group := c.Group[name]
	return !process && !group
}

// child is what runs of a process: a process in the kernel, or a service.
type child interface {
	PID() int // 0: a service
	Identity() proc.Identity
	Started() time.Time
	Exited() <-chan struct{} // closed when it has ended
	Gone() <-chan struct{}   // closed when nothing of it is left
	Exit() proc.Exit         // valid then
	Includes(pid int) bool   // whether that process is part of it
	Signal(sig proc.Signal) error
	Stop(ctx context.Context, ladder proc.Ladder) error
	Pause()
	Resume()
}

// served is the child that is a service.
type served struct {
	service Service
	started time.Time
	ended   chan struct{}
	err     error // why it has ended; valid then
}

// serve starts a service.
func (s *Supervisor) serve(p *process) (*run, channels, error) {
	c := &served{started: time.Now(), ended: make(chan struct{})}
	p.output.arm(nil)
	ready := make(chan struct{})
	service, err := s.deps.NewService(p.name, ServiceCalls{
		Ready:  sync.OnceFunc(func() { close(ready) }),
		Output: p.output.bytes(),
	})
	if err != nil {
		return nil, channels{}, err
	}
	c.service = service
	s.workers.Go(func() {
		defer close(c.ended)
		c.err = service.Run()
	})
	return newRun(c, proc.Spec{}), channels{ready: newLogChannel(ready)}, nil
}

// PID returns 0: it has no process.
func (c *served) PID() int { return 0 }

// Identity returns the zero Identity.
func (c *served) Identity() proc.Identity { return proc.Identity{} }

// Started returns when it was started.
func (c *served) Started() time.Time { return c.started }

// Exited returns what is closed when it has ended.
func (c *served) Exited() <-chan struct{} { return c.ended }

// Gone returns the same: it leaves nothing behind.
func (c *served) Gone() <-chan struct{} { return c.ended }

// Includes reports false: no process is part of it.
func (c *served) Includes(int) bool { return false }

// Pause does nothing: nobody hears it.
func (c *served) Pause() {}

// Resume does nothing.
func (c *served) Resume() {}

// Exit says how it has ended, as a process would.
func (c *served) Exit() proc.Exit {
	if c.err == nil {
		return proc.Exit{}
	}
	return proc.Exit{Code: fault.ExitCode(c.err)}
}

// Signal tells it what a signal would tell a process.
func (c *served) Signal(sig proc.Signal) error {
	select {
	case <-c.ended:
		return errors.New("it has ended")
	default:
		c.service.Signal(sig)
		return nil
	}
}

// failureOf returns why a service has failed; empty if it has not, or is none.
func failureOf(c child) string {
	if s, is := c.(*served); is && s.err != nil {
		return s.err.Error()
	}
	return ""
}

// Stop takes it down the ladder; the end of ctx cuts that short.
func (c *served) Stop(ctx context.Context, ladder proc.Ladder) error {
	for _, step := range ladder.Steps {
		if step.Signal != 0 {
			c.service.Signal(step.Signal)
		}
		timer := time.NewTimer(step.Wait)
		select {
		case <-c.ended:
			timer.Stop()
			return nil
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			c.kill()
			return nil
		}
	}
	c.kill()
	return nil
}

// kill ends it whatever that loses, and waits.
func (c *served) kill() {
	c.service.Hurry()
	c.service.Signal(proc.Signal(syscall.SIGTERM))
	<-c.ended
}
