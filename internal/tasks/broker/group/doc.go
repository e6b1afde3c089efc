// Package group makes one broker of several. Each has a priority: where it is lower the
// broker is more important.
//
// A message is pushed to the first broker, in ascending order, whose priority is not below
// its own, otherwise to the last. It is claimed from any of them. What is done with a lease
// is done at the broker that it comes from.
package group
