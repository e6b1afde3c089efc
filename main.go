// Command procops keeps processes running: heartbeats, daemons, Gearman
// workers, supervision trees and queued tasks in one binary.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"

	"procops/internal/app"
	"procops/internal/cli"
)

// init keeps the main goroutine on the main thread where that has children. Later
// would be too late: only here it is sure to be there.
func init() { //nolint:gochecknoinits // see above
	if app.Continues() {
		runtime.LockOSThread()
	}
}

func main() {
	signals := sync.OnceValue(signals)
	if os.Getpid() == 1 || app.Continues() {
		// For the init of a container a signal that nobody catches would be lost. Where
		// this goes on in the place of another procops it would end all children.
		signals()
		app.Redeliver()
	}
	os.Exit(cli.Main(context.Background(), cli.IO{
		Stdin:        os.Stdin,
		Stdout:       os.Stdout,
		Stderr:       os.Stderr,
		Signals:      signals,
		OtherSignals: sync.OnceValue(otherSignals),
		Getenv:       os.LookupEnv,
	}, os.Args))
}

// signals catches the signals that a command may want to treat in its own way.
// Until a command asks for them they do what they do to every program. SIGPIPE
// is among them so that a reader that goes away is a write error, and not the
// end of a supervisor and its children.
func signals() <-chan os.Signal {
	caught := make(chan os.Signal, 16)
	signal.Notify(caught, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE)
	return caught
}

// otherSignals catches the signals that mean nothing to procops and can be meant
// for a child: not those by which the kernel speaks of a defect of procops itself,
// those of its terminal, and those that the Go runtime and the C library use.
func otherSignals() <-chan os.Signal {
	caught := make(chan os.Signal, 16)
	signal.Notify(caught, syscall.SIGALRM, syscall.SIGVTALRM, syscall.SIGSTKFLT, syscall.SIGWINCH,
		syscall.SIGIO, syscall.SIGPWR)
	const firstFree, last = 35, 64 // of the real-time signals; 32 to 34 are the C library's
	for n := syscall.Signal(firstFree); n <= last; n++ {
		signal.Notify(caught, n)
	}
	return caught
}
