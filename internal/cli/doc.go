// Package cli is the command line: one file for each command group, which
// turns flags into options, calls app and prints the result.
//
// The voice: results go to standard output, everything else to standard error.
// An error is one line, "procops: error: cannot ...: cause", and a hint line
// where one helps. Lists have --json. Colour is for terminals only and NO_COLOR
// turns it off.
package cli
