// Package leptir reads and writes what leptir, a task processor in PHP, keeps in its
// queues and meta storages, to the byte as PHP does: so PHP producers and procops
// workers, and the other way round, share them.
//
// A task is a JSON object with the keys cn (class), pr (priority), tl (time limit in
// seconds, 0 or less: the default), toex (Unix time, or "" if none) and td, an object of
// id and parameters. PHP reads all of them without a check and turns what it finds into
// the type that it wants, and so does this package. Keys that are none of these are
// lost, as they are in PHP, except inside the parameters.
//
// The package knows of no broker.
package leptir
