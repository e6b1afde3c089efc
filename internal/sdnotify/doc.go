// Package sdnotify is the receiving side of sd_notify(3), by which programs tell their
// supervisor that they are ready, what they do, and that they are alive. The package
// imports nothing internal.
package sdnotify
