// Package fault says how an error ends a command: which exit code it has and
// which hint helps. A package returns an *Error where it knows more than the
// cause; every other error is a plain failure with exit code 1. The package
// imports nothing internal.
package fault

import (
	"errors"
	"fmt"
)

// Kind is the exit code that an error stands for.
type Kind int

// The exit codes of procops; commands that check health and wrappers that pass
// on a child's code have their own.
const (
	Failure     Kind = 1 // it did not work
	Usage       Kind = 2 // wrong flags, arguments or configuration
	NotFound    Kind = 3 // the named thing does not exist
	Conflict    Kind = 4 // it exists already, or runs already
	Unreachable Kind = 5 // nobody answers at the other end
)

// Error is an error with an exit code and a hint.
type Error struct {
	Kind    Kind
	Message string // lower case, what was attempted first, values quoted
	Hint    string // what to do about it, one line; may be empty
	Cause   error  // may be nil; its text follows the message after a colon
}

// New returns an Error of the given kind; format and args make its message.
func New(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Wrap returns an Error of the given kind with a cause, whose text follows the
// message after a colon.
func Wrap(kind Kind, cause error, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...), Cause: cause}
}

// WithHint returns the same error with a hint.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// Error returns the message and the cause.
func (e *Error) Error() string {
	if e.Cause == nil {
		return e.Message
	}
	return e.Message + ": " + e.Cause.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// ExitCode returns the exit code that err stands for: 0 for nil, that of the
// outermost Error in its chain, else 1.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return int(e.Kind)
	}
	return int(Failure)
}

// Is reports whether err stands for the given kind.
func Is(err error, kind Kind) bool { return err != nil && ExitCode(err) == int(kind) }

// Hints returns the hints in err's chain, outermost first.
func Hints(err error) []string {
	var hints []string
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return hints
		}
		if e.Hint != "" {
			hints = append(hints, e.Hint)
		}
		err = e.Cause
	}
	return hints
}
