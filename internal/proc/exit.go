package proc

import (
	"strconv"
	"syscall"
	"time"
)

// Exit is how a process ended and what it used.
type Exit struct {
	Code       int            // exit code, 0 to 255; 0 when a signal ended it
	Signal     syscall.Signal // the signal that ended it, or 0
	Core       bool           // it left a core file
	Unknown    bool           // nobody could tell: another procops had started it, and Linux is older than 6.15
	UserTime   time.Duration  // processor time, with that of the children it waited for
	SystemTime time.Duration
	// MaxRSS is the largest resident memory in bytes, with that of the children it
	// waited for. It is never less than procops itself had when it started the
	// process: the kernel counts from there.
	MaxRSS int64
}

// newExit reads what wait4 returned.
func newExit(status syscall.WaitStatus, usage *syscall.Rusage) Exit {
	e := Exit{
		UserTime:   time.Duration(usage.Utime.Nano()),
		SystemTime: time.Duration(usage.Stime.Nano()),
		MaxRSS:     usage.Maxrss << 10,
	}
	if status.Signaled() {
		e.Signal, e.Core = status.Signal(), status.CoreDump()
	} else {
		e.Code = status.ExitStatus()
	}
	return e
}

// ShellCode returns the exit code as a shell has it in $?: 128 and the signal's
// number for a process that a signal ended.
func (e Exit) ShellCode() int {
	if e.Signal != 0 {
		return 128 + int(e.Signal)
	}
	return e.Code
}

// Text returns the shell's exit code and what it usually means: "0 OK", "127
// Command not found", "143 Termination (request to terminate)".
func (e Exit) Text() string {
	if e.Unknown {
		return "exit code not known: an earlier procops had started it"
	}
	code := e.ShellCode()
	meaning, ok := exitMeaning(code)
	if !ok {
		meaning = "Unknown error"
		if e.Signal != 0 {
			meaning = "Ended by signal " + Signal(e.Signal).String()
		}
	}
	if e.Core {
		meaning += ", core dumped"
	}
	return strconv.Itoa(code) + " " + meaning
}

// exitMeaning returns what a shell's exit code usually stands for: the shell's
// own codes, those of sysexits.h, and 128 + signal.
func exitMeaning(code int) (string, bool) {
	switch {
	case code >= 0 && code <= 2:
		return [...]string{"OK", "General error", "Misuse of a shell builtin"}[code], true
	case code >= 64 && code <= 78:
		return sysexits[code-64], true
	case code >= 126 && code <= 128:
		return [...]string{"Command cannot be executed", "Command not found", "Invalid exit argument"}[code-126], true
	case code > 128 && code-128 < len(signalMeanings) && signalMeanings[code-128] != "":
		return signalMeanings[code-128], true
	default:
		return "", false
	}
}

// sysexits are the meanings of the codes 64 to 78 in sysexits.h.
var sysexits = [...]string{
	"Wrong usage of the command", "Wrong data", "Input missing", "User unknown", "Host unknown", "Service unavailable",
	"Internal error of the program", "Error of the operating system", "System file missing", "Output cannot be created",
	"Input or output error", "Temporary failure, try again later", "Error in the protocol", "Permission denied",
	"Wrong configuration",
}

// signalMeanings are the meanings of the signals by number.
var signalMeanings = [...]string{
	1: "Hangup", 2: "Interrupt", 3: "Quit", 4: "Illegal instruction", 5: "Trace or breakpoint trap", 6: "Aborted",
	7: "Bus error (access to memory that is not there)", 8: "Arithmetic error", 9: "Kill (end at once)",
	10: "User-defined signal 1", 11: "Segmentation fault", 12: "User-defined signal 2",
	13: "Broken pipe (nobody reads what was written)", 14: "Alarm clock", 15: "Termination (request to terminate)",
	16: "Stack fault", 17: "Child has ended or stopped", 18: "Continued", 19: "Stopped", 20: "Stopped from the terminal",
	21: "Read from the terminal in the background", 22: "Write to the terminal in the background",
	23: "Urgent data on a socket", 24: "Limit of processor time exceeded", 25: "Limit of file size exceeded",
	26: "Virtual timer expired", 27: "Profiling timer expired", 28: "Window changed its size", 29: "Input or output possible",
	30: "Power failure", 31: "Bad system call",
}
