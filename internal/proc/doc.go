// Package proc starts programs and ends them: process groups, output capture,
// resource limits, the stop ladder, and reaping by one owner.
//
// A Host owns all children of this procops. It starts them from one thread that
// lives as long as the Host, because the kernel ties a child's parent-death
// signal to the thread that started it: when procops dies, however it dies, its
// children are killed. Those that are attended (Process.Attend) are started, read and
// awaited in one goroutine instead. What the children have started themselves is killed by
// the guard, a small process that outlives procops just long enough for that.
//
// The package imports nothing internal but unit. It is the only one that may
// import os/exec.
package proc
