// Package daemon runs a program again and again: turns, with a pause between them or
// at the times of a schedule. A daemon is one instance of a section of the config in
// one context, such as "production": it has a pidfile with a kernel lock, so that
// there is one of it, a log that its instances share, and a history of its turns.
package daemon
