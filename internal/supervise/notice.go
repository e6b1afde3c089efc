package supervise

import "procops/internal/sdnotify"

// notice is what a process has said of itself, in one message, or what is known of its
// channel.
type notice struct {
	sdnotify.Message

	unready  string // it can not say any more that it is ready; why
	aside    bool   // by a process of whose readiness somebody else is asked
	stranger int    // pid of a process that does not belong to it and tried to speak for it
}
