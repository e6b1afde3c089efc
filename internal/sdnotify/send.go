package sdnotify

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Sender tells the service manager above procops what it does. The nil Sender, where
// there is none, tells nobody.
type Sender struct {
	socket   string
	watchdog time.Duration
}

// NewSender returns the Sender for the service manager that the environment tells of; nil
// if there is none.
func NewSender(getenv func(string) (string, bool)) *Sender {
	socket, _ := getenv("NOTIFY_SOCKET")
	if !strings.HasPrefix(socket, "/") && !strings.HasPrefix(socket, "@") {
		return nil
	}
	s := &Sender{socket: socket}
	if pid, told := getenv("WATCHDOG_PID"); told && pid != strconv.Itoa(os.Getpid()) {
		return s // it is meant for another process
	}
	micros, _ := getenv("WATCHDOG_USEC")
	if limit, ok := watchdogLimit(micros); ok {
		s.watchdog = limit
	}
	return s
}

// Send tells lines of NAME=VALUE, such as "READY=1".
func (s *Sender) Send(lines ...string) error {
	if s == nil {
		return nil
	}
	var dialer net.Dialer
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, err := dialer.DialContext(ctx, "unixgram", s.socket)
	if err == nil {
		_, err = conn.Write([]byte(strings.Join(lines, "\n")))
		_ = conn.Close() // a datagram is sent or not
	}
	if err != nil {
		return fmt.Errorf("cannot tell the service manager: %w", err)
	}
	return nil
}

// Watch tells again and again, until ctx ends, that procops is alive, if the service
// manager wants that: as often as alive returns without an error.
func (s *Sender) Watch(ctx context.Context, alive func(context.Context) error) {
	if s == nil || s.watchdog == 0 {
		return
	}
	again := time.NewTicker(s.watchdog / 2)
	defer again.Stop()
	for {
		if alive(ctx) == nil {
			_ = s.Send("WATCHDOG=1") // if it does not come, the manager acts
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}
