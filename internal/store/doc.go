// Package store keeps what must survive: one SQLite database in WAL mode for
// each state directory, shared by many procops processes.
//
// One connection writes. Its goroutine takes all the updates that wait, runs
// them in one transaction and answers them together (group commit), so that
// many small updates cost one commit. Events emitted in an update are recorded
// in the same transaction and published on the bus after it: whoever hears of a
// change can rely on it.
//
// By default a commit survives a crash of the process; with Durability Power a
// power cut as well.
package store
