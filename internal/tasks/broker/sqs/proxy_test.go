package sqs

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// proxy stands before a server, notes which calls come, and answers some itself.
type proxy struct {
	URL   string
	front *httptest.Server
	// answer may answer a call instead of the server; nil: none.
	answer func(w http.ResponseWriter, operation string, body []byte) bool

	mu    sync.Mutex
	calls []string // the operations, in the order in which they were answered
}

func startProxy(tb testing.TB, server string, answer func(w http.ResponseWriter, operation string, body []byte) bool) *proxy {
	tb.Helper()
	p := &proxy{answer: answer}
	to, err := url.Parse(server)
	if err != nil {
		tb.Fatal(err)
	}
	pass := &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {}, // the client has gone
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		operation := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "AmazonSQS.")
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		if p.answer == nil || !p.answer(w, operation, body) {
			pass.ServeHTTP(w, r)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.calls = append(p.calls, operation)
	}))
	tb.Cleanup(front.Close)
	p.URL, p.front = front.URL, front
	return p
}

// count returns how many calls of an operation were answered.
func (p *proxy) count(operation string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, c := range p.calls {
		if c == operation {
			n++
		}
	}
	return n
}

// seen returns the calls so far, but for those that wait for messages.
func (p *proxy) seen() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.calls), func(c string) bool { return c == "ReceiveMessage" || c == "GetQueueUrl" || c == "CreateQueue" })
}

// refuse answers with an error of SQS.
func refuse(w http.ResponseWriter, status int, code, message string) bool {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": "com.amazonaws.sqs#" + code, "message": message})
	return true
}
