// Package procfile turns a Procfile, with files of variables such as .env, into
// a procops.toml that behaves as foreman does: a line is a process and a shell
// runs its command; the i-th process, from 0, has PORT set to a base plus 100·i;
// its further instances, if there are any, count on from there; and when one
// process ends, however, all are ended and its exit code is that
// of the whole.
// https://ddollar.github.io/foreman/
package procfile
