// Package redis is the broker for many hosts: a queue in Redis. Each step is one script,
// which Redis runs alone, by its own clock: however many workers on however many hosts
// share the queue, a message has one lease at a time.
//
// What a commit survives is as the server is configured: with "appendonly yes" the end of
// the server, otherwise what is left after its last snapshot.
package redis
