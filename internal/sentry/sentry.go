// Package sentry reports errors to Sentry and to what speaks its protocol: one event in an
// envelope, by HTTP. A DSN is a secret; errors name its host only.
//
// https://develop.sentry.dev/sdk/data-model/envelopes/
package sentry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
)

// DSN says where reports go and by what right: https://KEY@HOST/PROJECT.
type DSN string

// parts of a DSN.
type parts struct {
	endpoint, key, host string
}

func (d DSN) parse() (p parts, err error) {
	u, err := url.Parse(string(d))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User == nil || u.User.Username() == "" {
		return p, errors.New(`invalid DSN: want something like "https://KEY@sentry.example.org/42"`)
	}
	before, project := path.Split(strings.TrimRight(u.Path, "/"))
	if project == "" {
		return p, errors.New("invalid DSN: there is no project behind the host")
	}
	host := u.Scheme + "://" + u.Host
	return parts{endpoint: host + before + "api/" + url.PathEscape(project) + "/envelope/", key: u.User.Username(), host: host}, nil
}

// UnmarshalText reads a DSN.
func (d *DSN) UnmarshalText(text []byte) error {
	*d = DSN(text)
	_, err := d.parse()
	return err
}

// Masked returns the DSN without what gives the right to use it.
func (d DSN) Masked() string {
	p, err := d.parse()
	if err != nil {
		return "********"
	}
	return p.host + "/********"
}

// Event is an error. ID has 32 hexadecimal digits.
type Event struct {
	ID          string            `json:"event_id"`
	Time        time.Time         `json:"timestamp"`
	Platform    string            `json:"platform"` // "other"
	Level       string            `json:"level"`    // fatal, error, warning, info or debug
	Logger      string            `json:"logger,omitempty"`
	Server      string            `json:"server_name,omitempty"`
	Exception   Exceptions        `json:"exception"`
	Fingerprint []string          `json:"fingerprint,omitempty"` // events with the same one are one issue
	Tags        map[string]string `json:"tags,omitempty"`
	Extra       any               `json:"extra,omitempty"`
}

// Exceptions are what has gone wrong.
type Exceptions struct {
	Values []Exception `json:"values"`
}

// Exception is one of them.
type Exception struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// maxAnswer is how many bytes of an answer are read.
const maxAnswer = 4 << 10

// Send reports an event. It is tried once; an answer that asks for patience is an error.
func Send(ctx context.Context, client *http.Client, dsn DSN, e Event) error {
	to, err := dsn.parse()
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to.endpoint, nil)
	if err == nil {
		err = setBody(request, e)
	}
	if err != nil {
		return fmt.Errorf("cannot make a report for %s: %w", to.host, err)
	}
	request.Header.Set("Content-Type", "application/x-sentry-envelope")
	request.Header.Set("User-Agent", "procops")
	request.Header.Set("X-Sentry-Auth", "Sentry sentry_version=7, sentry_client=procops/1, sentry_key="+to.key)
	response, err := client.Do(request)
	if err != nil {
		if inURL, ok := errors.AsType[*url.Error](err); ok {
			err = inURL.Err // the URL is not for everybody
		}
		return fmt.Errorf("cannot report to %s: %w", to.host, err)
	}
	_, _ = io.CopyN(io.Discard, response.Body, maxAnswer) // whatever it says, it has answered
	_ = response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return fmt.Errorf("cannot report to %s: the answer is %s", to.host, response.Status)
	}
	return nil
}

// setBody puts the envelope into a request: a header, the header of the one item in it, and
// that.
func setBody(request *http.Request, e Event) error {
	item, err := json.Marshal(e)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"event_id":%q,"sent_at":%q}`+"\n", e.ID, time.Now().UTC().Format(time.RFC3339))
	fmt.Fprintf(&b, `{"type":"event","length":%d,"content_type":"application/json"}`+"\n", len(item))
	b.Write(append(item, '\n'))
	request.ContentLength = int64(b.Len())
	request.Body = io.NopCloser(&b)
	return nil
}
