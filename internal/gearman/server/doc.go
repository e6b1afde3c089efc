// Package server is a Gearman job server: what gearmand is, in a library. Clients,
// workers and admin tools of gearmand cannot tell it from gearmand 1.1.20, except
// where that loses jobs or spins.
//
// One lock guards all functions, jobs and connections. A connection's goroutine
// reads as much as has come, takes the lock once for all the packets in it, and
// then writes what they have caused, to every connection with one system call. A
// packet for another connection is written by whoever causes it, as long as the
// kernel takes it; only then a goroutine is started that waits.
//
// Background jobs are in the state store before their client hears of it
// (durable.go); those for which there is no room in memory wait only there.
package server
