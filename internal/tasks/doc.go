// Package tasks queues tasks and works them off.
//
// A task has a type and parameters. It is pushed into a broker, which hands it to
// one worker at a time under a lease; the worker runs the command that the
// configuration has for the type. What is known of each task is recorded in the
// state store.
//
// The broker decides who may run a task, the record only tells of it. Both are
// written in an order in which the end of a process at any moment loses nothing:
// first the broker has the task, then the record; first the record has the
// result, then the broker is told that it is done with the task.
package tasks
