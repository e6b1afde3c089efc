// Command procops keeps processes running: heartbeats, daemons, Gearman
// workers, supervision trees and queued tasks in one binary.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"procops/internal/cli"
)

func main() {
	// SIGPIPE is caught so that a reader that goes away is a write error
	// and not the end of a supervisor and its children.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE)
	os.Exit(cli.Main(context.Background(), cli.IO{
		Stdin:   os.Stdin,
		Stdout:  os.Stdout,
		Stderr:  os.Stderr,
		Signals: signals,
		Getenv:  os.LookupEnv,
	}, os.Args))
}
