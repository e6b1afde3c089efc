// Package mongo is a broker for many hosts: a queue in a collection of MongoDB. Each
// message is a document, and each step of it a change of that one document, which the
// server makes alone: however many workers on however many hosts share the queue, a
// message has one lease at a time. No step needs a transaction or a change stream, so a
// single server does as well as a replica set.
//
// What is ready, and which lease has ended, is decided by the clock of the server, so the
// hosts need not agree on the time (see clock).
//
// A write has happened when the majority of a replica set has it in its journal, unless the
// URL says otherwise: it survives the end of any of the servers.
package mongo
