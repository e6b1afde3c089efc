// Package launch is how a program is started, in the words of those who configure
// it: where and as whom it runs, what is in its environment, what limits it has, and
// how long to wait before it is tried again. It turns them into those of proc.
package launch
