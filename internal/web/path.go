package web

import (
	"strconv"
	"strings"

	"procops/internal/heartbeat"
)

const pingPrefix = "/ping/"

// target is what the URL of a ping says. The rules are those of healthchecks.
type target struct {
	uuid string // lower case; empty if it goes by key and slug
	key  string
	slug string
	kind heartbeat.PingKind
	code int // exit status; -1: none
}

// lastCode is the highest exit status that there is.
const lastCode = 255

// parsePing reads the path of a ping; false if it is none.
func parsePing(path string) (t target, ok bool) {
	path, ok = strings.CutPrefix(path, pingPrefix)
	if !ok {
		return target{}, false
	}
	parts := strings.Split(path, "/")
	if t, ok := byUUID(parts); ok {
		return t, true
	}
	return bySlug(parts)
}

// byUUID reads UUID, UUID/ and UUID/ACTION.
func byUUID(parts []string) (target, bool) {
	// Upper case is no UUID here, but it may be a key.
	if len(parts) > 2 || !heartbeat.IsUUID(parts[0]) || strings.ToLower(parts[0]) != parts[0] {
		return target{}, false
	}
	t := target{uuid: parts[0], kind: heartbeat.PingSuccess, code: -1}
	if len(parts) == 1 || parts[1] == "" {
		return t, true
	}
	return t.with(parts[1])
}

// bySlug reads KEY/SLUG and KEY/SLUG/ACTION; KEY/SLUG/ is none.
func bySlug(parts []string) (target, bool) {
	if len(parts) < 2 || len(parts) > 3 || !isSlug(parts[0]) || !isSlug(parts[1]) {
		return target{}, false
	}
	t := target{key: parts[0], slug: parts[1], kind: heartbeat.PingSuccess, code: -1}
	if len(parts) == 2 {
		return t, true
	}
	return t.with(parts[2])
}

// with adds an action: a kind of ping or an exit status.
func (t target) with(action string) (target, bool) {
	switch kind := heartbeat.PingKind(action); kind {
	case heartbeat.PingStart, heartbeat.PingFail, heartbeat.PingLog:
		t.kind = kind
		return t, true
	case heartbeat.PingSuccess: // has no name in URLs
		return t, false
	}
	if action == "" || strings.Trim(action, "0123456789") != "" {
		return t, false
	}
	code, err := strconv.Atoi(action)
	if err != nil || code > lastCode {
		code = lastCode + 1 // known to be wrong, and how wrong does not matter
	}
	if t.code = code; code > 0 {
		t.kind = heartbeat.PingFail
	}
	return t, true
}

// isSlug reports whether s can be a slug or a key in a URL.
func isSlug(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !isWord(r) && r != '-'
	})
}

func isWord(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_'
}

// slugOf returns the slug that healthchecks would make of the name of a
// heartbeat: in lower case and without dots.
func slugOf(name string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		if isWord(r) || r == '-' && !strings.HasSuffix(b.String(), "-") {
			b.WriteRune(r)
		}
	}
	return strings.Trim(b.String(), "-_")
}
