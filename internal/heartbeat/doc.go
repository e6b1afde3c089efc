// Package heartbeat answers one question: is it alive?
//
// A client beats, and whoever wants to know knocks: the age of the last beat
// (its lag) says whether the heartbeat is ok, a warning or critical. Run wraps
// a command, such as one from a crontab, and beats with its outcome.
//
// Heartbeats are declared in the configuration or attached at run time; both
// kinds live in one list, in the state store.
package heartbeat
