// Package group makes one broker of several. Each has a priority: where it is lower the
// broker is more important.
//
// A message is pushed to the first broker, in ascending order, whose priority is not below
// its own, otherwise to the last. It is claimed from any of them. What is done with a lease
// is done at the broker that it comes from.
//
// No broker holds up the others. One that is down is left alone for a while that grows with
// each attempt. A claim that takes long goes on by itself while others are asked; what it
// brings is handed out later, or given back.
package group
