package app

import (
	"context"

	"procops/internal/heartbeat"
)

// Heartbeats returns the list of heartbeats of the state directory and opens
// its store when it is first asked for.
func (a *App) Heartbeats(ctx context.Context) (*heartbeat.List, error) {
	st, err := a.Store(ctx)
	if err != nil {
		return nil, err
	}
	return heartbeat.New(st, a.Config.Heartbeat), nil
}
