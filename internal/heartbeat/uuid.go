package heartbeat

import (
	"crypto/rand"
	"fmt"
	"strings"
)

// IsUUID reports whether a text is a UUID in its usual form, such as
// "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"; see RFC 9562.
func IsUUID(text string) bool {
	if len(text) != len("xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx") {
		return false
	}
	for i := range len(text) {
		wanted := "0123456789abcdefABCDEF"
		if i == 8 || i == 13 || i == 18 || i == 23 {
			wanted = "-"
		}
		if strings.IndexByte(wanted, text[i]) < 0 {
			return false
		}
	}
	return true
}

// newUUID returns a random UUID, version 4 of RFC 9562.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
