package sqs

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// Options say which queue it is.
type Options struct {
	// Queue is the name of the queue, or its URL. Empty: "procops".
	Queue string
	// Dead is the name or URL of the queue for what is given up. Empty: that of Queue with
	// "-dead" at its end.
	Dead string
	// Region is where the queue is, such as "eu-central-1". Empty: what the URL of the
	// queue says, then AWS_REGION, then AWS_DEFAULT_REGION.
	Region string
	// Endpoint is the URL of the service, where that is not Amazon's own. Empty:
	// AWS_ENDPOINT_URL_SQS, then AWS_ENDPOINT_URL.
	Endpoint string
	// Create says that the queues are created where they do not exist.
	Create bool
	// NoWait says that a claim does not wait for the proof that the queue is empty, which
	// takes a second: for those who claim from other brokers as well. Await and Count do.
	NoWait bool
	// Lease is that of messages which arrive before anybody has claimed one; 0: 30 s.
	Lease time.Duration
	// MaxDelay is the longest delay of one hop, in whole seconds; 0: 15 minutes, which is
	// the longest that SQS grants.
	MaxDelay time.Duration
	// Format is how messages are written; nil: our own.
	Format Format
	// Getenv reads the environment; nil: os.Getenv.
	Getenv func(string) string
}

// Limits of SQS.
const (
	longestDelay = 15 * time.Minute
	longestPoll  = 20 * time.Second
	longestLease = 12 * time.Hour
	batchSize    = 10
	// MaxMessage is how many bytes a message may have, all it carries included. A queue can be
	// configured for less.
	MaxMessage = 1 << 20
	// reserve is how much a message may grow by what becomes of it.
	reserve = 256
)

const defaultLease = 30 * time.Second

// maxName is the length of the longest name of a queue.
const maxName = 80

// validName reports whether SQS takes a name for a queue.
func validName(name string) bool {
	return name != "" && len(name) <= maxName && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// complete fills in the defaults and reports what is wrong.
func (o Options) complete() (Options, error) {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	o.Queue = first(o.Queue, "procops")
	o.Dead = first(o.Dead, o.Queue+"-dead")
	for _, queue := range []string{o.Queue, o.Dead} {
		if err := checkQueue(queue); err != nil {
			return o, err
		}
	}
	o.Region = first(o.Region, regionOf(o.Queue), o.Getenv("AWS_REGION"), o.Getenv("AWS_DEFAULT_REGION"))
	o.Endpoint = first(o.Endpoint, o.Getenv("AWS_ENDPOINT_URL_SQS"), o.Getenv("AWS_ENDPOINT_URL"))
	switch {
	case o.Region == "" && o.Endpoint == "":
		return o, errors.New("it is not known in which region the queue is: set region, or AWS_REGION in the environment")
	case o.Region == "":
		o.Region = "us-east-1" // who speaks the protocol has no regions
	}
	if o.Endpoint != "" {
		if u, err := url.Parse(o.Endpoint); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return o, fmt.Errorf("invalid endpoint %q: want a URL such as \"https://sqs.eu-central-1.amazonaws.com\"", o.Endpoint)
		}
	}
	if o.MaxDelay == 0 {
		o.MaxDelay = longestDelay
	}
	if o.Lease == 0 {
		o.Lease = defaultLease
	}
	if o.Format == nil {
		o.Format = envelopes{}
	}
	return o, nil
}

func first(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

// isURL reports whether a queue is given by its URL.
func isURL(queue string) bool { return strings.Contains(queue, "://") }

func checkQueue(queue string) error {
	name := queue
	if isURL(queue) {
		u, err := url.Parse(queue)
		if err != nil || u.Host == "" {
			return fmt.Errorf("invalid URL of a queue %q", queue)
		}
		name = u.Path[strings.LastIndexByte(u.Path, '/')+1:]
	}
	if strings.HasSuffix(name, ".fifo") {
		return fmt.Errorf("the queue %q is a FIFO queue, which cannot delay single messages: use a standard queue", name)
	}
	if !validName(name) {
		return fmt.Errorf("invalid name of a queue %q: want up to 80 letters, digits, \"-\" and \"_\"", name)
	}
	return nil
}

// regionOf returns the region in the URL of a queue, if it has one.
func regionOf(queue string) string {
	u, err := url.Parse(queue)
	if err != nil {
		return ""
	}
	host := strings.TrimSuffix(u.Hostname(), ".cn")
	for _, domain := range []string{".amazonaws.com", ".api.aws"} {
		rest, ok := strings.CutSuffix(host, domain)
		if !ok {
			continue
		}
		region, found := strings.CutPrefix(rest, "sqs.")
		if !found {
			region, found = strings.CutSuffix(rest, ".queue")
		}
		if found && !strings.Contains(region, ".") {
			return region
		}
	}
	return ""
}

// client returns the client of the service, and what ends its connections.
func (o Options) client() (client *sqs.Client, idle func()) {
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		IdleConnTimeout:     90 * time.Second,
		MaxIdleConnsPerHost: batchSize,
		ForceAttemptHTTP2:   true,
	}
	options := sqs.Options{
		Region:      o.Region,
		Credentials: aws.NewCredentialsCache(secrets{getenv: o.Getenv}),
		HTTPClient:  &http.Client{Transport: transport},
		Retryer:     retry.NewStandard(func(s *retry.StandardOptions) { s.MaxBackoff = 2 * time.Second }),
	}
	if o.Endpoint != "" {
		options.BaseEndpoint = &o.Endpoint
	}
	return sqs.New(options), transport.CloseIdleConnections
}
