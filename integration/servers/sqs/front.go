package main

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/Admiral-Piett/goaws/app/models"
)

// front stands before goaws. It speaks the JSON protocol only.
type front struct {
	goaws    http.Handler
	receipts *sync.Map // the newest receipt of each message
}

// request is what the operations that are answered here have in common.
type request struct {
	QueueName string            `json:"QueueName"`
	QueueURL  string            `json:"QueueUrl"`
	Entries   []json.RawMessage `json:"Entries"`
}

// failure is an entry of a batch that has failed.
type failure struct {
	ID          string `json:"Id"`
	Code        string `json:"Code"`
	Message     string `json:"Message"`
	SenderFault bool   `json:"SenderFault"`
}

// ServeHTTP answers a request.
func (f front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var asked request
	_ = json.Unmarshal(body, &asked)
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	switch operation := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "AmazonSQS."); operation {
	case "SendMessageBatch", "ChangeMessageVisibilityBatch", "DeleteMessageBatch":
		_ = json.NewEncoder(w).Encode(f.batch(r, strings.TrimSuffix(operation, "Batch"), asked))
	case "CreateQueue":
		add(asked.QueueName)
		f.pass(w, r, operation, body)
	case "GetQueueAttributes":
		_ = json.NewEncoder(w).Encode(map[string]any{"Attributes": count(asked.QueueURL)})
	case "ReceiveMessage":
		answer := f.ask(r, operation, body)
		w.WriteHeader(answer.Code)
		_, _ = w.Write(f.received(asked.QueueURL, answer.Body.Bytes()))
	default:
		f.pass(w, r, operation, body)
	}
}

// pass passes a request on, and the answer back.
func (f front) pass(w http.ResponseWriter, r *http.Request, operation string, body []byte) {
	answer := f.ask(r, operation, body)
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

// ask passes a request on.
func (f front) ask(r *http.Request, operation string, body []byte) *httptest.ResponseRecorder {
	inner := r.Clone(r.Context())
	inner.Body, inner.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	inner.Header.Set("X-Amz-Target", "AmazonSQS."+operation)
	answer := httptest.NewRecorder()
	f.goaws.ServeHTTP(answer, inner)
	return answer
}

// batch makes a request of each entry.
func (f front) batch(r *http.Request, operation string, asked request) any {
	answers := struct {
		Successful []json.RawMessage
		Failed     []failure
	}{Successful: []json.RawMessage{}, Failed: []failure{}}
	for _, entry := range asked.Entries {
		var fields map[string]any
		if err := json.Unmarshal(entry, &fields); err != nil {
			continue
		}
		id, _ := fields["Id"].(string)
		fields["QueueUrl"] = asked.QueueURL
		if receipt, is := fields["ReceiptHandle"].(string); is && operation == "DeleteMessage" {
			f.restore(asked.QueueURL, receipt)
		}
		one, _ := json.Marshal(fields)
		answer := f.ask(r, operation, one)
		said := map[string]any{}
		_ = json.Unmarshal(answer.Body.Bytes(), &said)
		if answer.Code != http.StatusOK {
			answers.Failed = append(answers.Failed, failure{id, "ReceiptHandleIsInvalid", answer.Body.String(), true})
			continue
		}
		said["Id"] = id
		done, _ := json.Marshal(said)
		answers.Successful = append(answers.Successful, done)
	}
	return answers
}

// add makes a queue. goaws looks at its map of queues without a lock, so a map that it may
// look at is not changed, but another one is put in its place.
func add(name string) {
	models.SyncQueues.Lock()
	defer models.SyncQueues.Unlock()
	if models.SyncQueues.Queues[name] != nil || name == "" {
		return
	}
	queues := maps.Clone(models.SyncQueues.Queues)
	queues[name] = &models.Queue{
		Name: name, Duplicates: map[string]time.Time{},
		URL: "http://" + models.CurrentEnvironment.Host + ":" + models.CurrentEnvironment.Port + "/" + models.CurrentEnvironment.AccountID + "/" + name,
	}
	models.SyncQueues.Queues = queues
}

func queueName(url string) string { return url[strings.LastIndexByte(url, '/')+1:] }

// restore makes the newest receipt of a message good again, which goaws forgets when the
// message is visible again.
func (f front) restore(url, receipt string) {
	id, _, _ := strings.Cut(receipt, "#")
	if newest, known := f.receipts.Load(id); !known || newest != receipt {
		return
	}
	models.SyncQueues.Lock()
	defer models.SyncQueues.Unlock()
	queue := models.SyncQueues.Queues[queueName(url)]
	for i := range queue.Messages {
		if m := &queue.Messages[i]; m.Uuid == id {
			m.ReceiptHandle, m.VisibilityTimeout = receipt, time.Now().Add(time.Minute) // until it is deleted, in a moment
		}
	}
}

// received notes that messages were received, which goaws does not, and puts the right
// number into the answer.
func (f front) received(url string, answer []byte) []byte {
	var out struct {
		Messages []map[string]any
	}
	if json.Unmarshal(answer, &out) != nil {
		return answer
	}
	models.SyncQueues.Lock()
	defer models.SyncQueues.Unlock()
	queue := models.SyncQueues.Queues[queueName(url)]
	for _, m := range out.Messages {
		for i := range queue.Messages {
			if q := &queue.Messages[i]; q.Uuid == m["MessageId"] {
				q.NumberOfReceives++
				f.receipts.Store(q.Uuid, m["ReceiptHandle"])
				m["Attributes"] = map[string]string{"ApproximateReceiveCount": strconv.Itoa(q.NumberOfReceives)}
			}
		}
	}
	answer, _ = json.Marshal(out)
	return answer
}

// count counts the messages of a queue.
func count(url string) map[string]string {
	models.SyncQueues.RLock()
	defer models.SyncQueues.RUnlock()
	var visible, hidden, delayed int
	if queue := models.SyncQueues.Queues[queueName(url)]; queue != nil {
		for i := range queue.Messages {
			m := &queue.Messages[i]
			switch {
			case m.ReceiptHandle != "":
				hidden++
			case time.Now().Before(m.SentTime.Add(time.Duration(m.DelaySecs) * time.Second)):
				delayed++
			default:
				visible++
			}
		}
	}
	return map[string]string{
		"ApproximateNumberOfMessages":           strconv.Itoa(visible),
		"ApproximateNumberOfMessagesNotVisible": strconv.Itoa(hidden),
		"ApproximateNumberOfMessagesDelayed":    strconv.Itoa(delayed),
	}
}
