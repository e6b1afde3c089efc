// Package webhook tells others of events by HTTP. A request is a CloudEvent 1.0
// in structured JSON mode; with a secret it is signed in the way of Standard
// Webhooks 1.0, so that any of its libraries can verify it. What is not taken
// is tried again, for a bounded time. URLs of webhooks are often secrets in
// themselves: errors name the host only.
//
// https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
package webhook
