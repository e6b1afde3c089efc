package gearman

import (
	"context"
	"crypto/rand"
	"time"

	"procops/internal/gearman/wire"
)

// Ping has one server echo a few bytes n times, one after the other on one connection, and
// returns how long each took, without the time for the connection. If there is an error
// they are those before it.
func (c *Client) Ping(ctx context.Context, server Address, n int) (took []time.Duration, err error) {
	conn, err := c.connect(ctx, server)
	if err != nil {
		return nil, err
	}
	defer conn.close()
	for range n {
		one, err := conn.echo(rand.Text())
		if err != nil {
			return took, err
		}
		took = append(took, one)
	}
	return took, nil
}

// echo has the server send back a text.
func (c *conn) echo(text string) (took time.Duration, err error) {
	start := time.Now()
	if err := c.ask(wire.EchoReq, text); err != nil {
		return 0, err
	}
	p, err := c.receive(wire.EchoRes)
	if err != nil {
		return 0, err
	}
	took = time.Since(start)
	echo, err := c.last(p)
	if err == nil && echo != text {
		err = c.strange("ECHO_RES with %s", forPeople(echo))
	}
	return took, err
}
