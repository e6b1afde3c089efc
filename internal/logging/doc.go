// Package logging writes what procops has to say and what its children print:
// New builds a logger, File is a log file that rotates itself, and Queue keeps
// a slow disk or a reader that has stopped from ever holding up the one who
// writes.
package logging
