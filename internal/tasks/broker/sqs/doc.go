// Package sqs is the broker for many hosts that needs no server of one's own: a queue of
// Amazon SQS, or of what speaks its protocol.
//
// What the queue makes of the broker's words:
//
//   - The lease is the visibility timeout, in whole seconds and at most 12 hours from the
//     claim: what runs longer is lost and comes again.
//   - Claim and Await share one long poll of 20 s, which asks for as many messages as the
//     worker has room for. An idle worker makes three calls a minute; a task costs a
//     send, a receive and a delete, or up to ten tasks together do. What arrives while
//     nobody has room any more is given back after some seconds.
//   - A message cannot be changed. What gives it back (Nack), puts it aside (Bury) or
//     lets it wait on therefore sends a new one and then deletes the old one, never the
//     other way round: a process that dies in between leaves two, so the task may run
//     once more, but it is not lost.
//   - SQS delays a message by 15 minutes at most. One that is for later hops: whoever
//     receives it too early sends it again. That needs a worker, if only an idle one, and
//     renews the time for which SQS keeps the message.
//   - A queue cannot be asked for some types. A message of a type that the worker does not
//     run is sent again, later each time. Give workers with different handlers different queues.
//   - Crashes are what SQS says: how often a message was received, less the receptions
//     that ended with a word.
//   - Buried messages are in a second queue, whose name ends with "-dead". They can be
//     claimed from there, as anything can.
//
// What SQS cannot do, and nobody should try to do over it: there is no priority inside
// a queue (use several brokers), and only about an order; an ID that is queued already is
// queued again; a lease that is lost is noticed by Extend, and not always by Ack; counts are
// approximate, and of all types; messages cannot be listed, nor claimed by ID, unless they
// are buried: then all are looked through.
//
// Queues whose name ends with ".fifo" are refused: they know no delay of a single message,
// and hold back all that follows one that fails.
package sqs
