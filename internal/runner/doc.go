// Package runner runs one unit of work: a daemon's turn, a worker's job, a task.
//
// In the command mode a unit is a fresh process: its input on standard input, its
// result on standard output, diagnostics on standard error, progress on
// descriptor 3, and the outcome in the exit code. In the coprocess mode a pool of
// long-lived processes does one unit after the other, and they are spoken with in
// lines of JSON. docs/handlers.md specifies both for those who write handlers.
//
// Run is one command. New returns a Runner, for those who have work and leave the
// mode to the config.
package runner
