package sqs

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"procops/internal/tasks/broker"
)

// Extend makes leases end so long from now.
func (b *Broker) Extend(ctx context.Context, leases []broker.Lease, by time.Duration) (lost []broker.Lease, err error) {
	return b.each(leases, "extend the lease of", func(box *box, receipts []string) []error {
		return box.hide(ctx, receipts, min(by, longestLease))
	})
}

// Ack removes messages.
func (b *Broker) Ack(ctx context.Context, leases []broker.Lease) (lost []broker.Lease, err error) {
	return b.each(leases, "remove", func(box *box, receipts []string) []error { return box.remove(ctx, receipts) })
}

// each does something to leased messages, and returns those whose lease is lost.
func (b *Broker) each(leases []broker.Lease, what string, do func(*box, []string) []error) (lost []broker.Lease, err error) {
	for _, box := range []*box{b.main, b.dead} {
		in := slices.DeleteFunc(slices.Clone(leases), func(l broker.Lease) bool { return b.boxOf(l.Message) != box })
		if len(in) == 0 {
			continue
		}
		for i, failed := range do(box, receipts(in)) {
			switch {
			case isLost(failed):
				lost = append(lost, in[i])
			case failed != nil && err == nil:
				err = fmt.Errorf("cannot %s task %q: %w", what, in[i].ID, failed)
			}
		}
	}
	return lost, err
}

func receipts(leases []broker.Lease) []string {
	list := make([]string, len(leases))
	for i := range leases {
		list[i] = leases[i].Handle
	}
	return list
}

// Nack gives a message back.
func (b *Broker) Nack(ctx context.Context, l broker.Lease, again broker.Again) error {
	m := l.Message
	if again.Failed {
		m.Attempts++
	}
	if again.Fresh {
		m.Attempts, m.Crashes = 0, 0
	}
	if !again.At.IsZero() {
		m.RunAt = again.At
	}
	m.Buried = false
	return b.replace(ctx, l, m, "give back")
}

// Bury puts a message aside.
func (b *Broker) Bury(ctx context.Context, l broker.Lease) error {
	m := l.Message
	m.Buried = true
	return b.replace(ctx, l, m, "bury")
}

// replace sends a message that takes the place of another one, and then deletes that.
// Where only that fails nobody should try again: that would send one more.
func (b *Broker) replace(ctx context.Context, l broker.Lease, m broker.Message, what string) error {
	sent, err := b.letter(m, "", time.Until(m.RunAt))
	if err != nil {
		return err
	}
	if err := firstOf(b.boxOf(m).send(ctx, []letter{sent})); err != nil {
		return fmt.Errorf("cannot %s task %q: %w", what, l.ID, err)
	}
	switch err := firstOf(b.boxOf(l.Message).remove(ctx, receipts([]broker.Lease{l}))); {
	case isLost(err):
		return broker.ErrLost
	case err != nil:
		return fmt.Errorf("cannot remove the old message of task %q, which comes once more: %w: %w", l.ID, broker.ErrLost, err)
	default:
		return nil
	}
}

// resend sends messages that have arrived again, and then deletes the old ones. Those
// that cannot be sent come again at the end of their lease.
func (b *Broker) resend(ctx context.Context, arrived []arrival, delays []time.Duration) error {
	var (
		letters []letter
		replace []broker.Lease
		failed  error
	)
	for i := range arrived {
		l, err := b.letter(arrived[i].Message, arrived[i].text, delays[i])
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		letters, replace = append(letters, l), append(replace, arrived[i].Lease)
	}
	results := b.main.send(ctx, letters)
	var sent []broker.Lease
	for i, err := range results {
		if err == nil {
			sent = append(sent, replace[i])
		}
	}
	if err := errors.Join(failed, firstOf(results), firstOf(b.main.remove(ctx, receipts(sent)))); err != nil {
		return fmt.Errorf("cannot let tasks wait on: %w", err)
	}
	return nil
}

// reject puts a message aside that nobody can read, and says so.
func (b *Broker) reject(ctx context.Context, m *types.Message, why error) error {
	why = fmt.Errorf("message %s in the queue %q: %w", aws.ToString(m.MessageId), b.main.name, why)
	err := firstOf(b.dead.send(ctx, []letter{{text: aws.ToString(m.Body), attributes: attributesOf(m)}}))
	if err == nil {
		err = firstOf(b.main.remove(ctx, []string{aws.ToString(m.ReceiptHandle)}))
	}
	if err != nil {
		return fmt.Errorf("%w; it cannot be put into the queue %q either: %w", why, b.dead.name, err)
	}
	return fmt.Errorf("%w; it is in the queue %q now", why, b.dead.name)
}

// mostSearched is how many buried messages are looked through for some IDs.
const mostSearched = 10_000

// claimBuried leases messages that were put aside. To find some of them all have to be
// received, so what is not asked for is hidden from others for a moment.
func (b *Broker) claimBuried(ctx context.Context, ask broker.Ask) (leases []broker.Lease, err error) {
	most := ask.Max
	if len(ask.IDs) > 0 {
		most = min(most, len(ask.IDs))
	}
	seen, others := map[string]bool{}, []string(nil)
	for len(leases) < most && len(seen) < mostSearched {
		room := most - len(leases)
		if len(ask.IDs) > 0 {
			room = batchSize
		}
		until := time.Now().Add(ask.Lease)
		messages, failed := b.dead.receive(ctx, room, ask.Lease, proof)
		if failed != nil {
			err = fmt.Errorf("cannot claim buried tasks: %w", failed)
			break
		}
		known := len(seen)
		for i := range messages {
			m := &messages[i]
			seen[aws.ToString(m.MessageId)] = true
			if l, is := b.unbury(m, ask, until); is && len(leases) < most {
				leases = append(leases, l)
			} else {
				others = append(others, aws.ToString(m.ReceiptHandle))
			}
		}
		if len(seen) == known {
			break // there are no more, or they begin to come again
		}
	}
	// Where that fails they are there again at the end of the lease.
	_ = b.dead.hide(ctx, others, 0)
	return leases, err
}

// unbury reads a message that was put aside; false, if it is not asked for. How often it
// was looked at there is nothing that has become of it.
func (b *Broker) unbury(m *types.Message, ask broker.Ask, until time.Time) (broker.Lease, bool) {
	a, err := read(b.format, m, until)
	if err != nil || !wanted(ask.Types, a.Type) || len(ask.IDs) > 0 && !slices.Contains(ask.IDs, a.ID) {
		return broker.Lease{}, false
	}
	a.Buried, a.Crashes = true, a.Crashes-received(m)+1
	return a.Lease, true
}

// read reads a message that was received.
func read(format Format, m *types.Message, until time.Time) (arrival, error) {
	message, err := format.Decode(aws.ToString(m.MessageId), aws.ToString(m.Body), attributesOf(m))
	if err != nil {
		return arrival{}, err
	}
	n := received(m)
	message.Number += int64(n)
	message.Crashes += n - 1
	return arrival{broker.Lease{Message: message, Until: until, Handle: aws.ToString(m.ReceiptHandle)}, aws.ToString(m.Body)}, nil
}

// received returns how often SQS has handed out a message, this time included.
func received(m *types.Message) int {
	n, _ := strconv.Atoi(m.Attributes[string(types.MessageSystemAttributeNameApproximateReceiveCount)])
	return max(1, n)
}

func attributesOf(m *types.Message) map[string]string {
	if len(m.MessageAttributes) == 0 {
		return nil
	}
	texts := make(map[string]string, len(m.MessageAttributes))
	for key, value := range m.MessageAttributes {
		texts[key] = aws.ToString(value.StringValue)
	}
	return texts
}

// Count counts the messages, those of all types: a queue knows none. The numbers are
// approximate, and about a minute old at worst; so whoever claims messages here, and wants
// to know whether there are none left, gets that proven.
func (b *Broker) Count(ctx context.Context, _ []string) (n broker.Counts, err error) {
	main, err := b.main.attributes(ctx, types.QueueAttributeNameApproximateNumberOfMessages,
		types.QueueAttributeNameApproximateNumberOfMessagesDelayed, types.QueueAttributeNameApproximateNumberOfMessagesNotVisible)
	if err != nil {
		return n, fmt.Errorf("cannot count tasks: %w", err)
	}
	dead, err := b.dead.attributes(ctx, types.QueueAttributeNameApproximateNumberOfMessages,
		types.QueueAttributeNameApproximateNumberOfMessagesNotVisible)
	if err != nil {
		return n, fmt.Errorf("cannot count tasks: %w", err)
	}
	if main[0] == 0 && b.inbox.used() {
		if _, err := b.inbox.search(ctx, broker.Ask{Max: 1}, proof); err != nil {
			return n, fmt.Errorf("cannot count tasks: %w", err)
		}
	}
	arrived := b.inbox.has(nil)
	return broker.Counts{Ready: main[0] + arrived, Scheduled: main[1], Leased: max(0, main[2]-arrived) + dead[1], Buried: dead[0]}, nil
}

// List is not supported: whoever looks at a message of SQS takes it.
func (b *Broker) List(context.Context, []string) iter.Seq2[broker.Entry, error] {
	return func(yield func(broker.Entry, error) bool) {
		yield(broker.Entry{}, fmt.Errorf("cannot list the tasks in a queue of SQS: %w", errors.ErrUnsupported))
	}
}
