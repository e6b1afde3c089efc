//go:build race

package harness

// raceDetector: with the race detector in the tests the binary has it too.
const raceDetector = true
