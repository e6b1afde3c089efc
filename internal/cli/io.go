package cli

import (
	"context"
	"fmt"
	"os"
	"syscall"
)

// IO is what a command touches of the world around the process.
type IO struct {
	Stdin   *os.File
	Stdout  *os.File
	Stderr  *os.File
	Signals func() <-chan os.Signal // catches the signals to the process from the first call on; always the same channel
	// OtherSignals does the same for those that mean nothing to any command: who
	// is the parent of somebody they may be meant for passes them on.
	OtherSignals func() <-chan os.Signal
	Getenv       func(string) (string, bool)
}

// signalError is the cause with which a signal ends a context.
type signalError struct{ signal syscall.Signal }

func (e *signalError) Error() string { return fmt.Sprintf("ended by signal %s", e.signal) }

// untilSignal returns a context that the first signal that asks a program to
// end (INT, TERM, HUP, QUIT, PIPE) cancels. Commands that treat signals in
// their own way read IO.Signals themselves instead.
func (io IO) untilSignal(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := io.Signals()
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case s := <-signals:
				sig, ok := s.(syscall.Signal)
				if !ok || sig == syscall.SIGUSR1 || sig == syscall.SIGUSR2 {
					continue
				}
				cancel(&signalError{sig})
			}
		}
	}()
	return ctx, func() { cancel(context.Canceled) }
}
