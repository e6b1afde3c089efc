// Package harness is what the tests of the real binary share: it builds
// procops, runs it in a sandbox of its own, waits for what it says and does
// with a deadline, and sees that nothing is left running.
package harness

import "time"

// Patience is how long the harness waits for anything before the test fails.
// It is long, because it only costs time when something is wrong, and the race
// detector on a busy machine is slow.
const Patience = 30 * time.Second
