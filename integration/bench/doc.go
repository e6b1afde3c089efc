// Package bench measures the real procops beside its peers: runsvdir, gearmand,
// supervisord and the sqlite3 shell. Peers take turns in one run, so that a
// busy machine is busy for all; figures are medians. Each target of the design
// is a line PASS or FAIL, and FAIL fails the run.
//
// The measurements need the build tag bench and quiet minutes: `make bench`.
package bench
