package config

import "strings"

// masked stands in the place of a secret.
const masked = "********"

// shortSecret is the length of the shortest value that is masked wherever it
// stands: shorter ones also occur by chance.
const shortSecret = 4

// isSecret reports whether a variable or key of that name holds a secret.
func isSecret(name string) bool {
	name = strings.ToUpper(name)
	for _, word := range []string{"PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "KEY", "CREDENTIAL", "DSN", "AUTHORIZATION"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return name == "COOKIE"
}

// masker hides secrets.
type masker struct {
	known []string // values that came from variables whose names say that they are secrets
}

// value returns the text of a key with secrets masked: all of it if the key's
// name says so, else passwords in URLs and known secrets.
func (m masker) value(key, text string) string {
	if text == "" {
		return ""
	}
	if isSecret(key) {
		return masked
	}
	for _, secret := range m.known {
		text = strings.ReplaceAll(text, secret, masked)
	}
	return maskURLs(text)
}

// maskURLs masks the password in each URL in text.
func maskURLs(text string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "://")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		b.WriteString("://")
		end := strings.IndexAny(after, "/?# \t\n\"'`<>")
		if end < 0 {
			end = len(after)
		}
		if at := strings.LastIndexByte(after[:end], '@'); at >= 0 {
			if user, password, ok := strings.Cut(after[:at], ":"); ok && password != "" {
				b.WriteString(user + ":" + masked)
				after = after[at:]
			}
		}
		text = after
	}
}
