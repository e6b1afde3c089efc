package supervise

import (
	"procops/internal/proc"
	"procops/internal/sdnotify"
)

// notifySocket is the channel of a process that speaks sd_notify.
type notifySocket struct{ *sdnotify.Socket }

func asChannel(s *sdnotify.Socket, err error) (*notifySocket, error) {
	if err != nil {
		return nil, err
	}
	return &notifySocket{s}, nil
}

func openNotifySocket() (*notifySocket, error) { return asChannel(sdnotify.Open()) }

// reopenNotifySocket opens the socket that a process was told of by a former
// supervisor.
func reopenNotifySocket(name string) (*notifySocket, error) { return asChannel(sdnotify.Reopen(name)) }

// inheritNotifySocket opens the socket that a former supervisor in this process has
// handed over.
func inheritNotifySocket(h handedChannel) (*notifySocket, error) {
	return asChannel(sdnotify.Inherit(h.FD, h.Name))
}

func (n *notifySocket) pause() { n.Pause() }

func (n *notifySocket) resume() { n.Resume() }

func (n *notifySocket) handed() handedChannel {
	fd, err := n.FD()
	if err != nil {
		return handedChannel{}
	}
	return handedChannel{FD: fd, Name: n.Name}
}

func (n *notifySocket) prepare(spec *proc.Spec) {
	spec.Env = append(spec.Env, "NOTIFY_SOCKET="+n.Name)
}

func (n *notifySocket) discard() { n.Close() }

func (n *notifySocket) finish() { n.Finish() }

func (n *notifySocket) listen(child child, hear func(notice)) (over bool) {
	ours := func(pid int) bool { return pid == child.PID() || child.Includes(pid) } // the leader may have ended since
	return n.Listen(ours,
		func(m sdnotify.Message) { hear(notice{Message: m}) },
		func(pid int) { hear(notice{stranger: pid}) })
}
