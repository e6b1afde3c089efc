package integration

import (
	"bytes"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"procops/integration/harness"
	"procops/internal/gearman/wire"
)

// talk is a conversation with a job server on any number of connections. What the
// server says is kept byte for byte.
type talk struct {
	t     *testing.T
	port  int
	conns map[string]*talker
	order []string
	said  strings.Builder
	count int

	control *talker
}

type talker struct {
	name string
	net  net.Conn
	in   []byte
}

func newTalk(t *testing.T, port int) *talk {
	t.Helper()
	k := &talk{t: t, port: port, conns: map[string]*talker{}}
	k.control = k.dial("control")
	k.ask("status\n") // gearmand lists a connection once it has spoken
	return k
}

func (k *talk) dial(name string) *talker {
	k.t.Helper()
	conn, err := new(net.Dialer).DialContext(k.t.Context(), "tcp", harness.Loopback(k.port))
	check(k.t, err)
	k.t.Cleanup(func() { _ = conn.Close() })
	check(k.t, conn.SetDeadline(time.Now().Add(harness.Patience)))
	return &talker{name: name, net: conn}
}

// conn returns the connection of a name, which begins when it is first used.
func (k *talk) conn(name string) *talker {
	k.t.Helper()
	if c := k.conns[name]; c != nil {
		return c
	}
	c := k.dial(name)
	k.conns[name] = c
	k.order = append(k.order, name)
	return c
}

// step does one step and notes all that is said to any connection until everybody
// has answered an echo. A step is the name of a connection and then a line of the
// admin protocol in quotes, "close", "raw" with bytes in quotes, or the type of a
// packet and its arguments, separated by "|".
func (k *talk) step(step string) {
	k.t.Helper()
	name, rest, _ := strings.Cut(step, " ")
	c := k.conn(name)
	fmt.Fprintf(&k.said, "> %s\n", step)
	switch kind, args, _ := strings.Cut(rest, " "); {
	case rest == "close":
		k.leave(c)
	case strings.HasPrefix(rest, `"`):
		c.send(k.t, []byte(unquote(k.t, rest)))
	case kind == "raw":
		c.send(k.t, []byte(unquote(k.t, args)))
	default:
		c.send(k.t, packetOf(k.t, kind, args))
	}
	if rest != "close" {
		k.listen(c, strings.HasPrefix(rest, `"workers`))
	}
	for _, name := range k.order {
		if other := k.conns[name]; other != c {
			k.listen(other, false)
		}
	}
}

func unquote(t *testing.T, text string) string {
	t.Helper()
	plain, err := strconv.Unquote(text)
	check(t, err)
	return plain
}

// packetOf returns a packet by the name of its type.
func packetOf(t *testing.T, name, args string) []byte {
	t.Helper()
	for typ := range wire.Type(64) {
		if typ.Known() && typ.String() == name {
			var all []string
			if typ.Args() > 0 {
				all = strings.SplitN(unquote(t, `"`+args+`"`), "|", typ.Args())
			}
			packet, err := wire.Append(nil, wire.Request, typ, all...)
			check(t, err)
			return packet
		}
	}
	t.Fatalf("there is no packet %q", name)
	return nil
}

func (c *talker) send(t *testing.T, data []byte) {
	t.Helper()
	_, err := c.net.Write(data)
	check(t, err)
}

// fileNumber is what differs in the answer to workers.
var fileNumber = regexp.MustCompile(`(?m)^\d+ `)

// listen notes what is said to a connection until it has answered an echo.
func (k *talk) listen(c *talker, workers bool) {
	k.t.Helper()
	k.count++
	token := fmt.Sprintf("echo %d", k.count)
	c.send(k.t, packetOf(k.t, "ECHO_REQ", token))
	end, err := wire.Append(nil, wire.Response, wire.EchoRes, token)
	check(k.t, err)
	buf := make([]byte, 64<<10)
	for !bytes.HasSuffix(c.in, end) {
		n, err := c.net.Read(buf)
		c.in = append(c.in, buf[:n]...)
		if err != nil {
			k.t.Fatalf("%s hears %q and then %v; so far:\n%s", c.name, c.in, err, k.said.String())
		}
	}
	heard := strings.ReplaceAll(string(plainHandle(bytes.TrimSuffix(c.in, end))), "+ds\n", "\n") // Debian's own name of 1.1.20
	c.in = nil
	if workers {
		// The order is that of threads and files.
		lines := strings.SplitAfter(fileNumber.ReplaceAllString(heard, "N "), "\n")
		slices.Sort(lines)
		heard = strings.Join(lines, "")
	}
	if heard != "" {
		fmt.Fprintf(&k.said, "%s: %q\n", c.name, heard)
	}
}

// plainHandle takes the NUL off the handle that gearmand sends for an exception to
// those who want none: clients do not know such a job.
func plainHandle(heard []byte) []byte {
	var p wire.Packet
	size, err := p.Scan(heard, wire.Response, wire.MaxBody)
	if err != nil || size != int64(len(heard)) || p.Type != wire.WorkFail {
		return heard
	}
	handle := bytes.TrimSuffix(p.Raw(), []byte{0})
	return append(wire.AppendHeader(nil, wire.Response, wire.WorkFail, len(handle)), handle...)
}

// stillness is how often a server must say the same about itself before it counts
// as having done with a connection: gearmand ends one in several threads.
const stillness = 10

// leave closes a connection and waits until the server has noticed.
func (k *talk) leave(c *talker) {
	k.t.Helper()
	before := strings.Count(k.ask("workers\n"), "\n")
	check(k.t, c.net.Close())
	delete(k.conns, c.name)
	k.order = slices.DeleteFunc(k.order, func(name string) bool { return name == c.name })
	last, same := "", 0
	harness.Eventually(k.t, "the end of a connection", func() bool {
		now := k.ask("workers\n")
		gone := strings.Count(now, "\n") < before
		now = fileNumber.ReplaceAllString(now, "") + k.ask("status\n") + k.ask("show jobs\n")
		if same++; now != last {
			last, same = now, 0
		}
		return gone && same >= stillness
	})
}

// ask asks on a connection that is there for that only.
func (k *talk) ask(line string) string {
	k.t.Helper()
	k.control.send(k.t, []byte(line))
	var text []byte
	for buf := make([]byte, 4096); !bytes.HasSuffix(text, []byte(".\n")); {
		n, err := k.control.net.Read(buf)
		check(k.t, err)
		text = append(text, buf[:n]...)
	}
	return string(text)
}
