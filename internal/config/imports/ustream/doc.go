// Package ustream turns the ini files of the PHP library ustream/daemon, one for
// each daemon, into a procops.toml with a section [daemon.NAME] for each.
//
// Convert reads the files as PHP's parse_ini_file does (ini.go) and writes what they
// say (ustream.go, daemon.go). The factory, a PHP callable, becomes a command that
// calls it once; what loads the classes has to be filled in.
// https://github.com/ustream/daemon
package ustream
