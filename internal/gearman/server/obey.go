package server

import (
	"strconv"
	"strings"
	"time"

	"procops/internal/gearman/wire"
)

// obey does what a packet says. What is answered is answered in the order of the
// questions, and not before what was said earlier is recorded.
func (c *conn) obey(p *wire.Packet) {
	if sub, ok := submissionOf(p.Type); ok {
		if !sub.background {
			c.settle()
		}
		c.submit(p, sub)
		return
	}
	if c.work(p) {
		return
	}
	c.settle()
	switch p.Type {
	case wire.GrabJob, wire.GrabJobUniq, wire.GrabJobAll:
		c.grab(p.Type)
	case wire.EchoReq:
		c.echo(p)
	case wire.GetStatus:
		c.status(p.Raw())
	case wire.GetStatusUnique:
		c.statusUnique(p.Raw())
	case wire.OptionReq:
		c.option(p.Raw())
	default:
		c.refuse(codeInvalidCommand, "Command not expected")
	}
}

// work does what workers say that is not answered; false if it is something else.
func (c *conn) work(p *wire.Packet) bool {
	switch p.Type {
	case wire.WorkComplete, wire.WorkFail, wire.WorkException:
		c.end(p)
	case wire.WorkData, wire.WorkWarning:
		c.report(p)
	case wire.WorkStatus:
		c.progress(p)
	case wire.PreSleep:
		c.sleep()
	case wire.CanDo:
		c.can(p.Raw(), 0)
	case wire.CanDoTimeout:
		c.canFor(p)
	case wire.CantDo:
		if f := c.server.functions[string(p.Raw())]; f != nil {
			if a := c.ability(f); a != nil {
				c.server.cannot(a)
			}
		}
	case wire.ResetAbilities:
		for len(c.abilities) > 0 {
			c.server.cannot(c.abilities[len(c.abilities)-1])
		}
	case wire.SetClientID:
		c.id = string(p.Raw())
	default:
		return false
	}
	return true
}

// canFor is can with a time limit, in milliseconds as in gearmand.
func (c *conn) canFor(p *wire.Packet) {
	ms, err := strconv.ParseInt(strings.TrimRight(string(p.Raw()), "\x00"), 10, 64)
	if err != nil || ms < 0 {
		ms = 0
	}
	const most = int64(365 * 24 * time.Hour / time.Millisecond)
	c.can(p.Arg(0), time.Duration(min(ms, most))*time.Millisecond)
}

// echo sends back what it has got.
func (c *conn) echo(p *wire.Packet) {
	data := p.Raw()
	if len(data) > blockSize/2 && !c.in.own() {
		data = append([]byte(nil), data...)
	}
	head := c.begin(wire.EchoRes, 0)
	c.finish(head, len(head)-12, len(data))
	c.out.share(data)
}

// option switches an option on.
func (c *conn) option(name []byte) {
	if !strings.EqualFold(string(name), "exceptions") {
		c.refuse(codeUnknownOption, "Server does not recognize given option")
		return
	}
	c.exceptions = true
	c.answer(wire.OptionRes, name)
}
