package leptir

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// chanceMost is the largest chance that does not become 1 with eight decimals.
const chanceMost = 0.99999999

// NewID returns an id as PHP's uniqid(PID, true): the process, the time to the
// microsecond in hexadecimal, and a number below ten. chance is from 0 to 1.
func NewID(pid int, now time.Time, chance float64) string {
	return fmt.Sprintf("%d%08x%05x%.8f", pid, now.Unix(), now.Nanosecond()/int(time.Microsecond), min(chance, chanceMost)*10)
}

// IDTime returns the time at which an id of the form of NewID was made.
func IDTime(id string) (time.Time, bool) {
	const fraction, micros, seconds = len("0.00000000"), len("00000"), len("00000000")
	at := len(id) - fraction - micros - seconds
	if at < 1 || strings.Trim(id[:at], "0123456789") != "" {
		return time.Time{}, false
	}
	sec, badSec := strconv.ParseUint(id[at:at+seconds], 16, 63)
	usec, badMicros := strconv.ParseUint(id[at+seconds:at+seconds+micros], 16, 63)
	tail := id[at+seconds+micros:]
	if badSec != nil || badMicros != nil || usec >= 1e6 || tail[1] != '.' || strings.Trim(tail[:1]+tail[2:], "0123456789") != "" {
		return time.Time{}, false
	}
	return time.Unix(int64(sec), int64(usec)*int64(time.Microsecond)), true
}

// MongoID returns the _id of a task in a collection: its time in seconds, in hexadecimal,
// and a fraction by chance, from 0 to 1. A task is ready when its _id is not above the one
// of now and chance 0, as texts.
func MongoID(at time.Time, chance float64) string {
	return fmt.Sprintf("%08x%.8f", at.Unix(), min(chance, chanceMost))
}

// MongoTime returns the time in an _id of a task, to the second.
func MongoTime(id string) (time.Time, bool) {
	hex, _, found := strings.Cut(id, ".")
	if !found || len(hex) < len("000000000") {
		return time.Time{}, false
	}
	sec, err := strconv.ParseUint(hex[:len(hex)-1], 16, 63)
	if err != nil || sec > math.MaxUint32 {
		return time.Time{}, false
	}
	return time.Unix(int64(sec), 0), true
}
