// Package web is what procops serves over HTTP: the ping API of healthchecks,
// metrics for Prometheus, badges, and whether it is well.
//
//	GET, HEAD, POST  /ping/UUID                a beat of the heartbeat with that UUID
//	GET, HEAD, POST  /ping/KEY/SLUG            a beat of the heartbeat with that name
//	                 …/start …/fail …/log …/N  the other kinds; N is an exit status
//	GET, HEAD        /metrics                  Prometheus text
//	GET, HEAD        /healthz                  200 as long as the state can be read
//	GET, HEAD        /badge/NAME.svg           the state of a heartbeat as an image
//	GET, HEAD        /badge/tag/TAG.svg        the worst state of all with that tag
//
// UUIDs, keys and tokens give the right to something: they are never logged.
package web

import (
	"context"

	"procops/internal/heartbeat"
)

// Heartbeats is the list of heartbeats that the server needs.
type Heartbeats interface {
	// Ping records a ping. A name that is not in the list is a fault.NotFound
	// unless p says to create it; a ping that comes too fast is a fault.Conflict
	// if the heartbeat refuses those.
	Ping(ctx context.Context, name string, p heartbeat.Ping) (heartbeat.Receipt, error)
	// NameOf returns the name of the heartbeat with a UUID, a fault.NotFound if
	// there is none.
	NameOf(ctx context.Context, uuid string) (string, error)
	// All returns the heartbeats that have all of the tags, ordered by name.
	All(ctx context.Context, tags []string) ([]heartbeat.Heartbeat, error)
}

// kinds returns all kinds of pings.
func kinds() []heartbeat.PingKind {
	return []heartbeat.PingKind{heartbeat.PingSuccess, heartbeat.PingStart, heartbeat.PingFail, heartbeat.PingLog}
}
