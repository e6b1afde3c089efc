package worker

import (
	"bytes"
	"strconv"
	"sync/atomic"
	"time"

	"procops/internal/gearman"
	"procops/internal/gearman/phpserial"
	"procops/internal/gearman/wire"
	"procops/internal/proc"
	"procops/internal/runner"
)

// job is one that a server has given to the worker.
type job struct {
	session  *session
	handle   string
	function string
	unique   string
	workload []byte
	lost     atomic.Bool // the server could not be told of something
}

// newJob reads a job from its packet.
func newJob(s *session, p *wire.Packet) (*job, error) {
	j := &job{session: s, handle: string(p.Arg(0)), function: string(p.Arg(1))}
	if p.Type != wire.JobAssign {
		j.unique = string(p.Arg(2))
	}
	data, err := p.Data()
	if err != nil {
		return nil, err
	}
	j.workload = data
	if len(data) <= small {
		j.workload = bytes.Clone(data) // it is in the buffer of the reader
	}
	return j, nil
}

// small is at least the size of what may be in the buffer of a wire.Reader.
const small = 16 << 10

// do does a job and tells the server what came of it. It returns the next one, if the
// place of the job is kept and there is one.
func (w *Worker) do(j *job, f *function, me *asker) (next *job) {
	s := j.session
	about := jobData{Worker: w.id, Server: string(s.server), Job: j.handle, Unique: j.unique}
	eventBeforeExecute.Publish(w.deps.Bus, j.function, about)
	w.active.Add(1)
	if f != nil {
		f.active.Add(1)
	}
	started := time.Now()
	d := deed{w: w, job: j, f: f}
	d.run()
	d.asker = d.goesOn(me)
	d.answer()
	took := time.Since(started)
	if f != nil {
		f.active.Add(-1)
		f.tally.add(d.result.Outcome, took, j.lost.Load())
	}
	data := resultData{
		Worker: w.id, Server: about.Server, Job: j.handle, Unique: j.unique, Outcome: string(d.result.Outcome),
		Seconds: took.Seconds(), Attempts: d.attempts, Message: d.result.Reason, Lost: j.lost.Load(),
	}
	w.active.Add(-1)
	w.done.Add(1)
	if d.failed() {
		w.failed.Add(1)
		w.record(eventFunctionFailed.New(j.function, data))
	} else {
		eventAfterExecute.Publish(w.deps.Bus, j.function, data)
	}
	eventWork.Publish(w.deps.Bus, j.function, about)
	if d.result.Outcome == runner.Stop {
		w.leave(errAsked)
	}
	if !d.asked {
		return nil
	}
	// An error is one of the connection, whose session sees it, too.
	next, _ = s.await(me)
	return next
}

// goesOn returns who is to ask for the next job together with the answer; nil: nobody.
func (d *deed) goesOn(me *asker) *asker {
	if d.result.Outcome == runner.Stop || d.w.isFull() {
		return nil
	}
	return me
}

// deed is a job while it is done.
type deed struct {
	w        *Worker
	job      *job
	f        *function
	attempts int
	result   runner.Result
	begun    bool   // there was a process; else result.Reason says why not
	givenUp  bool   // the job goes back to its server, unanswered
	asker    *asker // who asks for the next job together with the last word; nil: nobody
	asked    bool   // he has
}

// failed reports whether the job counts as a failure.
func (d *deed) failed() bool {
	switch d.result.Outcome {
	case runner.Success, runner.Warning, runner.Stop:
		return d.job.lost.Load()
	default:
		return !d.givenUp
	}
}

// fail says that the job has failed before anything was run.
func (d *deed) fail(reason string) {
	d.result, d.begun = runner.Result{Outcome: runner.Failed, Reason: reason}, false
}

// run does the job, several times if it asks for it.
func (d *deed) run() {
	if d.f == nil {
		d.fail("this worker has no such function")
		return
	}
	input := d.job.workload
	if d.f.cfg.Serialize == gearman.SerializePHP {
		var err error
		if input, err = phpserial.ToJSON(input); err != nil {
			d.fail("its workload cannot be read: " + err.Error())
			return
		}
	}
	for {
		d.once(input)
		if d.result.Outcome != runner.Retry || d.attempts > d.f.cfg.Retries {
			return
		}
		if !d.pause() {
			d.givenUp = true
			return
		}
	}
}

// pause waits for the next attempt; false: the worker is to end, and the job is better
// off with another one.
func (d *deed) pause() bool {
	if d.w.taking.Err() != nil {
		return false
	}
	timer := time.NewTimer(d.f.cfg.RetryDelay.Std())
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-d.w.taking.Done():
		return false
	}
}

// once runs the job once.
func (d *deed) once(input []byte) {
	work := runner.Work{
		Input: input, TimeLimit: d.f.cfg.Timeout.Std(), Meta: d.meta(), MaxOutput: int(d.f.cfg.MaxResult.Bytes()), NoMemory: true,
		OnProgress: func(p runner.Progress) {
			if p.Total == 0 {
				return // it tells nothing that a client could be told
			}
			d.tell(wire.WorkStatus, strconv.AppendUint(nil, p.Total, 10), strconv.FormatUint(p.Done, 10))
		},
	}
	if d.f.cfg.Stream {
		d.stream(&work)
	}
	d.attempts++
	result, err := d.f.runner.Run(d.w.running, work)
	switch {
	case err != nil && d.w.running.Err() != nil:
		d.result.Outcome, d.result.Reason = runner.Cancelled, "it was stopped"
	case err != nil:
		d.attempts--
		d.fail(err.Error())
	default:
		d.result, d.begun = result, true
	}
}

// stream lets pieces of the result go to the client as they come.
func (d *deed) stream(work *runner.Work) {
	if d.f.cfg.Mode == runner.ModeCoprocess {
		work.OnData = func(piece []byte) { d.tell(wire.WorkData, piece) }
		return
	}
	work.MaxOutput = -1
	work.Output = func(s proc.Stream, piece []byte) {
		if s == proc.Stdout {
			d.tell(wire.WorkData, piece)
		}
	}
}

// meta is what the job is told of itself.
func (d *deed) meta() []runner.Meta {
	meta := []runner.Meta{
		{Name: "function", Value: d.job.function},
		{Name: "job", Value: d.job.handle},
		{Name: "server", Value: string(d.job.session.server)},
		{Name: "attempt", Value: strconv.Itoa(d.attempts + 1)},
	}
	if d.job.unique != "" {
		meta = append(meta, runner.Meta{Name: "unique", Value: d.job.unique})
	}
	return append(meta, runner.Meta{Name: "log_level", Value: d.w.deps.LogLevel})
}

// tell sends a packet about the job, unless the connection is lost.
func (d *deed) tell(t wire.Type, last []byte, between ...string) {
	if err := d.job.session.say(t, last, append([]string{d.job.handle}, between...)...); err != nil {
		d.job.lost.Store(true)
	}
}

// answer tells the server what came of the job.
func (d *deed) answer() {
	if d.givenUp {
		return // it goes back when the connection is closed
	}
	output := d.result.Output
	if d.f != nil && d.f.cfg.Serialize == gearman.SerializePHP {
		output = phpserial.FromOutput(output)
	}
	switch d.result.Outcome {
	case runner.Success, runner.Stop, runner.Warning:
		if warning := d.warning(); warning != "" {
			d.tell(wire.WorkWarning, []byte(warning))
		}
		d.end(wire.WorkComplete, output, d.job.handle)
	case runner.Cancelled:
		d.tellFailed()
	default:
		if why := d.exception(); why != "" {
			d.end(wire.WorkException, []byte(why), d.job.handle)
			return
		}
		d.tellFailed()
	}
}

func (d *deed) tellFailed() { d.end(wire.WorkFail, []byte(d.job.handle)) }

// end sends the last packet about the job.
func (d *deed) end(t wire.Type, last []byte, args ...string) {
	var err error
	d.job.session.spoken.Store(true)
	if d.asker == nil {
		err = d.job.session.say(t, last, args...)
	} else {
		d.asked, err = d.job.session.sayAndAsk(d.asker, t, last, args...)
	}
	if err != nil {
		d.job.lost.Store(true)
	}
}

// warning is what a job that is done has to say beside its result.
func (d *deed) warning() string {
	if d.result.Diagnostics == "" && d.result.Outcome == runner.Warning {
		return d.result.Reason
	}
	return d.result.Diagnostics
}

// exception is why the job has failed: what it has written itself, else what procops knows
// better than that it has.
func (d *deed) exception() string {
	if d.result.Diagnostics != "" {
		return d.result.Diagnostics
	}
	known := d.f == nil || !d.begun || d.f.cfg.Mode == runner.ModeCoprocess
	if known || d.result.Truncated || d.result.Outcome == runner.TimedOut {
		return d.result.Reason
	}
	return ""
}
