// Package metrics writes figures in the text format of Prometheus, and serves a page of
// them. A client library would do more, and cost every start of procops a third of a
// millisecond. The package imports nothing internal.
package metrics
