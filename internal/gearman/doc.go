// Package gearman speaks with Gearman job servers, such as gearmand.
//
// A Client submits jobs and asks what has become of them. It has several
// servers, in the order in which they are tried: a job goes to the first one
// that takes it, so that all clients with the same list meet at the same server
// and jobs with the same unique key are one job there.
//
// Package wire, below, has the protocol.
package gearman
