// Package bench measures a Gearman job server: it submits jobs and does them, with as
// little of its own as possible, and leaves nothing behind.
package bench
