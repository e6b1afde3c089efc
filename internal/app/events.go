package app

import (
	"slices"
	"strings"

	"procops/internal/daemon"
	"procops/internal/event"
	"procops/internal/gearman/server"
	"procops/internal/gearman/worker"
	"procops/internal/heartbeat"
	"procops/internal/hook"
	"procops/internal/supervise"
	"procops/internal/tasks"
)

// Events describes all event types of procops, ordered by name.
func Events() []event.Description {
	all := slices.Concat(heartbeat.Events(), daemon.Events(), supervise.Events(), server.Events(), worker.Events(), tasks.Events(), hook.Events())
	slices.SortFunc(all, func(a, b event.Description) int { return strings.Compare(a.Name, b.Name) })
	return all
}
