// Package supervise keeps processes up: a tree of groups and processes, in
// which failures travel up and restarts travel down.
//
// One goroutine, the loop of Supervisor.Run, owns the tree. Everything else
// (exits, timers, readiness checks, operators) posts to it. A process moves by
// triggers through the states of one total table (state.go); what a state does
// when it is entered stands in run.go, and how one starts, ends and is stopped in
// start.go, end.go and stop.go. Each change is recorded with its event in
// one transaction and published after the commit, without the loop waiting for
// the disk: a full disk does not stop supervision.
package supervise
