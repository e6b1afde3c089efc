// Package runner runs one unit of work: a daemon's turn, a worker's job, a task.
//
// In the command mode a unit is a fresh process: its input on standard input, its
// result on standard output, diagnostics on standard error, progress on
// descriptor 3, and the outcome in the exit code. docs/handlers.md specifies it
// for those who write handlers.
package runner
