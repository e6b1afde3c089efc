// Package mongodb connects to servers of MongoDB, for all that keeps tasks or what is known
// of them there, and says in few words what is wrong with a server.
package mongodb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
)

const (
	// findTimeout is the time in which a server must be found, where the URL has no
	// serverSelectionTimeoutMS.
	findTimeout = 5 * time.Second
	// closePatience is how long Close waits for the server to hear of it.
	closePatience = 2 * time.Second
)

// Client is a connection to a server or a replica set that is made when it is first
// needed. A write counts when the majority of the servers has it in its journal, unless the
// URL says otherwise.
type Client struct {
	url     string
	timeout time.Duration

	mu     sync.Mutex
	client *mongo.Client // nil until it is needed
}

// New returns a client; an empty URL is "mongodb://127.0.0.1:27017". A call that takes longer
// than timeout has failed; 0: none has. The error says what is wrong with the URL.
func New(url string, timeout time.Duration) (*Client, error) {
	c := &Client{url: cmp.Or(url, "mongodb://127.0.0.1:27017"), timeout: timeout}
	if strings.HasPrefix(c.url, "mongodb+srv://") { // that one asks the DNS when it is read
		return c, nil
	}
	_, err := c.options()
	return c, err
}

func (c *Client) options() (*options.ClientOptions, error) {
	o := options.Client().SetServerSelectionTimeout(findTimeout).SetTimeout(c.timeout).SetAppName("procops").
		SetWriteConcern(&writeconcern.WriteConcern{W: writeconcern.WCMajority, Journal: new(true)}).
		ApplyURI(c.url).SetReadPreference(readpref.Primary())
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("invalid URL of a MongoDB server: %w", innermost(err))
	}
	return o, nil
}

// Database returns a database, and connects if nobody has yet. That costs no time: the
// library does it in the background.
func (c *Client) Database(name string) (*mongo.Database, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client == nil {
		o, err := c.options()
		if err != nil {
			return nil, err
		}
		if c.client, err = mongo.Connect(o); err != nil {
			return nil, err
		}
	}
	return c.client.Database(name), nil
}

// Close closes the connections.
func (c *Client) Close() error {
	c.mu.Lock()
	client := c.client
	c.mu.Unlock()
	if client == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	if err := client.Disconnect(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}
