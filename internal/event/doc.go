// Package event is the bus on which the five concerns tell what happened.
//
// A concern declares its event types in one table (events.go) with Define and
// makes events with Type.New. Two kinds of listener exist. A subscriber is
// called in the goroutine that publishes and may act on the one who speaks. A
// Sink has a bounded queue and a goroutine of its own: it never blocks the
// speaker and counts what it drops.
//
// Events about a change of state are not published here directly but handed to
// a store transaction, which records them with the change and publishes after
// the commit. The package imports nothing internal.
package event
