package sqs

import (
	"strings"
	"testing"
	"time"

	"procops/integration/harness"
	"procops/internal/tasks/broker"
	"procops/internal/tasks/broker/leptirdoc"
	"procops/internal/tasks/leptir"
)

// shared returns a queue that is shared with programs that use leptir.
func shared(server string) Options {
	return Options{Endpoint: server, Queue: "leptir", MaxDelay: time.Second, Format: Leptir{
		Documents: leptirdoc.Format{Classes: leptir.NewClasses(map[string]string{"a": `App\A`})},
	}}
}

// post sends a document as a PHP producer does.
func post(t *testing.T, b *Broker, document string) {
	t.Helper()
	if err := firstOf(b.main.send(t.Context(), []letter{{text: document}})); err != nil {
		t.Fatal(err)
	}
}

// fetch receives the next message as a PHP consumer does.
func fetch(t *testing.T, b *Broker) (document string, attributes map[string]string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		messages, err := b.main.receive(t.Context(), 1, time.Minute, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if len(messages) > 0 {
			return *messages[0].Body, attributesOf(&messages[0])
		}
	}
	t.Fatal("nothing comes")
	return "", nil
}

// TestLeptirReads: what PHP has queued is claimed, and what becomes of it is kept beside the
// document.
func TestLeptirReads(t *testing.T) {
	t.Parallel()
	b := open(t, shared(startServer(t, harness.SQSServer)))
	post(t, b, `{"cn":"App\\A","pr":3,"tl":5,"toex":"","td":{"id":"7528a6c8d5a7b1.5","parameters":{"to":"ann"}}}`)
	l := next(t, b)
	if l.ID != "7528a6c8d5a7b1.5" || l.Type != "a" || l.Priority != 3 || !strings.Contains(string(l.Body), `"params":{"to":"ann"},"time_limit":5`) {
		t.Errorf("claimed %+v", l)
	}
	if err := b.Nack(t.Context(), l, broker.Again{Failed: true}); err != nil {
		t.Fatal(err)
	}
	if l = next(t, b); l.Attempts != 1 || l.Number != 2 || l.Crashes != 0 || l.ID != "7528a6c8d5a7b1.5" {
		t.Errorf("after a failure it is %+v", l)
	}
	if _, err := b.Ack(t.Context(), []broker.Lease{l}); err != nil {
		t.Fatal(err)
	}
	post(t, b, `{"cn":"App\\A","td":{"parameters":[]}}`)
	if l = next(t, b); l.ID == "" {
		t.Errorf("a task without an id came as %+v", l)
	}
}

// TestLeptirWrites: what is pushed is the document that PHP reads.
func TestLeptirWrites(t *testing.T) {
	t.Parallel()
	b := open(t, shared(startServer(t, harness.SQSTypedServer)))
	m := message("x")
	m.Body = []byte(`{"params":{"url":"http://x/ä"}}`)
	push(t, b, m)
	document, attributes := fetch(t, b)
	if want := `{"cn":"App\\A","pr":0,"tl":0,"toex":"","td":{"id":"x","parameters":{"url":"http:\/\/x\/\u00e4"}}}`; document != want || len(attributes) > 0 {
		t.Errorf("it is %s with %q, want %s", document, attributes, want)
	}
}

// TestLeptirPassesOn: a task that is early, or for a class of others, goes on as it came.
func TestLeptirPassesOn(t *testing.T) {
	t.Parallel()
	server := startServer(t, harness.SQSServer)
	b, php := open(t, shared(server)), open(t, shared(server))
	const foreign = `{"cn":"Ällö\\B","more":1,"pr":0,"tl":0,"toex":"","td":{"id":"f","parameters":[]}}`
	if found, err := b.Await(t.Context(), []string{"a"}, time.Millisecond); found || err != nil {
		t.Fatal(found, err)
	}
	post(t, php, foreign)
	harness.Eventually(t, "it was passed on", func() bool {
		n, err := php.Count(t.Context(), nil)
		return err == nil && n.Scheduled == 1
	})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if document, attributes := fetch(t, php); document != foreign || attributes[attributeNumber] == "" {
		t.Errorf("it is %s with %q", document, attributes)
	}

	b = open(t, shared(server))
	at := time.Now().Add(3 * time.Second).Truncate(time.Second)
	m := message("later")
	m.RunAt, m.Body = at, []byte(`{"params":{}}`)
	push(t, b, m)
	if l := next(t, b); l.ID != "later" || time.Now().Before(at) || l.Crashes != 0 {
		t.Errorf("at %s came %+v", time.Now(), l)
	}
}

// TestLeptirGarbage: what is no document is put aside.
func TestLeptirGarbage(t *testing.T) {
	t.Parallel()
	b := open(t, shared(startServer(t, harness.SQSServer)))
	post(t, b, "hello")
	if _, err := b.Await(t.Context(), []string{"a"}, 30*time.Second); err == nil || !strings.Contains(err.Error(), "it is not a task of leptir") || !strings.Contains(err.Error(), `in the queue "leptir-dead" now`) {
		t.Errorf("it says %v", err)
	}
}
