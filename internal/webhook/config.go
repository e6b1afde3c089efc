package webhook

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"procops/internal/unit"
)

// Config says where events are sent and how. In a config file it is a table, or
// a string that is only the URL.
type Config struct {
	URL     URL               `toml:"url" doc:"http or https URL to which events are posted as CloudEvents; redirects are not followed" required:"true"`
	Secret  *string           `toml:"secret" doc:"key by which requests are signed (Standard Webhooks); one that begins with whsec_ is in base64"`
	Timeout unit.Duration     `toml:"timeout" min:"1ms" max:"1m" default:"10s" doc:"time for one attempt"`
	Retries int               `toml:"retries" min:"0" max:"10" default:"3" doc:"further attempts after no answer, 429 and 5xx, with longer and longer waits between"`
	Headers map[string]string `toml:"headers" doc:"added to each request, such as Authorization"`
}

// UnmarshalString reads a webhook that is only a URL.
func (c *Config) UnmarshalString(text string) error {
	if text == "" {
		return errors.New("it is empty")
	}
	c.URL = URL(text)
	return nil
}

// Check reports what is wrong with the config; path leads from it to the value
// to blame.
func (c *Config) Check(report func(err error, path ...string)) {
	if c.URL != "" && c.URL.parse() == nil { // an empty one is reported where it was read
		report(errors.New(`invalid URL: want something like "https://example.org/hook"`), "url")
	}
	if c.Secret != nil {
		if _, err := key(*c.Secret); err != nil {
			report(err, "secret")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		if err := checkHeader(name, c.Headers[name]); err != nil {
			report(err, "headers", name)
		}
	}
}

// Limit returns how long one delivery can take, all attempts together.
func (c *Config) Limit() time.Duration {
	return time.Duration(c.Retries+1)*c.Timeout.Std() + time.Duration(c.Retries)*maxWait + time.Second
}

// URL is the URL of a webhook. Its path and query may be what gives the right to
// use it, so they are not shown.
type URL string

// hidden stands where something is not shown.
const hidden = "********"

// Masked returns the URL with everything behind the host hidden.
func (u URL) Masked() string {
	parsed := u.parse()
	switch {
	case parsed == nil:
		return hidden
	case strings.Trim(parsed.Path, "/") == "" && parsed.RawQuery == "":
		return u.host() + parsed.Path
	default:
		return u.host() + "/" + hidden
	}
}

// host returns the scheme and the host, for messages.
func (u URL) host() string {
	parsed := u.parse()
	if parsed == nil {
		return hidden
	}
	return parsed.Scheme + "://" + parsed.Host
}

// parse returns the parts of the URL; nil if it is none that can be posted to.
func (u URL) parse() *url.URL {
	parsed, err := url.Parse(string(u))
	if err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Hostname() == "" {
		return nil
	}
	if port := parsed.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil
		}
	}
	return parsed
}

// secretPrefix marks a secret that is in base64, as the libraries of Standard
// Webhooks make them.
const secretPrefix = "whsec_"

// key returns the bytes of a secret.
func key(secret string) ([]byte, error) {
	encoded, isBase64 := strings.CutPrefix(secret, secretPrefix)
	if !isBase64 {
		if secret == "" {
			return nil, errors.New("it is empty")
		}
		return []byte(secret), nil
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(raw) == 0 {
		return nil, fmt.Errorf("what follows %q is not base64", secretPrefix)
	}
	return raw, nil
}

// own are the headers that this package sets itself, or the HTTP client.
func own() []string {
	return []string{
		"Content-Type", "Content-Length", "Host", "Connection", "Transfer-Encoding",
		textproto.CanonicalMIMEHeaderKey(headerID), textproto.CanonicalMIMEHeaderKey(headerTimestamp), textproto.CanonicalMIMEHeaderKey(headerSignature),
	}
}

// checkHeader checks a header; the value may be a secret and is not shown.
func checkHeader(name, value string) error {
	token := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	}
	switch {
	case strings.IndexFunc(name, func(r rune) bool { return !token(r) }) >= 0:
		return errors.New("it is no name of a header")
	case slices.Contains(own(), textproto.CanonicalMIMEHeaderKey(name)):
		return errors.New("procops sets this header itself")
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		return errors.New("the value of a header cannot have control characters in it")
	}
	return nil
}
