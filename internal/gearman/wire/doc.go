// Package wire is the binary protocol of Gearman: bytes in, packets out, and
// the other way round. It knows which packets there are and how many arguments
// each has, and nothing of what they mean.
//
// A packet is a header of 12 bytes, the magic ("\0REQ" to a server, "\0RES" from
// one), the type and the size of the body, both big-endian; the body is the
// arguments, separated by NUL. The last argument runs to the end of the body
// and may hold NULs itself. The protocol is described in the file PROTOCOL of
// gearmand; what that leaves open is here as gearmand 1.1.20 does it.
//
// The package imports nothing internal.
package wire
