package sqs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// box is one queue of SQS.
type box struct {
	client *sqs.Client
	name   string // or its URL
	create bool

	mu  sync.Mutex
	url string // empty until it is known
}

// callTimeout is how long a call may take that does not wait for messages, its further
// attempts included.
const callTimeout = 30 * time.Second

// retention is how long SQS keeps a message in a queue that is created here: the longest
// it grants.
const retention = 14 * 24 * time.Hour

// address returns the URL of the queue, and looks it up when that is first needed.
func (b *box) address(ctx context.Context) (*string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.url == "" {
		url, err := b.lookUp(ctx)
		if err != nil {
			return nil, err
		}
		b.url = url
	}
	url := b.url
	return &url, nil
}

func (b *box) lookUp(ctx context.Context) (string, error) {
	if isURL(b.name) {
		return b.name, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	found, err := b.client.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &b.name})
	if err == nil {
		return aws.ToString(found.QueueUrl), nil
	}
	if !b.create || !isMissing(err) {
		return "", b.explain(err)
	}
	made, err := b.client.CreateQueue(ctx, &sqs.CreateQueueInput{
		QueueName:  &b.name,
		Attributes: map[string]string{"MessageRetentionPeriod": strconv.Itoa(int(retention.Seconds()))},
	})
	if err != nil {
		return "", b.explain(err)
	}
	return aws.ToString(made.QueueUrl), nil
}

// failed explains why a call has failed. A queue that is gone is looked for again, and created
// again, when it is next needed.
func (b *box) failed(err error) error {
	if isMissing(err) {
		b.mu.Lock()
		b.url = ""
		b.mu.Unlock()
	}
	return b.explain(err)
}

// letter is a message on its way into a queue.
type letter struct {
	text       string
	attributes map[string]string
	delay      time.Duration // in whole seconds
}

// size is what SQS counts of a message.
func (l *letter) size() int {
	n := len(l.text)
	for key, value := range l.attributes {
		n += len(key) + len("String") + len(value)
	}
	return n
}

// send queues messages and returns what has become of each: nil when it is queued.
func (b *box) send(ctx context.Context, letters []letter) []error {
	return b.batches(ctx, len(letters), func(i int) int { return letters[i].size() },
		func(ctx context.Context, url *string, which []int) ([]types.BatchResultErrorEntry, error) {
			entries := make([]types.SendMessageBatchRequestEntry, len(which))
			for n, i := range which {
				l := &letters[i]
				entries[n] = types.SendMessageBatchRequestEntry{
					Id: entryID(i), MessageBody: &l.text, DelaySeconds: seconds(l.delay), MessageAttributes: attributeValues(l.attributes),
				}
			}
			out, err := b.client.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: url, Entries: entries})
			if err != nil {
				return nil, err
			}
			return out.Failed, nil
		})
}

// remove deletes messages by their receipts, and returns what has become of each.
func (b *box) remove(ctx context.Context, receipts []string) []error {
	return b.batches(ctx, len(receipts), func(int) int { return 0 },
		func(ctx context.Context, url *string, which []int) ([]types.BatchResultErrorEntry, error) {
			entries := make([]types.DeleteMessageBatchRequestEntry, len(which))
			for n, i := range which {
				entries[n] = types.DeleteMessageBatchRequestEntry{Id: entryID(i), ReceiptHandle: &receipts[i]}
			}
			out, err := b.client.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: url, Entries: entries})
			if err != nil {
				return nil, err
			}
			return out.Failed, nil
		})
}

// hide keeps messages away from others for so long from now, and returns what has become
// of each.
func (b *box) hide(ctx context.Context, receipts []string, length time.Duration) []error {
	return b.batches(ctx, len(receipts), func(int) int { return 0 },
		func(ctx context.Context, url *string, which []int) ([]types.BatchResultErrorEntry, error) {
			entries := make([]types.ChangeMessageVisibilityBatchRequestEntry, len(which))
			for n, i := range which {
				entries[n] = types.ChangeMessageVisibilityBatchRequestEntry{
					Id: entryID(i), ReceiptHandle: &receipts[i], VisibilityTimeout: seconds(length),
				}
			}
			out, err := b.client.ChangeMessageVisibilityBatch(ctx, &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: url, Entries: entries})
			if err != nil {
				return nil, err
			}
			return out.Failed, nil
		})
}

// receive waits for messages and hides them from others for the length of the lease.
func (b *box) receive(ctx context.Context, most int, lease, wait time.Duration) ([]types.Message, error) {
	url, err := b.address(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, wait+callTimeout)
	defer cancel()
	out, err := b.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: url, MaxNumberOfMessages: int32(min(max(1, most), batchSize)), //nolint:gosec // from 1 to 10
		VisibilityTimeout: seconds(min(lease, longestLease)), WaitTimeSeconds: seconds(wait),
		MessageAttributeNames:       []string{"All"},
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameApproximateReceiveCount},
	}, func(o *sqs.Options) { o.RetryMaxAttempts = 1 })
	if err != nil {
		return nil, b.failed(err)
	}
	return out.Messages, nil
}

// attributes returns numbers that SQS keeps of the queue.
func (b *box) attributes(ctx context.Context, names ...types.QueueAttributeName) ([]int, error) {
	url, err := b.address(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out, err := b.client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: url, AttributeNames: names})
	if err != nil {
		return nil, b.failed(err)
	}
	numbers := make([]int, len(names))
	for i, name := range names {
		if numbers[i], err = strconv.Atoi(out.Attributes[string(name)]); err != nil {
			return nil, fmt.Errorf("queue %q: the service does not say %s", b.name, name)
		}
	}
	return numbers, nil
}

// entriesRetried is how often entries of a batch are tried again that have failed while
// the others have not, and not by our fault.
const entriesRetried = 3

// batches makes the calls that do something to n things, which have sizes, and returns
// what has become of each.
func (b *box) batches(ctx context.Context, n int, size func(i int) int,
	call func(ctx context.Context, url *string, which []int) ([]types.BatchResultErrorEntry, error),
) []error {
	results := make([]error, n)
	url, err := b.address(ctx)
	if err != nil {
		for i := range results {
			results[i] = err
		}
		return results
	}
	for _, which := range split(n, size) {
		for attempt := 0; len(which) > 0; attempt++ {
			which = b.batch(ctx, url, which, call, results)
			if attempt == entriesRetried || !pause(ctx, attempt) {
				break
			}
		}
	}
	return results
}

// batch makes one call, notes what has become of each entry, and returns those that
// should be tried again.
func (b *box) batch(ctx context.Context, url *string, which []int,
	call func(ctx context.Context, url *string, which []int) ([]types.BatchResultErrorEntry, error), results []error,
) (again []int) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	failed, err := call(ctx, url, which)
	for _, i := range which {
		results[i] = nil
		if err != nil {
			results[i] = b.failed(err)
		}
	}
	for _, f := range failed {
		i, err := strconv.Atoi(aws.ToString(f.Id))
		if err != nil || i < 0 || i >= len(results) {
			continue
		}
		results[i] = &entryError{code: aws.ToString(f.Code), message: aws.ToString(f.Message), queue: b.name}
		if !f.SenderFault {
			again = append(again, i)
		}
	}
	return again
}

// split makes batches of n things: not too many in one, and not too large.
func split(n int, size func(i int) int) (batches [][]int) {
	var (
		batch []int
		total int
	)
	for i := range n {
		s := size(i)
		if len(batch) == batchSize || (len(batch) > 0 && total+s > MaxMessage) {
			batches, batch, total = append(batches, batch), nil, 0
		}
		batch, total = append(batch, i), total+s
	}
	if len(batch) > 0 {
		batches = append(batches, batch)
	}
	return batches
}

// pause waits before entries are tried again; false when ctx has ended.
func pause(ctx context.Context, attempt int) bool {
	timer := time.NewTimer(100 * time.Millisecond << attempt)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func entryID(i int) *string { return aws.String(strconv.Itoa(i)) }

// seconds rounds up.
func seconds(d time.Duration) int32 {
	return int32((max(0, d) + time.Second - 1) / time.Second) //nolint:gosec // at most the 12 hours of a lease
}

func attributeValues(texts map[string]string) map[string]types.MessageAttributeValue {
	if len(texts) == 0 {
		return nil
	}
	values := make(map[string]types.MessageAttributeValue, len(texts))
	for key, text := range texts {
		values[key] = types.MessageAttributeValue{DataType: aws.String("String"), StringValue: &text}
	}
	return values
}

// firstOf returns the first error of several.
func firstOf(results []error) error {
	for _, err := range results {
		if err != nil {
			return err
		}
	}
	return nil
}

// entryError is why one entry of a batch has failed.
type entryError struct{ code, message, queue string }

// Error returns what SQS says.
func (e *entryError) Error() string {
	return fmt.Sprintf("queue %q: %s: %s", e.queue, e.code, e.message)
}

// isLost reports whether the receipt of a message means nothing any more.
func isLost(err error) bool {
	var e *entryError
	if !errors.As(err, &e) {
		return false
	}
	switch e.code {
	case "ReceiptHandleIsInvalid", "MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight", "InvalidParameterValue":
		return true
	default:
		return false
	}
}
