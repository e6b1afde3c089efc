// Package integration tests procops from outside: the real binary, real
// servers, real signals. It also keeps the import rules between the rooms.
//
// Scripts stand in testdata/script; harness has what the tests share; bench
// measures procops beside its peers (`make bench`).
package integration
