// Package supervisord turns a supervisord.conf, with what it includes, into a
// procops.toml.
//
// Convert reads the files (read.go, package ini) and evaluates the section
// [supervisord] and each program as supervisord does (server.go, program.go,
// command.go, output.go; keys.go, format.go, words.go and options.go for the
// values). Then it gives each process a name and a log file of its own
// (place.go) and writes the configuration (write.go).
// http://supervisord.org/configuration.html
package supervisord
