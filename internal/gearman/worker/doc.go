// Package worker does the jobs of Gearman functions.
//
// A Worker is connected with all its servers at once. What it asks for and gets is
// decided by one goroutine for each connection; another one reads, and each job has its
// own. A job is run by package runner, as a fresh process or by a co-process.
package worker
