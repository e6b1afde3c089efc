// Package hook does something about events: it runs a command, posts to a webhook,
// queues a task and so on. A hook listens to the bus of its process. It never holds up
// who speaks: events wait in a bounded queue, and what finds that full, or comes more
// often than the hook may act, is dropped and counted.
//
// Hooks never react to events of hooks, and a procops that a hook has started runs none.
package hook
