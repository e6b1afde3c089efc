package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"os"
	"strconv"
	"time"

	"procops/internal/event"
)

// The headers of Standard Webhooks.
const (
	headerID        = "webhook-id"
	headerTimestamp = "webhook-timestamp"
	headerSignature = "webhook-signature"
)

// Message is an event on its way, the same in all attempts to deliver it. Its
// JSON form is that of CloudEvents.
type Message struct {
	SpecVersion string          `json:"specversion"`
	ID          string          `json:"id"`     // unique; receivers know repetitions by it
	Source      string          `json:"source"` // a URI reference: "/procops/HOST/supervise"
	Type        string          `json:"type"`
	Subject     string          `json:"subject,omitempty"`
	Time        time.Time       `json:"time"`
	ContentType string          `json:"datacontenttype,omitempty"`
	Data        json.RawMessage `json:"data,omitempty"`
}

// NewMessage makes a message of an event, on behalf of a part of procops such as
// "supervise". The error says that the event's data is no JSON.
func NewMessage(part string, e event.Event) (Message, error) {
	data, err := e.DataJSON()
	if err != nil {
		return Message{}, err
	}
	m := Message{
		SpecVersion: "1.0", ID: rand.Text(), Source: source(part),
		Type: e.Type, Subject: e.Subject, Time: e.Time.UTC(), Data: data,
	}
	if len(data) > 0 {
		m.ContentType = "application/json"
	}
	return m, nil
}

// source names who speaks. A host without a name is left out.
func source(part string) string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		return "/procops/" + part
	}
	return "/procops/" + url.PathEscape(host) + "/" + part
}

// sign returns the signature of a body that is sent at a time.
func sign(key []byte, id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
