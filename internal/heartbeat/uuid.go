package heartbeat

import (
	"crypto/rand"
	"fmt"
	"regexp"
)

// IsUUID reports whether a text is a UUID in its usual form, such as
// "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"; see RFC 9562.
func IsUUID(text string) bool {
	return regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`).MatchString(text)
}

// newUUID returns a random UUID, version 4 of RFC 9562.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
