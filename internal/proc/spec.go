package proc

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// Spec says what to start and how. Only Argv is needed.
type Spec struct {
	Argv []string
	Dir  string   // working directory; empty: that of procops
	Env  []string // the whole environment, of doubles the last counts; nil: that of procops
	// PIDVariable, when set, names one more variable of the environment, which holds
	// the pid of the program.
	PIDVariable string

	// Session gives the program a session of its own. Otherwise it gets a process
	// group of its own; it always gets one of the two.
	Session bool
	// Foreground makes the program's group the foreground group of the terminal
	// that Stdin is, and procops' group again when the program has ended; when the
	// program is stopped from the terminal, procops stops, too. Stdin stays open
	// until then. Without a terminal, or with Session, it does nothing.
	Foreground bool

	// Tied ties the life of the program to the calling goroutine's thread, which the
	// caller has locked (runtime.LockOSThread) and keeps as long as the program runs:
	// then it goes on when Replace is called from there. Otherwise it is tied to a
	// thread of the Host.
	Tied bool
	// Attended says that whoever starts the program calls Process.Attend at once. Its
	// life is tied to the thread that starts it, which the Go runtime keeps for ever
	// unless a goroutine ends that has locked it.
	Attended bool
	// Survive, when set, lets the program outlive a procops that is killed: the next
	// one finds it by this name (Survivors) and can take it back (Host.TakeBack). It
	// is up to 32 letters, digits, "_" or "-". Captured output waits in its pipes
	// meanwhile, up to a megabyte for each. It needs a Host with a run token.
	Survive string

	Stdin          *os.File // nil: /dev/null
	Stdout, Stderr *os.File // given to the program as they are; nil: captured

	// Output gets the captured output line by line, from one goroutine per stream.
	// While it works, that stream is not read: a slow one slows the program down,
	// so it hands on to something that does not block. nil: what is captured is
	// thrown away.
	Output func(Line)
	// Lines, when set, gets the same instead of Output, but many lines at a time: those
	// of one read, or a part of them. The slice is valid during the call only.
	Lines func([]Line)
	// Raw gets captured output as it is read, instead of Output. The bytes are
	// valid during the call only.
	Raw func(Stream, []byte)
	// Progress, when set, makes descriptor 3 of the program a pipe that is captured
	// line by line like its output.
	Progress func(Line)
	// ExtraFiles follow from descriptor 3, or 4 with Progress.
	ExtraFiles []*os.File

	// Inherit lets the program begin as if procops were not there: it ignores and
	// blocks the signals that procops was started with ignored and blocked, as by
	// nohup, and gets the descriptors above its own that are not close-on-exec.
	// Otherwise it gets none of either.
	Inherit bool

	User   *User  // nil: that of procops
	Umask  *Umask // nil: that of procops
	Nice   int    // priority, -20 to 19; 0: that of procops
	CPUs   CPUs   // where it may run; empty: where procops may
	Limits Limits
	Cgroup *Cgroup // which it starts in; nil: that of procops
}

// Stream is what a line was written to, by descriptor number.
type Stream int

// The captured streams.
const (
	Stdout   Stream = 1
	Stderr   Stream = 2
	Progress Stream = 3
)

// String returns "stdout", "stderr" or "progress".
func (s Stream) String() string {
	switch s {
	case Stdout:
		return "stdout"
	case Stderr:
		return "stderr"
	case Progress:
		return "progress"
	default:
		return fmt.Sprintf("descriptor %d", int(s))
	}
}

// MaxLine is the longest line in bytes that is delivered in one piece.
const MaxLine = 64 << 10

// Line is a captured line, or a piece of one.
type Line struct {
	Time    time.Time // when it was read
	Stream  Stream
	Text    []byte // without the newline; valid during the call only
	Partial bool   // no newline followed: a piece of a line longer than MaxLine, or the rest at the end
}

// check refuses a Spec that cannot be started.
func (s *Spec) check() error {
	if err := checkArguments(s.Argv); err != nil {
		return err
	}
	if strings.ContainsRune(s.Dir, 0) {
		return fmt.Errorf("the directory holds a NUL character")
	}
	for _, variable := range s.Env {
		if strings.ContainsRune(variable, 0) {
			name, _, _ := strings.Cut(variable, "=")
			return fmt.Errorf("the variable %q holds a NUL character", name)
		}
	}
	if strings.ContainsAny(s.PIDVariable, "=\x00") {
		return fmt.Errorf("%q is no name of a variable", s.PIDVariable)
	}
	if s.Nice < -20 || s.Nice > 19 {
		return fmt.Errorf("priority %d is not between -20 and 19", s.Nice)
	}
	return nil
}
