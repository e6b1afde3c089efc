package gearman

import (
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"time"

	"procops/internal/fault"
	"procops/internal/gearman/wire"
)

// Priority says which jobs of a function a server hands out first.
type Priority string

// The priorities. The zero value stands for Normal.
const (
	Low    Priority = "low"
	Normal Priority = "normal"
	High   Priority = "high"
)

// UnmarshalText reads "low", "normal" or "high".
func (p *Priority) UnmarshalText(text []byte) error {
	read := Priority(text)
	if read != Low && read != Normal && read != High {
		return fmt.Errorf("invalid priority %q: want %q, %q or %q", text, Low, Normal, High)
	}
	*p = read
	return nil
}

// Job is what a client submits.
type Job struct {
	Function string
	Workload []byte // any bytes; up to 4 GiB less the names, if the server takes that
	Priority Priority

	// Unique makes jobs of the same function with the same key one job, as long
	// as it is waiting or running: the first one's workload and priority hold.
	// With "-" gearmand takes the workload for the key. Empty stands for a key
	// of its own: servers that keep their queue in a table by the key would lose
	// jobs without. gearmand takes 64 bytes.
	Unique string

	// At is when the job may start, to the second; the zero time stands for at
	// once. Only background jobs of normal priority have it.
	At time.Time
}

// withKey returns the job with a unique key.
func (j Job) withKey() Job {
	if j.Unique == "" {
		j.Unique = "procops-" + rand.Text()
	}
	return j
}

// check returns an error of kind fault.Usage if no packet can carry the job.
func (j Job) check(background bool) error {
	switch {
	case j.Function == "":
		return fault.New(fault.Usage, "a job needs the name of a function")
	case strings.ContainsRune(j.Function, 0):
		return fault.New(fault.Usage, "the name of function %q has a NUL in it", j.Function)
	case strings.ContainsRune(j.Unique, 0):
		return fault.New(fault.Usage, "the unique key %q has a NUL in it", j.Unique)
	case !j.At.IsZero() && !background:
		return fault.New(fault.Usage, "only a background job can start later")
	case !j.At.IsZero() && j.Priority != Normal && j.Priority != "":
		return fault.New(fault.Usage, "a job that starts later cannot have priority %s", j.Priority).
			WithHint("the protocol knows only normal priority for such jobs")
	}
	return nil
}

// head returns the packet that submits the job, without its workload.
func (j Job) head(background bool) ([]byte, error) {
	args := []string{j.Function, j.Unique}
	t := submission(j.Priority, background)
	if !j.At.IsZero() {
		t = wire.SubmitJobEpoch
		// Not before At: to the next full second.
		args = append(args, strconv.FormatInt(j.At.Add(time.Second-1).Unix(), 10))
	}
	head, err := wire.AppendHead(nil, wire.Request, t, int64(len(j.Workload)), args...)
	if err != nil {
		return nil, fault.Wrap(fault.Usage, err, "the protocol has no room for it")
	}
	return head, nil
}

func submission(p Priority, background bool) wire.Type {
	switch {
	case p == Low && background:
		return wire.SubmitJobLowBg
	case p == Low:
		return wire.SubmitJobLow
	case p == High && background:
		return wire.SubmitJobHighBg
	case p == High:
		return wire.SubmitJobHigh
	case background:
		return wire.SubmitJobBg
	}
	return wire.SubmitJob
}

// handleSeparator stands between the server and the job in a Handle's text, as
// in Perl's Gearman::Client. An address cannot contain it.
const handleSeparator = "//"

// Handle names a job: the server that has it, and what that calls it.
type Handle struct {
	Server Address // empty: not known
	ID     string  // such as "H:host:12"
}

// String returns "server//id", such as "127.0.0.1:4730//H:host:12", or the id
// alone.
func (h Handle) String() string {
	if h.Server == "" {
		return h.ID
	}
	return string(h.Server) + handleSeparator + h.ID
}

// MarshalText returns the handle as String does.
func (h Handle) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// ParseHandle reads what Handle.String writes.
func ParseHandle(text string) (Handle, error) {
	before, id, both := strings.Cut(text, handleSeparator)
	if !both {
		return Handle{ID: text}, checkID(text)
	}
	server, err := ParseAddress(before)
	if err != nil {
		return Handle{}, fmt.Errorf("invalid handle %q: %w", text, err)
	}
	return Handle{Server: server, ID: id}, checkID(id)
}

// maxID is the length of the longest handle that is believed; gearmand's are at
// most 64 bytes.
const maxID = 1024

func checkID(id string) error {
	if id == "" || len(id) > maxID || !printable(id) || strings.Contains(id, " ") {
		return fmt.Errorf("invalid handle %q: want something like \"H:host:12\" or \"127.0.0.1:4730//H:host:12\"", id)
	}
	return nil
}

// Status is what a server says of a job.
type Status struct {
	Handle  Handle // its ID is empty if the job was asked for by its unique key
	Unique  string // empty if the job was asked for by its handle
	Known   bool   // it is waiting or running; else it has ended or there never was one
	Running bool

	// How much of it is done, as its worker tells; 0 of 0 if that says nothing.
	Numerator, Denominator uint64

	// Clients is how many clients wait for it; only known by unique key.
	Clients uint64
}

// The states of a job.
const (
	StateQueued  = "queued"
	StateRunning = "running"
	StateUnknown = "unknown" // it has ended, or there never was such a job
)

// State returns one of the states.
func (s Status) State() string {
	switch {
	case s.Running:
		return StateRunning
	case s.Known:
		return StateQueued
	}
	return StateUnknown
}

// JobError says that a job has ended without a result.
type JobError struct {
	Handle Handle

	// Exception is what the worker has said, its first 64 KiB; nil if it has said
	// no more than that the job has failed.
	Exception []byte
}

// Error tells of the exception, if there is one.
func (e *JobError) Error() string {
	if e.Exception == nil {
		return fmt.Sprintf("job %s has failed", e.Handle)
	}
	return fmt.Sprintf("job %s has failed with an exception: %s", e.Handle, forPeople(string(e.Exception)))
}

// maxShown is how much of what others say stands in an error.
const maxShown = 500

// forPeople makes one line of a text that somebody else has written.
func forPeople(text string) string {
	if len(text) > maxShown {
		text = text[:maxShown] + "..."
	}
	if quoted := strconv.Quote(text); !printable(text) {
		return quoted
	}
	return text
}
