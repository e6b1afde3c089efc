// Package supervisord turns a supervisord.conf, with what it includes, into a
// procops.toml.
//
// Convert reads the files (read.go, package ini), evaluates each program as
// supervisord does (keys.go, format.go, words.go, options.go, program.go), gives
// each process a name and a log file of its own (place.go), and writes the
// configuration (write.go).
// http://supervisord.org/configuration.html
package supervisord
