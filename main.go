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
func init() {
	if app.Continues() {
		runtime.LockOSThread()
	}
}

func main() {
	os.Exit(cli.Main(context.Background(), cli.IO{
		Stdin:   os.Stdin,
		Stdout:  os.Stdout,
		Stderr:  os.Stderr,
		Signals: sync.OnceValue(signals),
		Getenv:  os.LookupEnv,
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
