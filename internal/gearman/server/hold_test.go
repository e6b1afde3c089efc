package server

import (
	"testing"
	"time"

	"procops/internal/gearman/wire"
)

// patient starts a server whose questions for a job stay open as long as a test may want.
func patient(t *testing.T) *rig {
	t.Helper()
	r := start(t, nil, nil)
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	r.server.patience = patience
	return r
}

// ask has a worker ask for a job, and waits until its question is open.
func (r *rig) ask(w *peer) {
	r.t.Helper()
	before := r.asking()
	w.send(wire.GrabJobUniq)
	for limit := time.Now().Add(patience); r.asking() == before; {
		if time.Now().After(limit) {
			r.t.Fatal("the question is not kept open")
		}
	}
}

// asking returns how many questions are open for jobs of all functions.
func (r *rig) asking() (n int) {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	for _, f := range r.server.functions {
		n += f.asking
	}
	return n
}

// TestOpenQuestion: a job that comes while a worker's question is open goes to that worker,
// the first one first.
func TestOpenQuestion(t *testing.T) {
	r := patient(t)
	a, b, client := r.dial(), r.dial(), r.dial()
	for _, w := range []*peer{a, b} {
		w.send(wire.CanDo, "f")
		w.send(wire.CanDo, "g")
		r.ask(w)
	}
	client.submit(wire.SubmitJobBg, "other", "", "nobody does it")
	first := client.submit(wire.SubmitJobBg, "g", "key", "1")
	a.want("JOB_ASSIGN_UNIQ " + first + "|g|key|1")
	second := client.submit(wire.SubmitJob, "f", "", "2")
	b.want("JOB_ASSIGN_UNIQ " + second + "|f||2")
	b.send(wire.WorkComplete, second, "done")
	client.want("WORK_COMPLETE " + second + "|done")
	client.submit(wire.SubmitJobBg, "f", "", "3") // nobody asks any more
	r.wantAdmin("status", "other\t1\t0\t0\nf\t1\t0\t2\ng\t1\t1\t2\n.\n")
	if n := r.asking(); n != 0 {
		t.Errorf("%d questions are open", n)
	}
}

// TestOpenQuestionIsAnsweredFirst: whatever a worker says next, it hears first that there is
// no job.
func TestOpenQuestionIsAnsweredFirst(t *testing.T) {
	r := patient(t)
	w, client := r.dial(), r.dial()
	w.send(wire.CanDo, "f")
	r.ask(w)
	w.send(wire.EchoReq, "x")
	w.want("NO_JOB", "ECHO_RES x")
	r.ask(w)
	w.send(wire.PreSleep)
	w.want("NO_JOB")
	client.submit(wire.SubmitJobBg, "f", "", "1")
	w.want("NOOP")
	if got := w.do(); got != "1" {
		t.Errorf("%q", got)
	}
	r.ask(w)
	w.send(wire.GrabJob) // instead of the first question
	w.want("NO_JOB")
	w.send(wire.CantDo, "f")
	w.want("NO_JOB")
	client.submit(wire.SubmitJobBg, "f", "", "2")
	w.quiet()
}

// TestOpenQuestionOfTheGone: a worker that leaves with its question open gets nothing, and
// the job of one whose time is over goes to the one who has asked meanwhile.
func TestOpenQuestionOfTheGone(t *testing.T) {
	r := patient(t)
	gone, client := r.dial(), r.dial()
	gone.send(wire.CanDo, "f")
	r.ask(gone)
	check(t, gone.net.Close())
	r.eventually("status", "f\t0\t0\t0\n.\n")
	handle := client.submit(wire.SubmitJobBg, "f", "", "1")
	r.wantAdmin("status", "f\t1\t0\t0\n.\n")
	heir, second := r.dial(), r.dial()
	heir.send(wire.CanDoTimeout, "f", "20")
	if got := heir.grab(); got != handle+"|f||1" {
		t.Errorf("%q", got)
	}
	second.send(wire.CanDo, "f")
	second.send(wire.GrabJobUniq)
	second.want("JOB_ASSIGN_UNIQ " + handle + "|f||1") // the time of the first one is over
	second.send(wire.WorkComplete, handle, "")
	r.eventually("status", "f\t0\t0\t2\n.\n")
}

// TestQuestionEnds: nobody waits for long, nor when the server stops.
func TestQuestionEnds(t *testing.T) {
	r := start(t, nil, nil)
	w := r.dial()
	w.send(wire.CanDo, "f")
	w.send(wire.GrabJob)
	w.want("NO_JOB")
}
